// shm/slot_table.hpp - a table of equal records with a free list, sparse until
// used.
//
// Invariants  S1 record 0 is never handed out; records above high_water were
// never used.
//             S2 truth: each record's own state word. Derived: free_head, the
//             chain through next_free(), used_count, high_water. S3 records
//             below `backed` have pages reserved, so touching them cannot fail;
//             take() stays below it.
// Crash       take and put are journaled; backing is raised outside the lock,
// and doing it twice is harmless. A record type R has: Cell<uint32_t> next_free
// (meaningful only while free) and bool is_free() const.
#pragma once

#include "platform/platform.hpp"
#include "shm/transaction.hpp"

namespace miniray::shm {

struct SlotTableHeader {
  Cell<Index> free_head;
  Cell<Index> high_water;  // 1 + the largest index ever used; starts at 1
  Cell<std::uint32_t> used_count;
  Atomic<std::uint32_t> backed;
  std::uint32_t capacity;  // largest index + 1
  std::uint32_t padding;
  std::uint64_t offset;  // of record 0, from the region's start
};
static_assert(kShareable<SlotTableHeader> && sizeof(SlotTableHeader) == 32);

template <class R>
class SlotTable {
  static_assert(kShareable<R>);
  static constexpr std::uint32_t kBackingStepBytes = 1U << 20;
  static constexpr std::uint32_t kSpareRecords = 64;

 public:
  SlotTable() = default;
  SlotTable(std::byte* region, SlotTableHeader* header, platform::Descriptor file, std::uint64_t file_offset) noexcept
      : header_(header), records_(reinterpret_cast<R*>(region + header->offset)), file_(file), file_offset_(file_offset) {}

  [[nodiscard]] R& operator[](Index index) const noexcept {
    MINIRAY_CHECK(index != kNone && index < header_->capacity);
    return records_[index];
  }
  // For indices read from shared memory or from outside.
  [[nodiscard]] bool is_valid_index(Index index) const noexcept { return index != kNone && index < header_->high_water.get(); }
  [[nodiscard]] Index index_of(const R& record) const noexcept { return static_cast<Index>(&record - records_); }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return header_->capacity - 1; }
  [[nodiscard]] std::uint32_t used_count() const noexcept { return header_->used_count.get(); }
  [[nodiscard]] Index high_water() const noexcept { return header_->high_water.get(); }
  [[nodiscard]] SlotTableHeader& header() const noexcept { return *header_; }

  // Reserves pages for `count` more records, outside the lock. 0, or -errno of
  // the reservation.
  [[nodiscard]] int ensure_backed(std::uint32_t count) noexcept {
    std::uint32_t backed = header_->backed.load_acquire();
    if (backed >= header_->capacity || backed - header_->high_water.get() >= count + kSpareRecords) [[likely]]
      return 0;
    return back_more(count);
  }

  // kNone when nothing is free below `backed`: the caller leaves the section,
  // calls ensure_backed and tries again, or reports a full table when
  // is_full().
  [[nodiscard]] Index take(Transaction& transaction) noexcept {
    Index index = header_->free_head.get();
    if (index != kNone) {
      transaction.set(header_->free_head, records_[index].next_free.get());
    } else {
      index = header_->high_water.get();
      if (index >= header_->backed.load_acquire()) return kNone;
      transaction.set(header_->high_water, index + 1);
    }
    transaction.add(header_->used_count, 1);
    return index;
  }
  // The caller has already set the record's state word to free.
  void put(Transaction& transaction, Index index) noexcept {
    transaction.set(records_[index].next_free, header_->free_head.get());
    transaction.set(header_->free_head, index);
    transaction.add(header_->used_count, static_cast<std::uint32_t>(-1));
  }
  [[nodiscard]] bool is_full() const noexcept {
    return header_->free_head.get() == kNone && header_->high_water.get() >= header_->capacity;
  }

  // Truth against derived, under the lock. nullptr, or what is wrong.
  [[nodiscard]] const char* validate() const noexcept {
    const Index end = header_->high_water.get();
    if (end == 0 || end > header_->capacity) return "slot table: high water out of range";
    std::uint32_t used = 0;
    for (Index index = 1; index < end; ++index) used += records_[index].is_free() ? 0U : 1U;
    if (used != header_->used_count.get()) return "slot table: used count differs from states";
    std::uint32_t free = 0;
    for (Index index = header_->free_head.get(); index != kNone; index = records_[index].next_free.get()) {
      if (index >= end) return "slot table: free list leaves the table";
      if (!records_[index].is_free()) return "slot table: used record in the free list";
      if (++free > end) return "slot table: free list has a cycle";
    }
    if (free + used + 1 != end) return "slot table: a free record is missing from the free list";
    return nullptr;
  }
  // Derived from truth, under the lock; in steps, because a table may need more
  // sets than a journal holds. A rebuild that is cut short leaves a valid
  // shorter free list, and used_count set by its first step; the next rebuild
  // starts over.
  void rebuild(Transaction& transaction) noexcept {
    const Index end = header_->high_water.get();
    std::uint32_t used = 0;
    for (Index index = 1; index < end; ++index) used += records_[index].is_free() ? 0U : 1U;
    transaction.set(header_->free_head, kNone);
    transaction.set(header_->used_count, used);
    for (Index index = end; index > 1; --index) {
      if (!records_[index - 1].is_free()) continue;
      if (transaction.room() < 8) transaction.commit();
      transaction.set(records_[index - 1].next_free, header_->free_head.get());
      transaction.set(header_->free_head, index - 1);
    }
  }

 private:
  [[gnu::noinline]] int back_more(std::uint32_t count) noexcept {
    for (;;) {
      std::uint32_t backed = header_->backed.load_acquire();
      const std::uint32_t high_water = header_->high_water.get();
      if (backed >= header_->capacity || (backed > high_water && backed - high_water >= count + kSpareRecords)) return 0;
      std::uint64_t wanted = std::uint64_t{backed} + count + kSpareRecords + kBackingStepBytes / sizeof(R);
      if (wanted > header_->capacity) wanted = header_->capacity;
      const std::uint64_t begin = header_->offset + std::uint64_t{backed} * sizeof(R);
      const std::uint64_t end = header_->offset + wanted * sizeof(R);
      const int error = platform::reserve_pages(file_, file_offset_ + begin, end - begin);
      if (error != 0) return error;
      std::uint32_t expected = backed;
      (void)header_->backed.compare_exchange(expected,
                                             static_cast<std::uint32_t>(wanted));  // someone else may have gone further
    }
  }

  SlotTableHeader* header_ = nullptr;
  R* records_ = nullptr;
  platform::Descriptor file_ = -1;
  std::uint64_t file_offset_ = 0;
};

}  // namespace miniray::shm
