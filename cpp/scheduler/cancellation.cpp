// scheduler/cancellation.cpp - tasks that are not wanted any more.
//
// Invariants  N1 the first section sets kCancelled: from then on nobody begins the task, or tries it again, whatever becomes of the
//                canceller. Whoever is given it ends it instead.
//             N2 a running task decides: what its worker seals first is the result, an interruption or a value.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

namespace {
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;
}  // namespace

Scheduler::Cancellation Scheduler::cancel(Transaction& transaction, Index task, bool force, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  if (entry.is_call() && force) return {CancelStep::kRefused, kNone};
  if (entry.actor.get() != kNone && !entry.is_call()) return {};  // a creation: kill() ends an actor
  transaction.set(entry.flags, entry.flags.get() | kCancelled);
  if (entry.has(kStreams)) stop_waiting_for_room(transaction, stream_of(task), wakes);
  const Index worker = ProcessId::unpack(entry.worker.get()).slot;
  switch (static_cast<TaskState>(entry.state.get())) {
    case TaskState::kWaiting:
    case TaskState::kQueued:
      fail_with_crash(transaction, task, {0, 0, DeathCause::kCancelled, 0}, wakes);
      if (entry.state.get() != static_cast<std::uint32_t>(TaskState::kQueued) || entry.is_call()) return {};
      if (transaction.room() < kRoom) transaction.commit();
      unqueue(transaction, task);
      end_task(transaction, task);
      return {};
    case TaskState::kLeased:
      if (!entry.is_call()) return {force ? CancelStep::kKill : CancelStep::kInterrupt, worker};
      transaction.add(actors[entry.actor.get()].cancels, 1);
      wakes.add_worker(worker);
      return {};
    case TaskState::kFree:
    case TaskState::kParked:
      break;
  }
  return {};
}

void Scheduler::unqueue(Transaction& transaction, Index task) {
  const TaskEntry& entry = tasks[task];
  Shape& queue = shape(entry.shape.get());
  if (queue.head.get() == task) {
    queue_pop(transaction, entry.shape.get());
    return;
  }
  const Index before = entry.lane_previous.get();
  const Index next = entry.next.get();
  MINIRAY_SOUND(tasks[before].next.get() == task, "scheduler: a queue is torn");
  transaction.set(tasks[before].next, next);
  if (next != kNone) transaction.set(tasks[next].lane_previous, before);
  if (next == kNone) transaction.set(queue.tail, before);
  transaction.add(queue.queued_count, kMinusOne);
  transaction.add(header_->resources.queued_count, kMinusOne);
}

}  // namespace miniray::scheduler
