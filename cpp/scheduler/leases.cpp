// scheduler/leases.cpp - workers: idle, with a lease, blocked in a wait; leases that end and are tried again.
//
// Invariants  task_entry.hpp T3. What a lease holds is charged while it lasts, less its CPU while the worker is blocked.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using process::ProcessEntry;
using process::WorkerState;

namespace {
constexpr std::uint32_t as_word(TaskState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(WorkerState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;  // journal entries that the end of a task may need, with room for what follows
}  // namespace

void Scheduler::idle_push(Transaction& transaction, Index worker) {
  ProcessEntry& entry = (*processes_)[worker];
  Cell<Index>& first = environment(entry.environment.load_relaxed()).idle_head;
  const Index head = first.get();
  transaction.set(entry.idle_next, head);
  transaction.set(entry.idle_previous, kNone);
  if (head != kNone) transaction.set((*processes_)[head].idle_previous, worker);
  transaction.set(first, worker);
  transaction.add(header_->idle_count, 1);
  transaction.set(entry.worker_state, as_word(WorkerState::kIdle));
}

void Scheduler::idle_remove(Transaction& transaction, Index worker) {
  ProcessEntry& entry = (*processes_)[worker];
  const Index next = entry.idle_next.get();
  const Index previous = entry.idle_previous.get();
  Cell<Index>& from_previous =
      previous != kNone ? (*processes_)[previous].idle_next : environment(entry.environment.load_relaxed()).idle_head;
  MINIRAY_SOUND(entry.worker_state.get() == as_word(WorkerState::kIdle) && from_previous.get() == worker,
                "scheduler: the list of idle workers is torn");
  if (next != kNone) transaction.set((*processes_)[next].idle_previous, previous);
  transaction.set(from_previous, next);
  transaction.add(header_->idle_count, kMinusOne);
  if (header_->lookout.get() == worker) [[unlikely]]
    transaction.set(header_->lookout, kNone);
}

void Scheduler::lease(Transaction& transaction, Index task, Index worker, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  ProcessEntry& holder = (*processes_)[worker];
  const Shape& place = shape(entry.shape.get());
  take_share(transaction, held_shape(task), worker, place.placement.get() == kNone ? kNone : fitting_bundle(place));
  transaction.set(entry.state, as_word(TaskState::kLeased));
  transaction.set(entry.worker,
                  ProcessId{worker, process::Identity::unpack(holder.identity.load_acquire()).generation}.packed());
  transaction.set(holder.worker_state, as_word(WorkerState::kRunning));
  transaction.add(header_->running_count, 1);
  transaction.set(holder.lease, task);
  if (const Index actor = entry.actor.get(); actor != kNone) {
    transaction.set(actors[actor].state, static_cast<std::uint32_t>(ActorState::kStarting));
    transaction.set(actors[actor].host, entry.worker.get());
    transaction.set(holder.actor, actor);
  }
  if (header_->memory_watch_sleeps.get() != 0) [[unlikely]] {
    transaction.set(header_->memory_watch_sleeps, 0);
    wakes.doorbell = true;
  }
}

void Scheduler::count_one_less(Transaction& transaction) {
  transaction.add(header_->running_count, kMinusOne);
  const std::uint32_t processors = header_->processors.get();
  if (header_->running_limit.get() != processors && header_->running_count.get() < processors) [[unlikely]]
    transaction.set(header_->running_limit, processors);  // lookout.cpp L2
}

TaskEntry& Scheduler::leased_task(Index task) const {
  TaskEntry& entry = tasks[task];
  MINIRAY_SOUND(entry.state.get() == as_word(TaskState::kLeased), "scheduler: a worker's task is not leased");
  return entry;
}

void Scheduler::drop_lease(Transaction& transaction, Index worker, bool keeps_share) {
  ProcessEntry& holder = (*processes_)[worker];
  (void)leased_task(holder.lease.get());
  const Index index = held_shape(holder.lease.get());
  if (holder.worker_state.get() == as_word(WorkerState::kBlocked)) {
    // Takes the CPU back, to return it with the rest.
    if (lends_cpu(holder.lease.get())) charge(transaction, index, holder.bundle.get(), -1, true);
    transaction.set(holder.blocked_depth, 0);
  } else {
    count_one_less(transaction);
  }
  if (!keeps_share) return_share(transaction, index, worker);
  transaction.set(holder.lease, kNone);
}

void Scheduler::add_worker(Transaction& transaction, ProcessId worker, Wakes& wakes) {
  ProcessEntry& entry = (*processes_)[worker.slot];
  transaction.set(entry.lease, kNone);
  transaction.set(entry.actor, kNone);
  transaction.set(entry.blocked_depth, 0);
  transaction.add(header_->worker_count, 1);
  idle_push(transaction, worker.slot);
  dispatch(transaction, wakes);
}

void Scheduler::finish_lease(Transaction& transaction, ProcessId worker, Wakes& wakes) {
  ProcessEntry& holder = (*processes_)[worker.slot];
  const Index task = holder.lease.get();
  const Index shape_index = leased_task(task).shape.get();
  transaction.add(header_->finished_count, 1);
  // The common case: the queue's next task asks for the same, so the worker and its share pass straight on.
  const std::uint32_t queued = header_->resources.queued_count.get();
  if (queued != 0 && queued == shape(shape_index).queued_count.get() &&
      holder.worker_state.get() == as_word(WorkerState::kRunning)) {
    const Index next = shape(shape_index).head.get();
    queue_pop(transaction, shape_index);
    TaskEntry& entry = tasks[next];
    if (entry.actor.get() == kNone) [[likely]] {
      transaction.set(entry.state, as_word(TaskState::kLeased));
      transaction.set(entry.worker, worker.packed());
      transaction.set(holder.lease, next);
      end_task(transaction, task);
      return;
    }
    queue_push(transaction, next, true);
  }
  drop_lease(transaction, worker.slot);
  end_task(transaction, task);
  idle_push(transaction, worker.slot);
  if (queued != 0) dispatch(transaction, wakes);
}

void Scheduler::repeat_lease(Transaction& transaction, ProcessId worker, Wakes& wakes) {
  const Index task = (*processes_)[worker.slot].lease.get();
  TaskEntry& entry = leased_task(task);
  discard_half_made_results(transaction, task);
  if (transaction.room() < kRoom) transaction.commit();
  if (entry.retries_left.get() != kRetryForever) transaction.add(entry.retries_left, kMinusOne);
  transaction.add(entry.attempt, 1);
  drop_lease(transaction, worker.slot);
  transaction.set(entry.state, as_word(TaskState::kQueued));
  transaction.set(entry.worker, 0);
  queue_push(transaction, task, true);
  idle_push(transaction, worker.slot);
  dispatch(transaction, wakes);
}

void Scheduler::begin_blocked(Transaction& transaction, ProcessId worker, Wakes& wakes) {
  ProcessEntry& holder = (*processes_)[worker.slot];
  if (holder.lease.get() == kNone) return;
  transaction.add(holder.blocked_depth, 1);
  if (holder.blocked_depth.get() > 1) return;
  transaction.set(holder.worker_state, as_word(WorkerState::kBlocked));
  count_one_less(transaction);
  if (lends_cpu(holder.lease.get())) charge(transaction, held_shape(holder.lease.get()), holder.bundle.get(), 1, true);
  dispatch(transaction, wakes);
}

void Scheduler::end_blocked(Transaction& transaction, ProcessId worker) {
  ProcessEntry& holder = (*processes_)[worker.slot];
  if (holder.blocked_depth.get() == 0) return;
  transaction.add(holder.blocked_depth, kMinusOne);
  if (holder.blocked_depth.get() != 0) return;
  transaction.set(holder.worker_state, as_word(WorkerState::kRunning));
  transaction.add(header_->running_count, 1);
  if (lends_cpu(holder.lease.get())) charge(transaction, held_shape(holder.lease.get()), holder.bundle.get(), -1, true);
}

void Scheduler::return_lease(Transaction& transaction, ProcessId worker) {
  const Index task = (*processes_)[worker.slot].lease.get();
  drop_lease(transaction, worker.slot);
  transaction.set(tasks[task].state, as_word(TaskState::kQueued));
  transaction.set(tasks[task].worker, 0);
  if (const Index actor = tasks[task].actor.get(); actor != kNone) {
    transaction.set(actors[actor].state, static_cast<std::uint32_t>(ActorState::kPending));
    transaction.set(actors[actor].host, 0);
    transaction.set((*processes_)[worker.slot].actor, kNone);
  }
  queue_push(transaction, task, true);
  idle_push(transaction, worker.slot);
}

bool Scheduler::retire(Transaction& transaction, ProcessId worker) {
  ProcessEntry& entry = (*processes_)[worker.slot];
  if (entry.worker_state.get() != as_word(WorkerState::kIdle)) return false;
  idle_remove(transaction, worker.slot);
  transaction.set(entry.worker_state, as_word(WorkerState::kExiting));
  transaction.add(header_->worker_count, kMinusOne);
  return true;
}

}  // namespace miniray::scheduler
