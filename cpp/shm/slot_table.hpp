// shm/slot_table.hpp - a table of equal records with free lists: sparse until used, and given back when it has emptied.
//
// Invariants  S1 record 0 is never handed out. The table is cut into chunks of kChunkBytes; the first `fresh` records of a chunk have
//                been handed out since the chunk was last backed.
//             S2 truth: each record's own state word; a chunk's `phase`, `fresh`, `returns`, `generation_floor`. Derived: a chunk's
//                free list and used_count, the list of open chunks, empty_count.
//             S3 records of a chunk in phase kBacked have pages reserved, so touching them cannot fail. In another phase nobody
//                touches them: reading a hole would allocate.
//             S4 the open list holds exactly the backed chunks that have a free record.
// Returning   trim() takes an empty chunk out of use (kReturning, under the lock), gives its pages back (a system call, no lock),
//             and lets it be backed again (kUnbacked). Generations must not start over: generation_floor outlives the pages.
// Crash       take, put and each step of trim are journaled. Backing happens outside the lock, and twice is harmless; `returns` tells
//             a backer that the chunk was returned meanwhile. A trimmer that dies is followed up by finish_returns().
//             A record type R has: Cell<uint32_t> next_free (meaningful only while free), bool is_free() const, all zero is free,
//             kDamagedIndex (what a number outside of the table is called).
#pragma once

#include "platform/platform.hpp"
#include "shm/slot_table_layout.hpp"
#include "shm/transaction.hpp"

namespace miniray::shm {

template <class R>
class SlotTable {
  static_assert(kShareable<R> && kChunkBytes % sizeof(R) == 0);
  static constexpr std::uint32_t kSpareRecords = 64;

 public:
  static constexpr std::uint32_t kChunkRows = kChunkBytes / sizeof(R);

  SlotTable() = default;
  // `trim_wanted` is set to 1 when more chunks are empty than are worth keeping.
  SlotTable(std::byte* region, SlotTableHeader* header, const SlotTableHeader& layout, platform::Descriptor file,
            std::uint64_t file_offset, Atomic<std::uint32_t>* trim_wanted) noexcept
      : header_(header),
        chunks_(reinterpret_cast<SlotChunk*>(region + layout.chunks_offset)),
        records_(reinterpret_cast<R*>(region + layout.offset)),
        end_(layout.capacity),
        last_(layout.capacity - 1),
        chunk_count_(layout.chunk_count),
        offset_(layout.offset),
        trim_wanted_(trim_wanted),
        file_(file),
        file_offset_(file_offset) {}

  [[nodiscard]] R& operator[](Index index) const {
    MINIRAY_SOUND(index - 1 < last_, R::kDamagedIndex);  // kNone is none either
    return records_[index];
  }
  // For indices read from shared memory or from outside; under the lock, so that the chunk stays.
  [[nodiscard]] bool is_valid_index(Index index) const noexcept {
    return index != kNone && index < end_ && index % kChunkRows < chunks_[index / kChunkRows].fresh.get();
  }
  [[nodiscard]] Index index_of(const R& record) const { return static_cast<Index>(&record - records_); }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return last_; }
  [[nodiscard]] SlotTableHeader& header() const { return *header_; }
  [[nodiscard]] std::uint32_t generation_floor(Index index) const {  // of one that take() gave
    return chunks_[index / kChunkRows].generation_floor.get() + 1;
  }
  // Sums over the chunks: for statistics.
  [[nodiscard]] std::uint32_t used_count() const {
    std::uint32_t used = 0;
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      if (phase(i) == ChunkPhase::kBacked) used += chunks_[i].used_count.get() - first_used(i);
    }
    return used;
  }
  // Calls visit(index) for each used record. Under the lock, or on what the caller knows to stay.
  template <class Visit>
  void for_each_used(Visit visit) const {
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      const Index begin = i * kChunkRows;
      const std::uint32_t fresh = fresh_rows(i);
      for (Index index = begin; index < begin + fresh; ++index) {
        if (index != kNone && !records_[index].is_free()) visit(index);
      }
    }
  }

  // The same for records in any state, believing nothing but the table's own size.
  template <class Visit>
  void for_each_row_there_is(Visit visit) const noexcept {
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      if (chunks_[i].phase.get() != static_cast<std::uint32_t>(ChunkPhase::kBacked)) continue;
      const std::uint32_t fresh = chunks_[i].fresh.get();
      for (std::uint32_t row = first_used(i); row < fresh && row < rows(i); ++row) visit(records_[i * kChunkRows + row]);
    }
  }

  // Reserves pages until `count` more records can be taken, outside the lock. 0 (also when the table is full), or -errno.
  [[nodiscard]] int ensure_backed(Lock& lock, std::uint32_t count) {
    const Index open = open_head();
    if (open != kNone && std::uint64_t{chunks_[open - 1].used_count.get()} + count + kSpareRecords <= kChunkRows) [[likely]]
      return 0;
    return back_more(lock, count);
  }

  // kNone when no backed chunk has a free record: the caller leaves the section, and calls ensure_backed to try again unless is_full().
  [[nodiscard]] Index take(Transaction& transaction) {
    const Index open = open_head();
    if (open == kNone) return kNone;
    const std::uint32_t number = open - 1;
    SlotChunk& chunk = chunks_[number];
    const std::uint32_t row_count = rows(number);
    const std::uint32_t used = chunk.used_count.get();
    MINIRAY_SOUND(chunk.phase.get() == static_cast<std::uint32_t>(ChunkPhase::kBacked) && used < row_count,
                  "slot table: an open chunk has no free row");
    Index index = chunk.free_head.get();
    if (index != kNone) {
      MINIRAY_SOUND(index - number * kChunkRows < row_count, "slot table: a free list leaves its chunk");
      transaction.set(chunk.free_head, records_[index].next_free.get());
    } else {
      const std::uint32_t fresh = chunk.fresh.get();
      MINIRAY_SOUND(fresh < row_count, "slot table: more rows used than there are");
      index = number * kChunkRows + fresh;
      transaction.set(chunk.fresh, fresh + 1);
    }
    MINIRAY_SOUND(records_[index].is_free(), "slot table: a row in use is in the free list");
    transaction.set(chunk.used_count, used + 1);
    if (used == first_used(number)) [[unlikely]]
      transaction.add(header_->empty_count, static_cast<std::uint32_t>(-1));
    if (used + 1 == row_count) [[unlikely]]
      close(transaction, number);
    return index;
  }
  // The caller has already set the record's state word to free.
  void put(Transaction& transaction, Index index) {
    R& record = (*this)[index];
    const std::uint32_t number = index / kChunkRows;
    SlotChunk& chunk = chunks_[number];
    const std::uint32_t row_count = rows(number);
    const std::uint32_t used = chunk.used_count.get();
    MINIRAY_SOUND(used - first_used(number) - 1 < row_count, "slot table: a chunk counts fewer rows than are in use");
    transaction.set(record.next_free, chunk.free_head.get());
    transaction.set(chunk.free_head, index);
    transaction.set(chunk.used_count, used - 1);
    if (used == row_count) [[unlikely]]
      open(transaction, number);
    if (used - 1 == first_used(number)) [[unlikely]] {
      transaction.add(header_->empty_count, 1);
      if (header_->empty_count.get() == kSpareChunks + 1) trim_wanted_->store_relaxed(1);
    }
  }
  [[nodiscard]] bool is_full() const {
    if (header_->open_head.get() != kNone) return false;
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      if (phase(i) != ChunkPhase::kBacked) return false;
    }
    return true;
  }

  // Gives empty chunks back to the system, all but kSpareChunks; returns how many bytes. One process of a domain at a time, outside
  // the lock.
  std::uint64_t trim(Lock& lock) {
    std::uint64_t bytes = 0;
    for (std::uint32_t i = chunk_count_; i > 0; --i) {
      const std::uint32_t number = i - 1;
      if (phase(number) != ChunkPhase::kBacked || chunks_[number].used_count.get() != first_used(number)) continue;
      {
        Transaction transaction(lock);
        SlotChunk& chunk = chunks_[number];
        if (header_->empty_count.get() <= kSpareChunks) break;
        if (phase(number) != ChunkPhase::kBacked || chunk.used_count.get() != first_used(number)) continue;
        close(transaction, number);
        transaction.set(chunk.phase, static_cast<std::uint32_t>(ChunkPhase::kReturning));
        transaction.add(header_->empty_count, static_cast<std::uint32_t>(-1));
      }
      const std::uint32_t generation = largest_generation(number);
      MINIRAY_FAULT_POINT("slot_table.returning");
      (void)platform::discard_pages(file_, file_offset(number), size_bytes(number));
      MINIRAY_FAULT_POINT("slot_table.returned");
      end_return(lock, number, generation);
      bytes += size_bytes(number);
    }
    return bytes;
  }
  // After a trimmer died: what it had taken out of use may be used again.
  void finish_returns(Lock& lock) {
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      // Some pages may be gone and some not: what is left of the records, or what was noted, is the largest generation.
      if (phase(i) == ChunkPhase::kReturning) end_return(lock, i, largest_generation(i));
    }
  }

  // Whether the first open chunk may stand there; under the lock.
  [[nodiscard]] bool head_is_sound() const {
    const Index head = header_->open_head.get();
    if (head == kNone) return true;
    if (head > chunk_count_) return false;
    const SlotChunk& chunk = chunks_[head - 1];
    return phase(head - 1) == ChunkPhase::kBacked && chunk.used_count.get() < rows(head - 1) &&
           (chunk.free_head.get() == kNone ? chunk.fresh.get() < rows(head - 1) : is_valid_index(chunk.free_head.get()));
  }
  // Truth against derived, under the lock. nullptr, or what is wrong.
  [[nodiscard]] const char* validate() const {
    std::uint32_t open_count = 0;
    std::uint32_t empty = 0;
    for (std::uint32_t i = 0; i < chunk_count_; ++i) {
      const SlotChunk& chunk = chunks_[i];
      if (chunk.fresh.get() > rows(i)) return "slot table: more rows used than there are";
      if (phase(i) != ChunkPhase::kBacked) {
        if (chunk.fresh.get() > first_used(i) && phase(i) == ChunkPhase::kUnbacked)
          return "slot table: records in a chunk without pages";
        continue;
      }
      std::uint32_t used = first_used(i);
      for (std::uint32_t row = first_used(i); row < chunk.fresh.get(); ++row)
        used += records_[i * kChunkRows + row].is_free() ? 0U : 1U;
      if (used != chunk.used_count.get()) return "slot table: used count differs from states";
      std::uint32_t free = 0;
      for (Index index = chunk.free_head.get(); index != kNone; index = records_[index].next_free.get()) {
        if (index / kChunkRows != i || index % kChunkRows >= chunk.fresh.get()) return "slot table: free list leaves its chunk";
        if (!records_[index].is_free()) return "slot table: used record in the free list";
        if (++free > kChunkRows) return "slot table: free list has a cycle";
      }
      if (free + used != chunk.fresh.get()) return "slot table: a free record is missing from the free list";
      open_count += used < rows(i) ? 1U : 0U;
      empty += used == first_used(i) ? 1U : 0U;
    }
    if (empty != header_->empty_count.get()) return "slot table: count of empty chunks is wrong";
    std::uint32_t listed = 0;
    Index previous = kNone;
    for (Index open = header_->open_head.get(); open != kNone; open = chunks_[open - 1].next_open.get()) {
      if (open > chunk_count_ || phase(open - 1) != ChunkPhase::kBacked) return "slot table: a chunk without pages is open";
      if (chunks_[open - 1].used_count.get() >= rows(open - 1)) return "slot table: a full chunk is open";
      if (chunks_[open - 1].previous_open.get() != previous) return "slot table: the open list is torn";
      if (++listed > open_count) return "slot table: the open list has a cycle";
      previous = open;
    }
    return listed == open_count ? nullptr : "slot table: a chunk with free records is not open";
  }
  // Derived from truth, under the lock, in steps of one chunk. A rebuild that is cut short leaves shorter lists that are valid as far as
  // they go; the next rebuild starts over.
  void rebuild(Transaction& transaction) {
    transaction.set(header_->open_head, kNone);
    transaction.set(header_->empty_count, 0);
    for (std::uint32_t i = chunk_count_; i > 0; --i) rebuild_chunk(transaction, i - 1);
  }

 private:
  [[nodiscard]] ChunkPhase phase(std::uint32_t number) const {
    const std::uint32_t found = chunks_[number].phase.get();
    MINIRAY_SOUND(found <= static_cast<std::uint32_t>(ChunkPhase::kReturning), "slot table: a chunk is in no known phase");
    return static_cast<ChunkPhase>(found);
  }
  // Record 0 is counted as used for ever, so that arithmetic is the same in all chunks.
  [[nodiscard]] static std::uint32_t first_used(std::uint32_t number) noexcept { return number == 0 ? 1U : 0U; }
  [[nodiscard]] std::uint32_t rows(std::uint32_t number) const {
    const std::uint32_t left = end_ - number * kChunkRows;
    return left < kChunkRows ? left : kChunkRows;
  }
  [[nodiscard]] std::uint64_t size_bytes(std::uint32_t number) const { return std::uint64_t{rows(number)} * sizeof(R); }
  [[nodiscard]] std::uint64_t file_offset(std::uint32_t number) const {
    return file_offset_ + offset_ + std::uint64_t{number} * kChunkBytes;
  }
  // Number + 1 of the first open chunk.
  [[nodiscard]] Index open_head() const {
    const Index open = header_->open_head.get();
    MINIRAY_SOUND(open <= chunk_count_, "slot table: the list of open chunks leads outside");
    return open;
  }
  [[nodiscard]] std::uint32_t fresh_rows(std::uint32_t number) const {
    const std::uint32_t fresh = chunks_[number].fresh.get();
    MINIRAY_SOUND(fresh <= rows(number), "slot table: more rows used than there are");
    return fresh;
  }

  void open(Transaction& transaction, std::uint32_t number) {
    const Index head = open_head();
    transaction.set(chunks_[number].next_open, head);
    transaction.set(chunks_[number].previous_open, kNone);
    if (head != kNone) transaction.set(chunks_[head - 1].previous_open, number + 1);
    transaction.set(header_->open_head, number + 1);
  }
  void close(Transaction& transaction, std::uint32_t number) {
    const Index next = chunks_[number].next_open.get();
    const Index previous = chunks_[number].previous_open.get();
    MINIRAY_SOUND(next <= chunk_count_ && previous <= chunk_count_ &&
                      (previous == kNone ? header_->open_head : chunks_[previous - 1].next_open).get() == number + 1,
                  "slot table: the list of open chunks is torn");
    transaction.set(previous == kNone ? header_->open_head : chunks_[previous - 1].next_open, next);
    if (next != kNone) transaction.set(chunks_[next - 1].previous_open, previous);
  }

  [[gnu::noinline]] int back_more(Lock& lock, std::uint32_t count) {
    for (;;) {
      std::uint64_t free = 0;
      // Without the lock the list may change under way; then the estimate is off, and take() has the last word.
      std::uint32_t looks = 0;
      for (Index open = header_->open_head.get(); open != kNone && open <= chunk_count_ && looks < chunk_count_;
           open = chunks_[open - 1].next_open.get(), ++looks) {
        free += rows(open - 1) - chunks_[open - 1].used_count.get();
        if (free >= std::uint64_t{count} + kSpareRecords) return 0;
      }
      std::uint32_t number = 0;
      while (number < chunk_count_ && phase(number) != ChunkPhase::kUnbacked) ++number;
      if (number == chunk_count_) {
        wait_for_return();
        return 0;
      }
      SlotChunk& chunk = chunks_[number];
      const std::uint32_t returns = chunk.returns.get();
      if (const int error = platform::reserve_pages(file_, file_offset(number), size_bytes(number)); error != 0) return error;
      Transaction transaction(lock);
      if (phase(number) != ChunkPhase::kUnbacked || chunk.returns.get() != returns) continue;
      transaction.set(chunk.phase, static_cast<std::uint32_t>(ChunkPhase::kBacked));
      transaction.set(chunk.fresh, first_used(number));
      transaction.set(chunk.used_count, first_used(number));
      transaction.set(chunk.free_head, kNone);
      transaction.add(header_->empty_count, 1);
      open(transaction, number);
    }
  }

  // Where every chunk is in use but one that a trimmer gives back just now, the caller would look again and again: sleeps a little. A
  // trimmer that died is followed up within that limit.
  void wait_for_return() {
    if (header_->open_head.get() != kNone || is_full()) return;
    const std::uint32_t never = 0;
    for (std::uint64_t end = platform::monotonic_ns() + static_cast<std::uint64_t>(debug::patience_ns);
         header_->open_head.get() == kNone;) {
      bool returning = false;
      for (std::uint32_t i = 0; i < chunk_count_; ++i) returning = returning || phase(i) == ChunkPhase::kReturning;
      if (!returning) return;
      MINIRAY_SOUND(platform::monotonic_ns() < end, "slot table: a chunk is being given back for ever");
      (void)platform::wait_on_word(&never, 0, 1'000'000);
    }
  }

  [[nodiscard]] std::uint32_t largest_generation(std::uint32_t number) const {
    std::uint32_t largest = chunks_[number].generation_floor.get();
    if constexpr (requires(R& record) { record.generation.get(); }) {
      const std::uint32_t fresh = fresh_rows(number);
      for (std::uint32_t row = first_used(number); row < fresh; ++row) {
        const std::uint32_t generation = records_[number * kChunkRows + row].generation.get();
        if (generation > largest) largest = generation;
      }
    }
    return largest;
  }
  void end_return(Lock& lock, std::uint32_t number, std::uint32_t generation) {
    Transaction transaction(lock);
    SlotChunk& chunk = chunks_[number];
    transaction.set(chunk.generation_floor, generation);
    transaction.set(chunk.fresh, 0);
    transaction.set(chunk.used_count, 0);
    transaction.set(chunk.free_head, kNone);
    transaction.add(chunk.returns, 1);
    transaction.set(chunk.phase, static_cast<std::uint32_t>(ChunkPhase::kUnbacked));
  }

  void rebuild_chunk(Transaction& transaction, std::uint32_t number) {
    SlotChunk& chunk = chunks_[number];
    if (phase(number) != ChunkPhase::kBacked) return;
    std::uint32_t used = first_used(number);
    transaction.set(chunk.free_head, kNone);
    for (std::uint32_t row = fresh_rows(number); row > first_used(number); --row) {
      const Index index = number * kChunkRows + row - 1;
      if (!records_[index].is_free()) {
        ++used;
        continue;
      }
      if (transaction.room() < 16) transaction.commit();
      transaction.set(records_[index].next_free, chunk.free_head.get());
      transaction.set(chunk.free_head, index);
    }
    if (transaction.room() < 16) transaction.commit();
    transaction.set(chunk.used_count, used);
    if (used < rows(number)) open(transaction, number);
    if (used == first_used(number)) transaction.add(header_->empty_count, 1);
  }

  SlotTableHeader* header_ = nullptr;
  SlotChunk* chunks_ = nullptr;
  R* records_ = nullptr;
  Index end_ = 1;   // largest index + 1
  Index last_ = 0;  // end_ - 1
  std::uint32_t chunk_count_ = 0;
  std::uint64_t offset_ = 0;  // of record 0
  Atomic<std::uint32_t>* trim_wanted_ = nullptr;
  platform::Descriptor file_ = -1;
  std::uint64_t file_offset_ = 0;
};

}  // namespace miniray::shm
