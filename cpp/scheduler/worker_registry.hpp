// scheduler/worker_registry.hpp - ids that users give to their workers, idle or busy: a hash table with open addressing.
//
// Invariants  G1 truth: each bucket's state and id. Derived: registered_count, idle_count.
//             G2 linear probing without gaps: every bucket between an id's home and its place is in use, so a look-up ends at the first
//                empty one. Removal moves later ids back instead of leaving a mark.
//             G3 at most half of the buckets are in use, so a look-up is a few steps whatever the number of workers.
// Crash       every change is journaled; a cut-off one never happened. An id stays until it is unregistered: it is the user's.
#pragma once

#include "shm/transaction.hpp"

namespace miniray::scheduler {

using shm::Cell;
using shm::Transaction;

struct WorkerBucket {
  Cell<std::uint64_t> id;
  Cell<std::uint32_t> state;  // RegisteredState
  std::uint32_t padding;
};

enum class RegisteredState : std::uint32_t { kEmpty = 0, kIdle = 1, kBusy = 2 };

struct WorkerRegistryHeader {
  Cell<std::uint32_t> registered_count;
  Cell<std::uint32_t> idle_count;
  std::uint32_t capacity;
  std::uint32_t bucket_count;  // a power of two
  std::uint64_t offset;        // of the buckets, from the region's start
};
static_assert(shm::kShareable<WorkerBucket> && sizeof(WorkerBucket) == 16 && shm::kShareable<WorkerRegistryHeader>);

class WorkerRegistry {
 public:
  WorkerRegistry() = default;
  WorkerRegistry(std::byte* region, WorkerRegistryHeader* header, const WorkerRegistryHeader& layout) noexcept
      : header_(header),
        buckets_(reinterpret_cast<WorkerBucket*>(region + layout.offset)),
        capacity_(layout.capacity),
        bucket_count_(layout.bucket_count) {}

  enum class AddResult { kDone, kKnown, kFull };
  [[nodiscard]] AddResult add(Transaction& transaction, std::uint64_t id);  // idle
  // False: unknown.
  [[nodiscard]] bool remove(Transaction& transaction, std::uint64_t id);
  [[nodiscard]] bool set_idle(Transaction& transaction, std::uint64_t id, bool is_idle);

  [[nodiscard]] std::uint32_t registered_count() const { return header_->registered_count.get(); }
  [[nodiscard]] std::uint32_t idle_count() const { return header_->idle_count.get(); }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }

  [[nodiscard]] const char* validate() const;

 private:
  [[nodiscard]] std::uint32_t home(std::uint64_t id) const noexcept;
  // The bucket of the id, or the empty one where it would go.
  [[nodiscard]] std::uint32_t find(std::uint64_t id) const;
  [[nodiscard]] RegisteredState state(std::uint32_t bucket) const {
    return static_cast<RegisteredState>(buckets_[bucket].state.get());
  }
  [[nodiscard]] std::uint32_t next(std::uint32_t bucket) const { return (bucket + 1) & (bucket_count_ - 1); }
  // G3 gives every look-up an end.
  [[nodiscard]] debug::WalkLimit bucket_limit() const noexcept {
    return {bucket_count_, "workers: the table has no empty place"};
  }

  WorkerRegistryHeader* header_ = nullptr;
  WorkerBucket* buckets_ = nullptr;
  std::uint32_t capacity_ = 0;
  std::uint32_t bucket_count_ = 1;
};

}  // namespace miniray::scheduler
