// scheduler/lookout.cpp - how many leases begin at once in a session with more workers than the machine has processors.
//
// Why         a batch of short tasks over 64 sleeping workers would wake all of them, each with cold caches, for a task each; as many workers
//             as processors, which stay awake, are done with it sooner. Tasks that are long, or wait for something, need all of them.
// Invariants  L1 while `running_limit` leases run, no more begin at once: a task that fits is queued. The limit is the number of processors.
//             L2 after each section with such a task there is a lookout, one of the idle workers. It looks after a moment
//                (runtime/lookout.cpp), and as long as such tasks are there: if those that run have finished a task each in the meantime,
//                and keep the processors busy, it looks again later; if not, the limit is four times what runs, until fewer run than
//                there are processors.
//             L3 truth: who is idle. Derived: `lookout`, one of them; `looks`, which counts, tells a lookout that is stopped from another.
// Crash       recovery takes a dead lookout out of the idle list, and its dispatch names the next. One that is stopped is relieved by whoever
//             waits for a result, or by the supervisor (runtime/lookout.hpp): then all that fits begins.
#include <algorithm>

#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

namespace {
constexpr std::uint32_t kFactor = 4;
}  // namespace

void Scheduler::keep_lookout(Transaction& transaction, const Shape& queue, Wakes& wakes) {
  if (header_->lookout.get() != kNone) return;
  const Index worker = idle_head(queue);
  transaction.set(header_->lookout, worker);
  transaction.set(header_->finished_at_look, header_->finished_count.get());
  transaction.add(header_->looks, 1);
  wakes.add_worker(worker);
}

bool Scheduler::tasks_are_short() const {
  return header_->finished_count.get() - header_->finished_at_look.get() >= header_->running_count.get();
}

void Scheduler::look_out(Transaction& transaction, ProcessId worker, bool gets_on, Wakes& wakes) {
  if (header_->lookout.get() != worker.slot) return;
  transaction.set(header_->finished_at_look, header_->finished_count.get());
  transaction.add(header_->looks, 1);
  const std::uint32_t processors = header_->processors.get();
  transaction.set(header_->running_limit, gets_on ? processors : std::max(processors, kFactor * header_->running_count.get()));
  const bool is_needed = dispatch_up_to(transaction, header_->running_limit.get(), wakes);
  if (!is_needed && header_->lookout.get() == worker.slot) transaction.set(header_->lookout, kNone);
}

Index Scheduler::neglected_shape() const {
  std::uint64_t unserved = 0;
  return header_->lookout.get() == kNone ? best_shape(unserved) : kNone;
}

void Scheduler::relieve_lookout(Transaction& transaction, Watch seen, Wakes& wakes) {
  if (watch() != seen || seen.lookout == kNone) return;
  transaction.set(header_->lookout, kNone);
  (void)dispatch_up_to(transaction, ~0U, wakes);
}

}  // namespace miniray::scheduler
