// store/object_id.hpp - 128 bits that name an object: (nonce of the domain, generation, slot) or any other value from outside.
#pragma once

#include <cstdint>

#include "shm/atomic.hpp"

namespace miniray::store {

struct ObjectId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  [[nodiscard]] bool operator==(const ObjectId&) const noexcept = default;
  [[nodiscard]] bool is_nil() const noexcept { return high == 0 && low == 0; }
  [[nodiscard]] std::uint64_t hash() const noexcept {
    std::uint64_t mixed = (high ^ (low * 0x9E3779B97F4A7C15ULL)) * 0xBF58476D1CE4E5B9ULL;
    return mixed ^ (mixed >> 29);
  }
};

// What code inside a domain uses: an index and the generation that makes it unique.
struct ObjectKey {
  shm::Index slot = shm::kNone;
  std::uint32_t generation = 0;
  [[nodiscard]] bool operator==(const ObjectKey&) const noexcept = default;
  [[nodiscard]] explicit operator bool() const noexcept { return slot != shm::kNone; }
  [[nodiscard]] ObjectId id(std::uint64_t nonce) const noexcept { return {nonce, std::uint64_t{generation} << 32 | slot}; }
};

}  // namespace miniray::store
