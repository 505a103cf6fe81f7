// shm/slot_table_layout.hpp - what a slot table keeps in shared memory beside its records; slot_table.hpp has the invariants.
#pragma once

#include "shm/atomic.hpp"

namespace miniray::shm {

enum class ChunkPhase : std::uint32_t { kUnbacked = 0, kBacked = 1, kReturning = 2 };

struct SlotChunk {
  Cell<std::uint32_t> phase;
  Cell<std::uint32_t> fresh;
  Cell<std::uint32_t> used_count;
  Cell<Index> free_head;
  Cell<Index> next_open;  // chunk number + 1
  Cell<Index> previous_open;
  Cell<std::uint32_t> returns;           // how often its pages were given back
  Cell<std::uint32_t> generation_floor;  // records that read as zero start with this generation
};

struct SlotTableHeader {
  Cell<Index> open_head;            // chunk number + 1
  Cell<std::uint32_t> empty_count;  // backed chunks without a used record
  std::uint32_t capacity;           // largest index + 1
  std::uint32_t chunk_count;
  std::uint64_t offset;         // of record 0, from the region's start
  std::uint64_t chunks_offset;  // of the SlotChunks
};
static_assert(kShareable<SlotTableHeader> && sizeof(SlotTableHeader) == 32 && kShareable<SlotChunk> && sizeof(SlotChunk) == 32);

inline constexpr std::uint32_t kChunkBytes = 256U << 10;
inline constexpr std::uint32_t kSpareChunks = 4;  // empty chunks that stay backed, for the next burst

// How many chunks a table of that capacity has; the layout needs it.
[[nodiscard]] constexpr std::uint32_t chunk_count(std::uint32_t capacity, std::uint64_t record_bytes) noexcept {
  const std::uint64_t rows = kChunkBytes / record_bytes;
  return static_cast<std::uint32_t>((std::uint64_t{capacity} + 1 + rows - 1) / rows);
}

}  // namespace miniray::shm
