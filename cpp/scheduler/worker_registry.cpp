#include "scheduler/worker_registry.hpp"

namespace miniray::scheduler {

namespace {
constexpr std::uint32_t as_word(RegisteredState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
}  // namespace

std::uint32_t WorkerRegistry::home(std::uint64_t id) const noexcept {
  const std::uint64_t mixed = id * 0x9E3779B97F4A7C15ULL;
  return static_cast<std::uint32_t>(mixed >> 32) & (bucket_count_ - 1);
}

std::uint32_t WorkerRegistry::find(std::uint64_t id) const {
  std::uint32_t bucket = home(id);
  debug::WalkLimit limit = bucket_limit();
  for (; state(bucket) != RegisteredState::kEmpty && buckets_[bucket].id.get() != id; bucket = next(bucket)) limit.step();
  return bucket;
}

WorkerRegistry::AddResult WorkerRegistry::add(Transaction& transaction, std::uint64_t id) {
  const std::uint32_t bucket = find(id);
  if (state(bucket) != RegisteredState::kEmpty) return AddResult::kKnown;
  if (registered_count() >= capacity_) return AddResult::kFull;
  transaction.set(buckets_[bucket].id, id);
  transaction.set(buckets_[bucket].state, as_word(RegisteredState::kIdle));
  transaction.add(header_->registered_count, 1);
  transaction.add(header_->idle_count, 1);
  return AddResult::kDone;
}

bool WorkerRegistry::remove(Transaction& transaction, std::uint64_t id) {
  std::uint32_t hole = find(id);
  if (state(hole) == RegisteredState::kEmpty) return false;
  if (state(hole) == RegisteredState::kIdle) transaction.add(header_->idle_count, kMinusOne);
  transaction.add(header_->registered_count, kMinusOne);
  debug::WalkLimit limit = bucket_limit();
  for (std::uint32_t bucket = next(hole); state(bucket) != RegisteredState::kEmpty; bucket = next(bucket)) {
    limit.step();
    // An id may move back into the hole unless its home lies behind the hole.
    const std::uint32_t mask = bucket_count_ - 1;
    const std::uint32_t from_home = (bucket - home(buckets_[bucket].id.get())) & mask;
    if (from_home < ((bucket - hole) & mask)) continue;
    transaction.set(buckets_[hole].id, buckets_[bucket].id.get());
    transaction.set(buckets_[hole].state, buckets_[bucket].state.get());
    hole = bucket;
  }
  transaction.set(buckets_[hole].state, as_word(RegisteredState::kEmpty));
  return true;
}

bool WorkerRegistry::set_idle(Transaction& transaction, std::uint64_t id, bool is_idle) {
  const std::uint32_t bucket = find(id);
  const RegisteredState wanted = is_idle ? RegisteredState::kIdle : RegisteredState::kBusy;
  if (state(bucket) == RegisteredState::kEmpty) return false;
  if (state(bucket) == wanted) return true;
  transaction.set(buckets_[bucket].state, as_word(wanted));
  transaction.add(header_->idle_count, is_idle ? 1 : kMinusOne);
  return true;
}

const char* WorkerRegistry::validate() const {
  std::uint32_t registered = 0;
  std::uint32_t idle = 0;
  for (std::uint32_t bucket = 0; bucket < bucket_count_; ++bucket) {
    if (state(bucket) == RegisteredState::kEmpty) continue;
    ++registered;
    idle += state(bucket) == RegisteredState::kIdle ? 1U : 0U;
    if (find(buckets_[bucket].id.get()) != bucket) return "workers: an id cannot be found, or is there twice";
  }
  if (registered != header_->registered_count.get()) return "workers: registered count differs from the table";
  return idle == header_->idle_count.get() ? nullptr : "workers: idle count differs from the table";
}

}  // namespace miniray::scheduler
