#include "store/checksum.hpp"

#include <array>
#include <cstring>

namespace miniray::store {

namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, reflected

constexpr std::array<std::uint32_t, 256> make_table() noexcept {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? kPolynomial : 0);
    table[byte] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kTable = make_table();

std::uint32_t plain(const unsigned char* data, std::size_t size, std::uint32_t value) noexcept {
  for (std::size_t i = 0; i < size; ++i) value = (value >> 8) ^ kTable[(value ^ data[i]) & 0xFF];
  return value;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t with_instruction(const unsigned char* data, std::size_t size,
                                                                 std::uint32_t value) noexcept {
  std::uint64_t wide = value;
  for (; size >= 8; data += 8, size -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, sizeof(word));
    wide = __builtin_ia32_crc32di(wide, word);
  }
  return plain(data, size, static_cast<std::uint32_t>(wide));
}
bool has_instruction() noexcept { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(__ARM_FEATURE_CRC32)
std::uint32_t with_instruction(const unsigned char* data, std::size_t size, std::uint32_t value) noexcept {
  for (; size >= 8; data += 8, size -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, sizeof(word));
    value = __builtin_arm_crc32cd(value, word);
  }
  return plain(data, size, value);
}
bool has_instruction() noexcept { return true; }
#else
std::uint32_t with_instruction(const unsigned char* data, std::size_t size, std::uint32_t value) noexcept {
  return plain(data, size, value);
}
bool has_instruction() noexcept { return false; }
#endif

}  // namespace

std::uint32_t checksum(const void* data, std::size_t size_bytes, std::uint32_t start) noexcept {
  static const bool kFast = has_instruction();
  const auto* bytes = static_cast<const unsigned char*>(data);
  return ~(kFast ? with_instruction(bytes, size_bytes, ~start) : plain(bytes, size_bytes, ~start));
}

}  // namespace miniray::store
