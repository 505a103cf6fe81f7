// store/large_copy.hpp - copying what no cache holds.
//
// Why         a plain copy reads each line of its target before it overwrites it, and leaves the end of the copy in the caches in the place
//             of what was there. Stores that go past the caches do neither: half the traffic, and for 100 MB up to twice the speed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace miniray::store {

// From here on it is faster, also for who reads the copy next: below, that still finds it in a cache.
inline constexpr std::uint64_t kLargeCopyBytes = 16ULL << 20;

// As memcpy.
void copy_bytes(std::byte* target, const void* source, std::uint64_t size_bytes) noexcept;

}  // namespace miniray::store
