#include "scheduler/scheduler.hpp"

#include <cstring>

namespace miniray::scheduler {

using process::ProcessEntry;
using process::WorkerState;
using store::AllocateResult;
using store::ObjectEntry;
using store::ObjectState;

namespace {
constexpr std::uint32_t as_word(TaskState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(WorkerState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;  // journal entries that the end of a task may need, with room for what follows
}  // namespace

// --- set-up --------------------------------------------------------------------------------------------------------

std::uint32_t Scheduler::find_resource(const char* name, bool add) noexcept {
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

Index Scheduler::find_shape(Transaction& transaction, const Demand* demands, std::uint32_t count) noexcept {
  const std::uint32_t used = header_->resources.shape_count.get();
  for (Index index = 1; index < used; ++index) {
    const Shape& known = shape(index);
    if (known.demand_count.get() != count) continue;
    bool equal = true;
    for (std::uint32_t i = 0; i < count && equal; ++i) {
      equal = known.demands[i].resource == demands[i].resource && known.demands[i].amount == demands[i].amount;
    }
    if (equal) return index;
  }
  if (used >= kShapeCapacity || count > kShapeDemands) return kNone;
  Shape& fresh = shape(used);
  std::memcpy(fresh.demands, demands, count * sizeof(Demand));
  transaction.set(fresh.demand_count, count);
  transaction.set(header_->resources.shape_count, used + 1);
  return used;
}

bool Scheduler::shape_can_ever_run(Index index) const noexcept {
  const Shape& wanted = shape(index);
  for (std::uint32_t i = 0; i < wanted.demand_count.get(); ++i) {
    if (resource(wanted.demands[i].resource).total.get() < wanted.demands[i].amount) return false;
  }
  return true;
}

bool Scheduler::fits(const Shape& wanted) const noexcept {
  for (std::uint32_t i = 0; i < wanted.demand_count.get(); ++i) {
    const Demand& demand = wanted.demands[i];
    if (demand.amount > 0 && resource(demand.resource).available.get() < demand.amount) return false;
  }
  return true;
}

void Scheduler::charge(Transaction& transaction, Index index, std::int64_t sign, bool cpu_only) noexcept {
  const Shape& wanted = shape(index);
  for (std::uint32_t i = 0; i < wanted.demand_count.get(); ++i) {
    const Demand& demand = wanted.demands[i];
    if (cpu_only && demand.resource != kCpu) continue;
    transaction.add(resource(demand.resource).available, sign * demand.amount);
  }
}

// --- queues --------------------------------------------------------------------------------------------------------

void Scheduler::queue_push(Transaction& transaction, Index task, bool first) noexcept {
  Shape& queue = shape(tasks[task].shape.get());
  const Index head = queue.head.get();
  if (head == kNone) {
    transaction.set(tasks[task].next, kNone);
    transaction.set(queue.head, task);
    transaction.set(queue.tail, task);
  } else if (first) {
    transaction.set(tasks[task].next, head);
    transaction.set(queue.head, task);
  } else {
    transaction.set(tasks[task].next, kNone);
    transaction.set(tasks[queue.tail.get()].next, task);
    transaction.set(queue.tail, task);
  }
  transaction.add(queue.queued_count, 1);
  transaction.add(header_->resources.queued_count, 1);
}

void Scheduler::queue_pop(Transaction& transaction, Index index) noexcept {
  Shape& queue = shape(index);
  const Index next = tasks[queue.head.get()].next.get();
  transaction.set(queue.head, next);
  if (next == kNone) transaction.set(queue.tail, kNone);
  transaction.add(queue.queued_count, kMinusOne);
  transaction.add(header_->resources.queued_count, kMinusOne);
}

// The shape whose oldest queued task came first, among those that fit now.
Index Scheduler::best_shape() const noexcept {
  if (header_->resources.queued_count.get() == 0) return kNone;
  const std::uint32_t used = header_->resources.shape_count.get();
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

void Scheduler::make_ready(Transaction& transaction, Index task, bool first, Wakes& wakes) noexcept {
  TaskEntry& entry = tasks[task];
  const Index index = entry.shape.get();
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

void Scheduler::dispatch(Transaction& transaction, Wakes& wakes) noexcept {
  while (transaction.room() > 128) {
    const Index index = best_shape();
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

std::uint32_t Scheduler::workers_needed() const noexcept {
  std::int64_t left[kResourceCapacity];
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) left[i] = resource(i).available.get();
  std::uint64_t needed = 0;
  for (Index index = 1; index < header_->resources.shape_count.get(); ++index) {
    const Shape& queue = shape(index);
    std::int64_t runnable = queue.queued_count.get();
    for (std::uint32_t i = 0; i < queue.demand_count.get() && runnable > 0; ++i) {
      const Demand& demand = queue.demands[i];
      if (demand.amount <= 0) continue;
      const std::int64_t room = left[demand.resource] < 0 ? 0 : left[demand.resource] / demand.amount;
      if (room < runnable) runnable = room;
    }
    for (std::uint32_t i = 0; i < queue.demand_count.get(); ++i)
      left[queue.demands[i].resource] -= runnable * queue.demands[i].amount;
    needed += static_cast<std::uint64_t>(runnable);
  }
  const std::uint32_t idle = header_->idle_count.get();
  return needed <= idle ? 0 : static_cast<std::uint32_t>(needed - idle);
}

// --- calls ---------------------------------------------------------------------------------------------------------

void Scheduler::submit(Transaction& transaction, Index task, Wakes& wakes) noexcept {
  TaskEntry& entry = tasks[task];
  const std::uint64_t sequence = header_->next_sequence.get() + 1;
  transaction.set(header_->next_sequence, sequence);
  transaction.set(entry.sequence, sequence);
  dependency_met(transaction, task, wakes);  // the guard
}

void Scheduler::dependency_met(Transaction& transaction, Index task, Wakes& wakes) noexcept {
  TaskEntry& entry = tasks[task];
  const std::uint32_t left = entry.dependencies.get() - 1;
  transaction.set(entry.dependencies, left);
  if (left == 0) make_ready(transaction, task, false, wakes);
}

void Scheduler::seal(Transaction& transaction, Index object, ObjectState state, Wakes& wakes) noexcept {
  ObjectEntry& entry = (*objects_)[object];
  const Index producer = entry.producer.get();
  // T4: whoever runs the task again, or fails it, must not make a result that others may have read and dropped already.
  if (producer != kNone && tasks[producer].first_result.get() == object)
    transaction.set(tasks[producer].first_result, entry.next_result.get());
  const Index waiters = objects_->seal(transaction, object, state);
  if (waiters == kNone) return;
  transaction.set(entry.waiters, waiters);  // kept until each has been told
  transaction.set(header_->notifying, object);
  finish_notifications(transaction, wakes);
}

void Scheduler::finish_notifications(Transaction& transaction, Wakes& wakes) noexcept {
  const Index object = header_->notifying.get();
  if (object == kNone) return;
  ObjectEntry& entry = (*objects_)[object];
  const bool is_error = entry.current_state() == ObjectState::kError;
  for (Index node = entry.waiters.get(); node != kNone; node = entry.waiters.get()) {
    if (transaction.room() < 256) transaction.commit();
    WaitNode& found = waits_->nodes[node];
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
    const std::uint32_t remaining = waiting.remaining.get();
    if (remaining == 0) continue;
    const std::uint32_t left = is_error && waiting.fail_fast.get() != 0 ? 0 : remaining - 1;
    transaction.set(waiting.remaining, left);
    if (left == 0) wakes.add_group(group);
  }
  transaction.set(header_->notifying, kNone);
}

Index Scheduler::pop_low_level(Transaction& transaction) noexcept {
  const Index task = shape(0).head.get();
  if (task != kNone) queue_pop(transaction, 0);
  return task;
}

void Scheduler::end_task(Transaction& transaction, Index task) noexcept {
  TaskEntry& entry = tasks[task];
  if (entry.function.get() != kNone) objects_->drop_reference(transaction, entry.function.get());
  if (entry.arguments.get() != kNone) objects_->drop_reference(transaction, entry.arguments.get());
  const std::uint32_t references = entry.inline_references.get();
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(entry.inline_bytes);
  for (std::uint32_t i = 0; i < references; ++i) objects_->drop_reference(transaction, pairs[2 * i]);
  transaction.set(entry.state, as_word(TaskState::kFree));
  tasks.put(transaction, task);
}

// --- workers -------------------------------------------------------------------------------------------------------

void Scheduler::idle_push(Transaction& transaction, Index worker) noexcept {
  ProcessEntry& entry = (*processes_)[worker];
  const Index head = header_->idle_head.get();
  transaction.set(entry.idle_next, head);
  transaction.set(entry.idle_previous, kNone);
  if (head != kNone) transaction.set((*processes_)[head].idle_previous, worker);
  transaction.set(header_->idle_head, worker);
  transaction.add(header_->idle_count, 1);
  transaction.set(entry.worker_state, as_word(WorkerState::kIdle));
}

void Scheduler::idle_remove(Transaction& transaction, Index worker) noexcept {
  ProcessEntry& entry = (*processes_)[worker];
  const Index next = entry.idle_next.get();
  const Index previous = entry.idle_previous.get();
  if (next != kNone) transaction.set((*processes_)[next].idle_previous, previous);
  transaction.set(previous != kNone ? (*processes_)[previous].idle_next : header_->idle_head, next);
  transaction.add(header_->idle_count, kMinusOne);
}

void Scheduler::lease(Transaction& transaction, Index task, Index worker, Wakes& wakes) noexcept {
  TaskEntry& entry = tasks[task];
  ProcessEntry& holder = (*processes_)[worker];
  charge(transaction, entry.shape.get(), -1, false);
  transaction.set(entry.state, as_word(TaskState::kLeased));
  transaction.set(entry.worker, ProcessId{worker, processes_->identity(worker).generation}.packed());
  transaction.set(holder.worker_state, as_word(WorkerState::kRunning));
  transaction.add(header_->running_count, 1);
  transaction.set(holder.lease, task);
  if (header_->memory_watch_sleeps.get() != 0) [[unlikely]] {
    transaction.set(header_->memory_watch_sleeps, 0);
    wakes.doorbell = true;
  }
}

void Scheduler::drop_lease(Transaction& transaction, Index worker) noexcept {
  ProcessEntry& holder = (*processes_)[worker];
  const Index index = tasks[holder.lease.get()].shape.get();
  if (holder.worker_state.get() == as_word(WorkerState::kBlocked)) {
    charge(transaction, index, -1, true);  // takes the CPU back, to return it with the rest
    transaction.set(holder.blocked_depth, 0);
  } else {
    transaction.add(header_->running_count, kMinusOne);
  }
  charge(transaction, index, 1, false);
  transaction.set(holder.lease, kNone);
}

void Scheduler::add_worker(Transaction& transaction, ProcessId worker, Wakes& wakes) noexcept {
  ProcessEntry& entry = (*processes_)[worker.slot];
  transaction.set(entry.lease, kNone);
  transaction.set(entry.blocked_depth, 0);
  transaction.add(header_->worker_count, 1);
  idle_push(transaction, worker.slot);
  dispatch(transaction, wakes);
}

void Scheduler::finish_lease(Transaction& transaction, ProcessId worker, Wakes& wakes) noexcept {
  ProcessEntry& holder = (*processes_)[worker.slot];
  const Index task = holder.lease.get();
  const Index shape_index = tasks[task].shape.get();
  transaction.add(header_->finished_count, 1);
  // The common case: the queue's next task asks for the same, so the worker and its share pass straight on.
  const std::uint32_t queued = header_->resources.queued_count.get();
  if (queued != 0 && queued == shape(shape_index).queued_count.get() &&
      holder.worker_state.get() == as_word(WorkerState::kRunning)) {
    const Index next = shape(shape_index).head.get();
    queue_pop(transaction, shape_index);
    TaskEntry& entry = tasks[next];
    transaction.set(entry.state, as_word(TaskState::kLeased));
    transaction.set(entry.worker, worker.packed());
    transaction.set(holder.lease, next);
    end_task(transaction, task);
    return;
  }
  drop_lease(transaction, worker.slot);
  end_task(transaction, task);
  idle_push(transaction, worker.slot);
  if (queued != 0) dispatch(transaction, wakes);
}

void Scheduler::repeat_lease(Transaction& transaction, ProcessId worker, Wakes& wakes) noexcept {
  const Index task = (*processes_)[worker.slot].lease.get();
  TaskEntry& entry = tasks[task];
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

void Scheduler::begin_blocked(Transaction& transaction, ProcessId worker, Wakes& wakes) noexcept {
  ProcessEntry& holder = (*processes_)[worker.slot];
  if (holder.lease.get() == kNone) return;
  transaction.add(holder.blocked_depth, 1);
  if (holder.blocked_depth.get() > 1) return;
  transaction.set(holder.worker_state, as_word(WorkerState::kBlocked));
  transaction.add(header_->running_count, kMinusOne);
  charge(transaction, tasks[holder.lease.get()].shape.get(), 1, true);
  dispatch(transaction, wakes);
}

void Scheduler::end_blocked(Transaction& transaction, ProcessId worker) noexcept {
  ProcessEntry& holder = (*processes_)[worker.slot];
  if (holder.blocked_depth.get() == 0) return;
  transaction.add(holder.blocked_depth, kMinusOne);
  if (holder.blocked_depth.get() != 0) return;
  transaction.set(holder.worker_state, as_word(WorkerState::kRunning));
  transaction.add(header_->running_count, 1);
  charge(transaction, tasks[holder.lease.get()].shape.get(), -1, true);
}

void Scheduler::return_lease(Transaction& transaction, ProcessId worker) noexcept {
  const Index task = (*processes_)[worker.slot].lease.get();
  drop_lease(transaction, worker.slot);
  transaction.set(tasks[task].state, as_word(TaskState::kQueued));
  transaction.set(tasks[task].worker, 0);
  queue_push(transaction, task, true);
  idle_push(transaction, worker.slot);
}

bool Scheduler::retire(Transaction& transaction, ProcessId worker) noexcept {
  ProcessEntry& entry = (*processes_)[worker.slot];
  if (entry.worker_state.get() != as_word(WorkerState::kIdle)) return false;
  idle_remove(transaction, worker.slot);
  transaction.set(entry.worker_state, as_word(WorkerState::kExiting));
  transaction.add(header_->worker_count, kMinusOne);
  return true;
}

// --- recovery ------------------------------------------------------------------------------------------------------

void Scheduler::discard_half_made_results(Transaction& transaction, Index task) noexcept {
  // Memory given to results that were never sealed, and references counted in them. May take several sections, and be done twice:
  // callers change nothing else before it.
  for (Index object = tasks[task].first_result.get(); object != kNone; object = (*objects_)[object].next_result.get()) {
    if (transaction.room() < 512) transaction.commit();
    objects_->discard_payload(transaction, object);
  }
}

void Scheduler::fail_with_crash(Transaction& transaction, Index task, ProcessEnd end, Wakes& wakes) noexcept {
  TaskEntry& entry = tasks[task];
  CrashRecord record{kCrashFormat, end.cause, {}, end.pid, end.status, entry.attempt.get() + 1, 0, end.note};
  char name[96] = {};
  record.name_bytes = static_cast<std::uint32_t>(copy_name(task, name, sizeof(name)));
  discard_half_made_results(transaction, task);
  Index object = entry.first_result.get();
  while (object != kNone) {
    if (transaction.room() < 1024) transaction.commit();
    ObjectEntry& result = (*objects_)[object];
    const Index next = result.next_result.get();
    const std::uint64_t wanted = (sizeof(record) + record.name_bytes + 7) & ~7ULL;
    CrashRecord mine = record;
    // Without room for the name (a full store) the error comes without it.
    if (objects_->reserve(transaction, object, wanted, false) != AllocateResult::kDone || !objects_->is_backed(object)) {
      objects_->discard_payload(transaction, object);
      mine.name_bytes = 0;
      (void)objects_->reserve(transaction, object, sizeof(record), false);
    }
    std::byte* payload = objects_->payload_for_write(object);
    std::memcpy(payload, &mine, sizeof(mine));
    std::memcpy(payload + sizeof(mine), name, mine.name_bytes);
    seal(transaction, object, ObjectState::kError, wakes);
    if (result.references.get() == 0) objects_->free(transaction, object);
    object = next;
  }
}

std::size_t Scheduler::copy_name(Index task, char* name, std::size_t room) const noexcept {
  const Index object = tasks[task].function.get();
  if (object == kNone) return 0;
  const store::PayloadView function = objects_->view(object);
  std::uint32_t length = 0;
  std::memcpy(&length, function.data + 4, sizeof(length));
  const std::size_t copied = length < room ? length : room;
  std::memcpy(name, function.data + 8, copied);
  return copied;
}

// Whether the task has a retry left for that cause.
bool Scheduler::may_repeat_after_death(Index task, DeathCause cause) const noexcept {
  const TaskEntry& entry = tasks[task];
  if (cause == DeathCause::kMemoryForGood) return false;
  return cause == DeathCause::kMemory ? may_repeat_for_memory(entry) : entry.retries_left.get() != 0;
}

void Scheduler::take_retry(Transaction& transaction, Index task, DeathCause cause) noexcept {
  TaskEntry& entry = tasks[task];
  if (cause == DeathCause::kMemory) {
    if (header_->memory_retries.get() != kRetryForever) transaction.add(entry.flags, kMemoryEnd);
  } else if (entry.retries_left.get() != kRetryForever) {
    transaction.add(entry.retries_left, kMinusOne);
  }
}

bool Scheduler::fail_stranded_task(Transaction& transaction, ProcessEnd end, std::uint64_t last_sequence,
                                   Wakes& wakes) noexcept {
  finish_notifications(transaction, wakes);
  if (header_->idle_count.get() != 0 || header_->running_count.get() != 0) return false;
  const Index index = best_shape();
  if (index == kNone) return false;
  const Index task = shape(index).head.get();
  if (tasks[task].sequence.get() > last_sequence) return false;
  fail_with_crash(transaction, task, end, wakes);
  queue_pop(transaction, index);  // still its head: what became ready meanwhile stands behind
  end_task(transaction, task);
  return true;
}

bool Scheduler::let_memory_watch_sleep(Transaction& transaction) noexcept {
  if (header_->idle_count.get() != header_->worker_count.get()) return false;
  transaction.set(header_->memory_watch_sleeps, 1);
  return true;
}

void Scheduler::recover_worker(Transaction& transaction, ProcessId worker, ProcessEnd end, Wakes& wakes) noexcept {
  finish_notifications(transaction, wakes);
  ProcessEntry& entry = (*processes_)[worker.slot];
  const auto state = static_cast<WorkerState>(entry.worker_state.get());
  if (state == WorkerState::kNoWorker) return;
  if (state == WorkerState::kIdle) idle_remove(transaction, worker.slot);
  if (const Index task = entry.lease.get(); task != kNone) {
    TaskEntry& lost = tasks[task];
    // Results may need several sections: the lease stays until they are dealt with, so that a rescuer who dies is followed by the next.
    const bool is_made = lost.first_result.get() == kNone && lost.result_count.get() != 0;
    const bool tries_again = !is_made && may_repeat_after_death(task, end.cause);
    if (tries_again) {
      discard_half_made_results(transaction, task);
    } else if (!is_made) {
      fail_with_crash(transaction, task, end, wakes);
    }
    if (transaction.room() < kRoom) transaction.commit();
    drop_lease(transaction, worker.slot);
    if (tries_again) {
      take_retry(transaction, task, end.cause);
      transaction.add(lost.attempt, 1);
      transaction.set(lost.state, as_word(TaskState::kQueued));
      transaction.set(lost.worker, 0);
      queue_push(transaction, task, true);
    } else {
      end_task(transaction, task);
    }
  }
  if (state != WorkerState::kExiting) transaction.add(header_->worker_count, kMinusOne);
  transaction.set(entry.worker_state, as_word(WorkerState::kNoWorker));
  dispatch(transaction, wakes);
  wakes.doorbell = true;
}

// --- truth and derived ---------------------------------------------------------------------------------------------

const char* Scheduler::validate() const noexcept {
  if (const char* fault = tasks.validate(); fault != nullptr) return fault;
  std::uint32_t queued = 0;
  tasks.for_each_used([&](Index task) { queued += tasks[task].state.get() == as_word(TaskState::kQueued) ? 1U : 0U; });
  std::uint32_t listed = 0;
  for (Index index = 0; index < header_->resources.shape_count.get(); ++index) {
    const Shape& queue = shape(index);
    std::uint32_t count = 0;
    Index last = kNone;
    for (Index task = queue.head.get(); task != kNone; task = tasks[task].next.get()) {
      if (tasks[task].state.get() != as_word(TaskState::kQueued)) return "scheduler: a task in a queue is not queued";
      if (tasks[task].shape.get() != index) return "scheduler: a task in the queue of another shape";
      if (++count > queued) return "scheduler: a queue has a cycle";
      last = task;
    }
    if (count != queue.queued_count.get() || last != queue.tail.get()) return "scheduler: a queue's count or tail is wrong";
    listed += count;
  }
  if (listed != queued || listed != header_->resources.queued_count.get()) return "scheduler: a queued task is in no queue";
  std::int64_t available[kResourceCapacity];
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) available[i] = resource(i).total.get();
  std::uint32_t idle = 0;
  std::uint32_t running = 0;
  std::uint32_t workers = 0;
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const ProcessEntry& entry = (*processes_)[slot];
    const auto state = static_cast<WorkerState>(entry.worker_state.get());
    if (state == WorkerState::kIdle || state == WorkerState::kRunning || state == WorkerState::kBlocked) ++workers;
    if (state == WorkerState::kIdle) ++idle;
    if (state == WorkerState::kRunning) ++running;
    if (state != WorkerState::kRunning && state != WorkerState::kBlocked) continue;
    const Index task = entry.lease.get();
    if (!tasks.is_valid_index(task) || tasks[task].state.get() != as_word(TaskState::kLeased))
      return "scheduler: a lease without its task";
    const Shape& held = shape(tasks[task].shape.get());
    for (std::uint32_t i = 0; i < held.demand_count.get(); ++i) {
      if (state == WorkerState::kBlocked && held.demands[i].resource == kCpu) continue;
      available[held.demands[i].resource] -= held.demands[i].amount;
    }
  }
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) {
    if (available[i] != resource(i).available.get()) return "scheduler: available resources differ from the leases";
  }
  if (idle != header_->idle_count.get()) return "scheduler: idle count differs from the workers";
  if (running != header_->running_count.get()) return "scheduler: running count differs from the workers";
  if (workers != header_->worker_count.get()) return "scheduler: worker count differs from the workers";
  std::uint32_t chained = 0;
  for (Index slot = header_->idle_head.get(); slot != kNone; slot = (*processes_)[slot].idle_next.get()) {
    if ((*processes_)[slot].worker_state.get() != as_word(WorkerState::kIdle))
      return "scheduler: a busy worker in the idle list";
    if (++chained > idle) return "scheduler: the idle list has a cycle";
  }
  return chained == idle ? nullptr : "scheduler: an idle worker is not in the idle list";
}

void Scheduler::count_references(std::uint32_t* counts) const noexcept {
  tasks.for_each_used([&](Index task) {
    const TaskEntry& entry = tasks[task];
    ++counts[entry.function.get()];
    ++counts[entry.arguments.get()];  // kNone counts for nobody
    const auto* pairs = reinterpret_cast<const std::uint32_t*>(entry.inline_bytes);
    for (std::uint32_t i = 0; i < entry.inline_references.get(); ++i) ++counts[pairs[2 * i]];
  });
}

}  // namespace miniray::scheduler
