#include "scheduler/scheduler.hpp"

#include <cstring>

namespace miniray::scheduler {

using store::ObjectEntry;
using store::ObjectState;

namespace {
constexpr std::uint32_t as_word(TaskState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
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
        (known.captures.get() != 0) != place.captures || known.environment.get() != place.environment)
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
  transaction.set(fresh.environment, place.environment);
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

Index Scheduler::best_shape(std::uint64_t& unserved) const {
  unserved = ~0ULL;
  if (header_->resources.queued_count.get() == 0) return kNone;
  const std::uint32_t used = shape_count();
  Index best = kNone;
  std::uint64_t best_sequence = ~0ULL;
  for (Index index = 1; index < used; ++index) {
    const Shape& queue = shape(index);
    const Index head = queue.head.get();
    if (head == kNone) continue;
    const bool has_worker = idle_head(queue) != kNone;
    std::uint64_t& oldest = has_worker ? best_sequence : unserved;
    const std::uint64_t sequence = tasks[head].sequence.get();
    if (sequence >= oldest || !fits(queue)) continue;
    oldest = sequence;
    if (has_worker) best = index;
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
  if (queue.head.get() == kNone && !fits(queue)) {
    if (queue.environment.get() != 0) wakes.doorbell = true;  // it may have no worker at all
  } else if (queue.head.get() == kNone) {
    const Index worker = idle_head(queue);
    const bool is_full = header_->running_count.get() >= header_->running_limit.get();
    if (worker != kNone && !is_full) [[likely]] {
      idle_remove(transaction, worker);
      lease(transaction, task, worker, wakes);
      wakes.add_worker(worker);
      return;
    }
    if (worker != kNone) {
      keep_lookout(transaction, queue, wakes);
    } else {
      wakes.doorbell = true;
    }
  }
  transaction.set(entry.state, as_word(TaskState::kQueued));
  queue_push(transaction, task, first);
}

void Scheduler::dispatch(Transaction& transaction, Wakes& wakes) {
  (void)dispatch_up_to(transaction, header_->running_limit.get(), wakes);
}

bool Scheduler::dispatch_up_to(Transaction& transaction, std::uint32_t most_running, Wakes& wakes) {
  if (header_->removed_placements.first.get() != kNone) [[unlikely]]
    wakes.removals = true;
  for (;;) {
    std::uint64_t unserved = 0;
    const Index index = best_shape(unserved);
    wakes.doorbell = wakes.doorbell || unserved != ~0ULL;
    const bool has_room = transaction.room() > 128;
    if (header_->waiting_placements.first.get() != kNone && has_room) [[unlikely]] {
      const std::uint64_t oldest = index == kNone ? ~0ULL : tasks[shape(index).head.get()].sequence.get();
      if (place_next(transaction, oldest < unserved ? oldest : unserved, wakes)) continue;
    }
    if (index == kNone) return false;
    if (!has_room || header_->running_count.get() >= most_running) {
      keep_lookout(transaction, shape(index), wakes);
      return true;
    }
    const Index worker = idle_head(shape(index));
    const Index task = shape(index).head.get();
    queue_pop(transaction, index);
    idle_remove(transaction, worker);
    lease(transaction, task, worker, wakes);
    wakes.add_worker(worker);
  }
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
  if (entry.has(kStreams)) end_stream_of(transaction, task);
  transaction.set(entry.state, as_word(TaskState::kFree));
  tasks.put(transaction, task);
}

}  // namespace miniray::scheduler
