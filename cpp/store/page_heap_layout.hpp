// store/page_heap_layout.hpp - arithmetic of bins, size classes and pages, for the files of the page heap.
#pragma once

#include <array>
#include <bit>

#include "store/page_heap.hpp"

namespace miniray::store {

struct Bin {
  std::uint32_t first_level;
  std::uint32_t second_level;
};

// Runs shorter than kSecondLevels pages have a bin each; above, each power of
// two is cut into kSecondLevels bins.
constexpr Bin bin_of(std::uint32_t pages) noexcept {
  if (pages < kSecondLevels) return {0, pages};
  const auto exponent = static_cast<std::uint32_t>(std::bit_width(pages) - 1);
  return {exponent - 2, (pages >> (exponent - 3)) - kSecondLevels};
}

constexpr std::uint32_t size_class_of(std::uint64_t size_bytes) noexcept {
  std::uint32_t size_class = 0;
  while (kBlockSizes[size_class] < size_bytes) ++size_class;
  return size_class;
}

constexpr std::uint32_t blocks_per_slab(std::uint32_t size_class) noexcept {
  return static_cast<std::uint32_t>(kSlabPages * kPageBytes / kBlockSizes[size_class]);
}

// Number of the block that begins there in a slab; of no use for a place where none begins. A division would take longer than the rest of
// giving a block back.
constexpr std::uint32_t block_at(std::uint32_t inside, std::uint32_t size_class) noexcept {
  constexpr auto kReciprocals = [] {
    std::array<std::uint64_t, kClassCount> reciprocals{};
    for (std::uint32_t i = 0; i < kClassCount; ++i) reciprocals[i] = ((1ULL << 32) + kBlockSizes[i] - 1) / kBlockSizes[i];
    return reciprocals;
  }();
  return static_cast<std::uint32_t>(inside * kReciprocals[size_class] >> 32);
}

constexpr bool block_at_is_exact() noexcept {
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    for (std::uint32_t block = 0; block < kSlabPages * kPageBytes / kBlockSizes[size_class]; ++block) {
      if (block_at(block * kBlockSizes[size_class], size_class) != block) return false;
    }
  }
  return true;
}
static_assert(block_at_is_exact());

constexpr std::uint32_t pages_for(std::uint64_t size_bytes) noexcept {
  return static_cast<std::uint32_t>((size_bytes + kPageBytes - 1) / kPageBytes);
}

}  // namespace miniray::store
