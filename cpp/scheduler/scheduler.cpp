#include "scheduler/scheduler.hpp"

#include <cstring>

namespace miniray::scheduler {

using process::ProcessEntry;
using process::WorkerState;
using store::ObjectEntry;
using store::ObjectState;

namespace {
constexpr std::uint32_t as_word(TaskState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(WorkerState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;  // journal entries that the end of a task may need, with room for what follows
}  // namespace

// --- set-up --------------------------------------------------------------------------------------------------------

std::uint32_t Scheduler::find_resource(const char* name, bool add) {
  for (std::uint32_t index = 0; index < kResourceCapacity; ++index) {
    Resource& found = resource(index);
    if (found.name[0] == '\0') {
      if (!add) return kResourceCapacity;
      std::strncpy(found.name, name, sizeof(found.name) - 1);
      return index;
    }
    if (std::strncmp(found.name, name, sizeof(found.name) - 1) == 0) return index;
  }
  return kResourceCapacity;
}

Index Scheduler::find_shape(Transaction& transaction, const Demand* demands, std::uint32_t count, Place place) {
  const std::uint32_t used = shape_count();
  for (Index index = 1; index < used; ++index) {
    const Shape& known = shape(index);
    if (known.demand_count.get() != count || known.placement.get() != place.placement || known.bundle.get() != place.bundle ||
        (known.captures.get() != 0) != place.captures)
      continue;
    bool equal = true;
    for (std::uint32_t i = 0; i < count && equal; ++i) {
      equal = known.demands[i].resource == demands[i].resource && known.demands[i].amount == demands[i].amount;
    }
    if (equal) return index;
  }
  const Index free = header_->resources.free_shape.get();
  const Index index = free != kNone ? free : used;
  if (index >= kShapeCapacity || count > kShapeDemands) return kNone;
  Shape& fresh = shape(index);
  if (free != kNone) {
    transaction.set(header_->resources.free_shape, fresh.next.get());
  } else {
    transaction.set(header_->resources.shape_count, used + 1);
  }
  std::memcpy(fresh.demands, demands, count * sizeof(Demand));
  transaction.set(fresh.demand_count, count);
  transaction.set(fresh.placement, place.placement);
  transaction.set(fresh.bundle, place.bundle);
  transaction.set(fresh.captures, place.captures ? 1 : 0);
  if (place.placement != kNone) {
    transaction.set(fresh.next, placements[place.placement].first_shape.get());
    transaction.set(placements[place.placement].first_shape, index);
  }
  return index;
}

bool Scheduler::shape_can_ever_run(Index index) const {
  const Shape& wanted = shape(index);
  if (wanted.placement.get() != kNone) return placement_can_ever_fit(wanted.placement.get());
  for (std::uint32_t i = 0; i < demand_count(wanted); ++i) {
    if (resource(wanted.demands[i].resource).total.get() < wanted.demands[i].amount) return false;
  }
  return true;
}

// --- queues --------------------------------------------------------------------------------------------------------

void Scheduler::queue_push(Transaction& transaction, Index task, bool first) {
  TaskEntry& entry = tasks[task];
  Shape& queue = shape(entry.shape.get());
  const Index head = queue.head.get();
  if (head == kNone) {
    transaction.set(entry.next, kNone);
    transaction.set(queue.head, task);
    transaction.set(queue.tail, task);
  } else if (first) {
    transaction.set(entry.next, head);
    transaction.set(tasks[head].lane_previous, task);
    transaction.set(queue.head, task);
  } else {
    const Index tail = queue.tail.get();
    transaction.set(entry.next, kNone);
    transaction.set(entry.lane_previous, tail);
    transaction.set(tasks[tail].next, task);
    transaction.set(queue.tail, task);
  }
  transaction.add(queue.queued_count, 1);
  transaction.add(header_->resources.queued_count, 1);
}

void Scheduler::queue_pop(Transaction& transaction, Index index) {
  Shape& queue = shape(index);
  const TaskEntry& first = tasks[queue.head.get()];
  MINIRAY_SOUND(first.state.get() == as_word(TaskState::kQueued) && first.shape.get() == index,
                "scheduler: a task in a queue is not queued there");
  const Index next = first.next.get();
  MINIRAY_SOUND((next == kNone) == (queue.queued_count.get() == 1), "scheduler: a queue's count is wrong");
  transaction.set(queue.head, next);
  if (next == kNone) transaction.set(queue.tail, kNone);
  transaction.add(queue.queued_count, kMinusOne);
  transaction.add(header_->resources.queued_count, kMinusOne);
}

// The shape whose oldest queued task came first, among those that fit now.
Index Scheduler::best_shape() const {
  if (header_->resources.queued_count.get() == 0) return kNone;
  const std::uint32_t used = shape_count();
  Index best = kNone;
  std::uint64_t best_sequence = ~0ULL;
  for (Index index = 1; index < used; ++index) {
    const Shape& queue = shape(index);
    const Index head = queue.head.get();
    if (head == kNone || tasks[head].sequence.get() >= best_sequence || !fits(queue)) continue;
    best = index;
    best_sequence = tasks[head].sequence.get();
  }
  return best;
}

void Scheduler::make_ready(Transaction& transaction, Index task, bool first, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  MINIRAY_SOUND(entry.state.get() == as_word(TaskState::kWaiting), "scheduler: a task becomes ready that does not wait");
  const Index index = entry.shape.get();
  if (entry.actor.get() == kNone && entry.has(kCancelled) && entry.first_result.get() == kNone) {
    end_task(transaction, task);
    return;
  }
  if (entry.actor.get() != kNone && (entry.is_call() || actors[entry.actor.get()].is_over())) {
    make_call_ready(transaction, task, wakes);
    return;
  }
  if (index == kNone) {  // low-level module
    transaction.set(entry.state, as_word(TaskState::kQueued));
    queue_push(transaction, task, first);
    wakes.arrivals = true;
    return;
  }
  const Shape& queue = shape(index);
  if (queue.head.get() == kNone && fits(queue)) {
    const Index worker = header_->idle_head.get();
    if (worker != kNone) {
      idle_remove(transaction, worker);
      lease(transaction, task, worker, wakes);
      wakes.add_worker(worker);
      return;
    }
    wakes.doorbell = true;
  }
  transaction.set(entry.state, as_word(TaskState::kQueued));
  queue_push(transaction, task, first);
}

void Scheduler::dispatch(Transaction& transaction, Wakes& wakes) {
  if (header_->removed_placements.first.get() != kNone) [[unlikely]]
    wakes.removals = true;
  while (transaction.room() > 128) {
    const Index index = best_shape();
    if (header_->waiting_placements.first.get() != kNone) [[unlikely]] {
      const Index head = index == kNone ? kNone : shape(index).head.get();
      if (place_next(transaction, head == kNone ? ~0ULL : tasks[head].sequence.get(), wakes)) continue;
    }
    if (index == kNone) return;
    const Index worker = header_->idle_head.get();
    if (worker == kNone) {
      wakes.doorbell = true;
      return;
    }
    const Index task = shape(index).head.get();
    queue_pop(transaction, index);
    idle_remove(transaction, worker);
    lease(transaction, task, worker, wakes);
    wakes.add_worker(worker);
  }
}

std::uint32_t Scheduler::workers_needed() const {
  std::int64_t left[kResourceCapacity];
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) left[i] = resource(i).available.get();
  std::uint64_t needed = 0;
  const std::uint32_t used = shape_count();
  for (Index index = 1; index < used; ++index) {
    const Shape& queue = shape(index);
    const std::uint32_t count = demand_count(queue);
    std::int64_t runnable = queue.queued_count.get();
    MINIRAY_SOUND(runnable <= tasks.capacity(), "scheduler: a queue's count is wrong");
    if (queue.placement.get() != kNone) {
      needed += static_cast<std::uint64_t>(runnable_in_group(queue));
      continue;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const Demand& demand = queue.demands[i];
      MINIRAY_SOUND(demand.amount >= 0 && demand.resource < kResourceCapacity, "scheduler: a demand that cannot be");
      if (demand.amount == 0) continue;
      const std::int64_t room = left[demand.resource] < 0 ? 0 : left[demand.resource] / demand.amount;
      if (room < runnable) runnable = room;
    }
    for (std::uint32_t i = 0; i < count; ++i) left[queue.demands[i].resource] -= runnable * queue.demands[i].amount;
    needed += static_cast<std::uint64_t>(runnable);
  }
  const std::uint32_t idle = header_->idle_count.get();
  return needed <= idle ? 0 : static_cast<std::uint32_t>(needed - idle);
}

// --- calls ---------------------------------------------------------------------------------------------------------

void Scheduler::submit(Transaction& transaction, Index task, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  const std::uint64_t sequence = header_->next_sequence.get() + 1;
  transaction.set(header_->next_sequence, sequence);
  transaction.set(entry.sequence, sequence);
  if (entry.is_call()) push_call(transaction, task, wakes);
  dependency_met(transaction, task, wakes);  // the guard
}

void Scheduler::dependency_met(Transaction& transaction, Index task, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  MINIRAY_SOUND(entry.dependencies.get() != 0, "scheduler: a task waits for less than nothing");
  const std::uint32_t left = entry.dependencies.get() - 1;
  transaction.set(entry.dependencies, left);
  if (left == 0) make_ready(transaction, task, false, wakes);
}

void Scheduler::seal(Transaction& transaction, Index object, ObjectState state, Wakes& wakes) {
  ObjectEntry& entry = (*objects_)[object];
  const Index producer = entry.producer.get();
  // T4: whoever runs the task again, or fails it, must not make a result that others may have read and dropped already.
  if (producer != kNone && tasks[producer].first_result.get() == object)
    transaction.set(tasks[producer].first_result, entry.next_result.get());
  const Index waiters = objects_->seal(transaction, object, state);
  if (waiters == kNone) {
    if (entry.references.get() == 0) objects_->free(transaction, object);
    return;
  }
  transaction.set(entry.waiters, waiters);  // kept until each has been told
  transaction.add(entry.references, 1);     // the same: a dead call that waited for it ends then, and lets it go
  transaction.set(header_->notifying, object);
  finish_notifications(transaction, wakes);
}

void Scheduler::finish_notifications(Transaction& transaction, Wakes& wakes) {
  const Index object = header_->notifying.get();
  if (object == kNone) return;
  ObjectEntry& entry = (*objects_)[object];
  const bool is_error = entry.current_state() == ObjectState::kError;
  for (Index node = entry.waiters.get(); node != kNone; node = entry.waiters.get()) {
    if (transaction.room() < 256) transaction.commit();
    WaitNode& found = waits_->nodes[node];
    MINIRAY_SOUND(found.object.get() == object, "waits: a list of waiters leads to those of another object");
    const Index next = found.next.get();
    transaction.set(entry.waiters, next);
    if (next != kNone) transaction.set(waits_->nodes[next].previous, kNone);
    transaction.set(found.object, kNone);
    if (found.task.get() != kNone) {
      const Index task = found.task.get();
      transaction.set(found.task, kNone);
      waits_->nodes.put(transaction, node);
      dependency_met(transaction, task, wakes);
      continue;
    }
    const Index group = found.group.get();
    WaitGroup& waiting = waits_->groups[group];
    if (waiting.stands.get() != 0) {
      const Index first = waiting.first_done.get();
      transaction.set(found.previous, object);
      transaction.set(found.next, first);
      transaction.set(waiting.first_done, node);
      if (first == kNone) wakes.add_group(group);
      continue;
    }
    const std::uint32_t remaining = waiting.remaining.get();
    if (remaining == 0) continue;
    const std::uint32_t left = is_error && waiting.fail_fast.get() != 0 ? 0 : remaining - 1;
    transaction.set(waiting.remaining, left);
    if (left == 0) wakes.add_group(group);
  }
  transaction.set(header_->notifying, kNone);
  objects_->drop_reference(transaction, object);
}

Index Scheduler::pop_low_level(Transaction& transaction) {
  const Index task = shape(0).head.get();
  MINIRAY_SOUND((task == kNone) == (shape(0).queued_count.get() == 0), "scheduler: a queue's count is wrong");
  if (task != kNone) queue_pop(transaction, 0);
  return task;
}

void Scheduler::end_task(Transaction& transaction, Index task) {
  TaskEntry& entry = tasks[task];
  MINIRAY_SOUND(!entry.is_free(), "scheduler: a task ends twice");
  if (entry.function.get() != kNone) objects_->drop_reference(transaction, entry.function.get());
  if (entry.arguments.get() != kNone) objects_->drop_reference(transaction, entry.arguments.get());
  const std::uint32_t references = entry.inline_references.get();
  MINIRAY_SOUND(8ULL * references <= kInlineArgumentBytes, "tasks: more references than a row has room for");
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(entry.inline_bytes);
  for (std::uint32_t i = 0; i < references; ++i) objects_->drop_reference(transaction, pairs[2 * i]);
  if (entry.is_call()) objects_->drop_reference(transaction, actors[entry.actor.get()].handle.get());
  transaction.set(entry.state, as_word(TaskState::kFree));
  tasks.put(transaction, task);
}

// --- workers -------------------------------------------------------------------------------------------------------

void Scheduler::idle_push(Transaction& transaction, Index worker) {
  ProcessEntry& entry = (*processes_)[worker];
  const Index head = header_->idle_head.get();
  transaction.set(entry.idle_next, head);
  transaction.set(entry.idle_previous, kNone);
  if (head != kNone) transaction.set((*processes_)[head].idle_previous, worker);
  transaction.set(header_->idle_head, worker);
  transaction.add(header_->idle_count, 1);
  transaction.set(entry.worker_state, as_word(WorkerState::kIdle));
}

void Scheduler::idle_remove(Transaction& transaction, Index worker) {
  ProcessEntry& entry = (*processes_)[worker];
  const Index next = entry.idle_next.get();
  const Index previous = entry.idle_previous.get();
  Cell<Index>& from_previous = previous != kNone ? (*processes_)[previous].idle_next : header_->idle_head;
  MINIRAY_SOUND(entry.worker_state.get() == as_word(WorkerState::kIdle) && from_previous.get() == worker,
                "scheduler: the list of idle workers is torn");
  if (next != kNone) transaction.set((*processes_)[next].idle_previous, previous);
  transaction.set(from_previous, next);
  transaction.add(header_->idle_count, kMinusOne);
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
    transaction.add(header_->running_count, kMinusOne);
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
  transaction.add(header_->running_count, kMinusOne);
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
