#include "instruction.hpp"

namespace single_step {

#if defined(__x86_64__)

namespace {

constexpr bool is_in(unsigned value, unsigned first, unsigned last) { return value >= first && value <= last; }

// Of the opcodes behind 0F: jumps, moves on a condition, loads that widen, multiplication, no operation, loads of vectors.
constexpr bool long_one_may_write(unsigned opcode) {
  return !(is_in(opcode, 0x80, 0x8F) || is_in(opcode, 0x40, 0x4F) || opcode == 0xB6 || opcode == 0xB7 || opcode == 0xBE ||
           opcode == 0xBF || opcode == 0xAF || opcode == 0x1F || opcode == 0x10 || opcode == 0x28 || opcode == 0x6F ||
           opcode == 0x6E);
}

}  // namespace

// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, appendix A: the maps of opcodes.
bool may_write(const unsigned char* code) noexcept {
  while (*code == 0x66 || *code == 0xF2 || *code == 0xF3 || *code == 0x2E || *code == 0x64) ++code;  // LOCK is not skipped
  if (is_in(*code, 0x40, 0x4F)) ++code;                                                              // REX
  const unsigned opcode = *code;
  if (opcode == 0x0F) return long_one_may_write(code[1]);
  if (is_in(opcode, 0x70, 0x7F) || is_in(opcode, 0x50, 0x5F) || is_in(opcode, 0xB0, 0xBF))
    return false;                                                                          // jumps, stack, constants
  if (opcode == 0xEB || opcode == 0xE9 || opcode == 0xE8 || opcode == 0xC3) return false;  // jump, call, return
  if (opcode == 0x8A || opcode == 0x8B || opcode == 0x8D || opcode == 0x63 || opcode == 0x84 || opcode == 0x85) return false;
  if (opcode == 0x90 || opcode == 0xA8 || opcode == 0xA9 || is_in(opcode, 0x38, 0x3D)) return false;
  if (opcode < 0x40) return (opcode & 7) < 2 ? code[1] < 0xC0 : (opcode & 7) > 5;  // arithmetic: only the first two forms write
  const unsigned reg = code[1] >> 3 & 7;
  if ((opcode == 0x80 || opcode == 0x81 || opcode == 0x83) && reg == 7) return false;  // CMP
  if ((opcode == 0xF6 || opcode == 0xF7) && reg != 2 && reg != 3) return false;        // TEST, MUL, DIV
  const bool has_operand = is_in(opcode, 0x80, 0x8F) || is_in(opcode, 0xC0, 0xC1) || is_in(opcode, 0xD0, 0xD3) ||
                           opcode == 0xC6 || opcode == 0xC7 || opcode == 0xF6 || opcode == 0xF7 || opcode == 0xFE ||
                           opcode == 0xFF;
  return !has_operand || code[1] < 0xC0;  // a register
}

#else

bool may_write(const unsigned char*) noexcept { return true; }

#endif

}  // namespace single_step
