// store/checksum.hpp - CRC-32C of what goes to the spill file: a flipped bit on a disk must not become a wrong value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace miniray::store {

// CRC-32C (Castagnoli), several GB/s where the processor has an instruction for it. `start` chains pieces: the checksum so far.
[[nodiscard]] std::uint32_t checksum(const void* data, std::size_t size_bytes, std::uint32_t start = 0) noexcept;

}  // namespace miniray::store
