// instruction.hpp - whether a machine instruction may write to memory other than the stack: after those that cannot, nothing is compared.
#pragma once

namespace single_step {

// False only for what is known not to write: the list need not be complete.
[[nodiscard]] bool may_write(const unsigned char* code) noexcept;

}  // namespace single_step
