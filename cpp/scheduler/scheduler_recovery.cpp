// scheduler/scheduler_recovery.cpp - what a dead worker's lease becomes, calls that nobody can run; truth against derived.
//
// Invariants  R1 a task's results may need several sections: the lease, or the place in the queue, stays until they are dealt with, so
//                that a rescuer who dies is followed by the next, who finds the same decision.
#include <cstring>

#include "scheduler/scheduler.hpp"

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
constexpr std::uint32_t kRoom = 2048;
}  // namespace

// --- recovery ------------------------------------------------------------------------------------------------------

void Scheduler::discard_half_made_results(Transaction& transaction, Index task) {
  // Memory given to results that were never sealed, and references counted in them. May take several sections, and be done twice:
  // callers change nothing else before it.
  debug::WalkLimit limit = result_limit();
  for (Index object = tasks[task].first_result.get(); object != kNone; object = (*objects_)[object].next_result.get()) {
    limit.step();
    if (transaction.room() < 512) transaction.commit();
    objects_->discard_payload(transaction, object);
  }
}

void Scheduler::fail_with_crash(Transaction& transaction, Index task, ProcessEnd end, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  CrashRecord record{kCrashFormat, end.cause, {}, end.pid, end.status, entry.attempt.get() + 1, 0, end.note};
  char name[96] = {};
  record.name_bytes = static_cast<std::uint32_t>(copy_name(task, name, sizeof(name)));
  discard_half_made_results(transaction, task);
  Index object = entry.first_result.get();
  debug::WalkLimit limit = result_limit();
  while (object != kNone) {
    limit.step();
    if (transaction.room() < 1024) transaction.commit();
    ObjectEntry& result = (*objects_)[object];
    MINIRAY_SOUND(result.current_state() == ObjectState::kPending, "tasks: a result that is to be made is there already");
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
    object = next;
  }
}

std::size_t Scheduler::copy_name(Index task, char* name, std::size_t room) const {
  const Index object = tasks[task].function.get();
  if (object == kNone) return 0;
  const store::PayloadView function = objects_->view(object);
  std::uint32_t length = 0;
  if (function.size_bytes < 8) return 0;
  std::memcpy(&length, function.data + 4, sizeof(length));
  MINIRAY_SOUND(length <= function.size_bytes - 8, "objects: a function's name is longer than the function");
  const std::size_t copied = length < room ? length : room;
  std::memcpy(name, function.data + 8, copied);
  return copied;
}

// Whether the task has a retry left for that cause.
bool Scheduler::may_repeat_after_death(Index task, DeathCause cause) const {
  const TaskEntry& entry = tasks[task];
  if (cause == DeathCause::kMemoryForGood || entry.has(kCancelled)) return false;
  return cause == DeathCause::kMemory ? may_repeat_for_memory(entry) : entry.retries_left.get() != 0;
}

void Scheduler::take_retry(Transaction& transaction, Index task, DeathCause cause) {
  TaskEntry& entry = tasks[task];
  if (cause == DeathCause::kMemory) {
    if (header_->memory_retries.get() != kRetryForever) transaction.add(entry.flags, kMemoryEnd);
  } else if (entry.retries_left.get() != kRetryForever) {
    transaction.add(entry.retries_left, kMinusOne);
  }
}

bool Scheduler::fail_stranded_task(Transaction& transaction, ProcessEnd end, std::uint64_t last_sequence, Wakes& wakes) {
  finish_notifications(transaction, wakes);
  finish_endings(transaction, wakes);
  if (header_->idle_count.get() != 0 || header_->running_count.get() != 0) return false;
  const Index index = best_shape();
  if (index == kNone) return false;
  const Index task = shape(index).head.get();
  if (tasks[task].sequence.get() > last_sequence) return false;
  if (const Index actor = tasks[task].actor.get(); actor != kNone) {
    end_actor(transaction, actor, {kActorEndFormat, ActorEnd::kDied, {}, end.pid, end.status, end.note}, {}, wakes);
    return true;
  }
  fail_with_crash(transaction, task, end, wakes);
  queue_pop(transaction, index);  // still its head: what became ready meanwhile stands behind
  end_task(transaction, task);
  if (header_->waiting_placements.first.get() != kNone) dispatch(transaction, wakes);  // a group may have stood behind it
  return true;
}

bool Scheduler::let_memory_watch_sleep(Transaction& transaction) {
  if (header_->idle_count.get() != header_->worker_count.get()) return false;
  transaction.set(header_->memory_watch_sleeps, 1);
  return true;
}

void Scheduler::recover_worker(Transaction& transaction, ProcessId worker, ProcessEnd end, Wakes& wakes) {
  finish_notifications(transaction, wakes);
  finish_endings(transaction, wakes);
  ProcessEntry& entry = (*processes_)[worker.slot];
  auto state = static_cast<WorkerState>(entry.worker_state.get());
  if (state == WorkerState::kNoWorker) return;
  if (state == WorkerState::kIdle) idle_remove(transaction, worker.slot);
  if (entry.actor.get() != kNone) {
    recover_host(transaction, worker, end, wakes);
    state = static_cast<WorkerState>(entry.worker_state.get());
  }
  if (const Index task = entry.lease.get(); task != kNone) {
    TaskEntry& lost = leased_task(task);
    // Results may need several sections: the lease stays until they are dealt with, so that a rescuer who dies is followed by the next.
    const bool is_made = lost.first_result.get() == kNone && lost.result_count.get() != 0;
    bool tries_again = !is_made && may_repeat_after_death(task, end.cause);
    if (tries_again && is_removed(shape(lost.shape.get()))) {
      tries_again = false;
      end.cause = DeathCause::kGroupRemoved;
    }
    if (tries_again) {
      discard_half_made_results(transaction, task);
    } else if (!is_made) {
      if (lost.has(kCancelled)) end.cause = DeathCause::kCancelled;
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
  if (state != WorkerState::kExiting && state != WorkerState::kHost) transaction.add(header_->worker_count, kMinusOne);
  transaction.set(entry.worker_state, as_word(WorkerState::kNoWorker));
  dispatch(transaction, wakes);
  wakes.doorbell = true;
}

// --- truth and derived ---------------------------------------------------------------------------------------------

const char* Scheduler::validate() const {
  if (const char* fault = tasks.validate(); fault != nullptr) return fault;
  std::uint32_t queued = 0;
  std::uint32_t leased = 0;
  tasks.for_each_used([&](Index task) {
    if (tasks[task].is_call()) return;
    queued += tasks[task].state.get() == as_word(TaskState::kQueued) ? 1U : 0U;
    leased += tasks[task].state.get() == as_word(TaskState::kLeased) ? 1U : 0U;
  });
  if (const char* fault = validate_actors(); fault != nullptr) return fault;
  std::uint32_t listed = 0;
  const std::uint32_t used = shape_count();
  for (Index index = 0; index < used; ++index) {
    const Shape& queue = shape(index);
    std::uint32_t count = 0;
    Index last = kNone;
    for (Index task = queue.head.get(); task != kNone; task = tasks[task].next.get()) {
      if (last != kNone && tasks[task].lane_previous.get() != last) return "scheduler: a queue is torn";
      if (tasks[task].state.get() != as_word(TaskState::kQueued)) return "scheduler: a task in a queue is not queued";
      if (tasks[task].shape.get() != index) return "scheduler: a task in the queue of another shape";
      if (++count > queued) return "scheduler: a queue has a cycle";
      last = task;
    }
    if (count != queue.queued_count.get() || last != queue.tail.get()) return "scheduler: a queue's count or tail is wrong";
    listed += count;
  }
  if (const char* fault = validate_placements(); fault != nullptr) return fault;
  if (listed != queued || listed != queued_count()) return "scheduler: a queued task is in no queue";
  std::uint64_t available[kResourceCapacity];  // wraps, whatever is found
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) available[i] = static_cast<std::uint64_t>(resource(i).total.get());
  bundles.for_each_used([&](Index bundle) {
    const BundleEntry& entry = bundles[bundle];
    for (std::uint32_t i = 0; i < bundle_demands(entry) && placements[entry.placement.get()].has(kTaken); ++i) {
      MINIRAY_SOUND(entry.demands[i].resource < kResourceCapacity, "bundles: a demand for a resource that is not there");
      available[entry.demands[i].resource] -= static_cast<std::uint64_t>(entry.demands[i].amount);
    }
  });
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
    if (!tasks.is_valid_index(task) || tasks[task].state.get() != as_word(TaskState::kLeased) ||
        ProcessId::unpack(tasks[task].worker.get()).slot != slot)
      return "scheduler: a lease without its task";
    --leased;
    const Shape& held = shape(held_shape(task));
    for (std::uint32_t i = 0; i < demand_count(held) && entry.bundle.get() == kNone; ++i) {
      const Demand demand = held.demands[i];
      if (state == WorkerState::kBlocked && lends_cpu(task) && demand.resource == kCpu) continue;
      if (demand.resource >= kResourceCapacity) return "scheduler: a demand for a resource that is not there";
      available[demand.resource] -= static_cast<std::uint64_t>(demand.amount);
    }
  }
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const ProcessEntry& entry = (*processes_)[slot];
    if (static_cast<WorkerState>(entry.worker_state.get()) != WorkerState::kHost) continue;
    const Index actor = entry.actor.get();
    if (!actors.is_valid_index(actor) || actors[actor].current_state() != ActorState::kAlive ||
        ProcessId::unpack(actors[actor].host.get()).slot != slot)
      return "scheduler: a host without its actor";
    const Shape& held = shape(actors[actor].hold_shape.get());
    for (std::uint32_t i = 0; i < demand_count(held) && entry.bundle.get() == kNone; ++i) {
      const Demand demand = held.demands[i];
      if (demand.resource >= kResourceCapacity) return "scheduler: a demand for a resource that is not there";
      available[demand.resource] -= static_cast<std::uint64_t>(demand.amount);
    }
  }
  if (leased != 0) return "scheduler: a leased task without its worker";
  if (const char* fault = validate_shares(available); fault != nullptr) return fault;
  if (idle != header_->idle_count.get()) return "scheduler: idle count differs from the workers";
  if (running != header_->running_count.get()) return "scheduler: running count differs from the workers";
  if (workers != header_->worker_count.get()) return "scheduler: worker count differs from the workers";
  std::uint32_t chained = 0;
  for (Index slot = header_->idle_head.get(); slot != kNone; slot = (*processes_)[slot].idle_next.get()) {
    if ((*processes_)[slot].worker_state.get() != as_word(WorkerState::kIdle))
      return "scheduler: a busy worker in the idle list";
    if (++chained > idle) return "scheduler: the idle list has a cycle";
  }
  if (chained != idle) return "scheduler: an idle worker is not in the idle list";
  return validate_waiting();
}

// That what somebody waits for will come: each result that is not made is in the chain of its task, each task that waits for arguments has
// as many nodes.
const char* Scheduler::validate_waiting() const {
  const char* fault = nullptr;
  std::uint64_t awaited = 0;
  objects_->slots.for_each_used([&](Index object) {
    const ObjectEntry& entry = (*objects_)[object];
    const bool has_producer = !entry.has(store::kHandle) && !entry.has(store::kPlacement);
    awaited += entry.current_state() == ObjectState::kPending && has_producer ? 1 : 0;
  });
  std::uint64_t dependencies = 0;
  std::uint64_t guards = 0;
  tasks.for_each_used([&](Index task) {
    const TaskEntry& entry = tasks[task];
    debug::WalkLimit limit = result_limit();
    for (Index object = entry.first_result.get(); object != kNone; object = (*objects_)[object].next_result.get()) {
      limit.step();
      const ObjectEntry& result = (*objects_)[object];
      if (result.current_state() != ObjectState::kPending || result.producer.get() != task)
        fault = "tasks: a result that is to be made is another task's, or there already";
      --awaited;
    }
    if (entry.state.get() != as_word(TaskState::kWaiting)) return;
    dependencies += entry.dependencies.get();
    ++guards;
  });
  if (fault == nullptr && awaited != 0) fault = "objects: one that is to be made has no task that makes it";
  waits_->nodes.for_each_used([&](Index node) {
    const Index task = waits_->nodes[node].task.get();
    if (task == kNone) return;
    if (tasks[task].state.get() != as_word(TaskState::kWaiting)) fault = "waits: a task that is ready waits for an object";
    --dependencies;
  });
  // A call that is being submitted counts one more.
  if (fault == nullptr && dependencies > guards) fault = "tasks: one waits for more than it has nodes for";
  return fault;
}

void Scheduler::count_references(std::uint32_t* counts) const {
  tasks.for_each_used([&](Index task) {
    const TaskEntry& entry = tasks[task];
    const auto count = [&](Index object) {
      MINIRAY_SOUND(object <= objects_->slots.capacity(), "tasks: a reference to what is not there");
      ++counts[object];
    };
    count(entry.function.get());
    count(entry.arguments.get());  // kNone counts for nobody
    const std::uint32_t references = entry.inline_references.get();
    MINIRAY_SOUND(8ULL * references <= kInlineArgumentBytes, "tasks: more references than a row has room for");
    const auto* pairs = reinterpret_cast<const std::uint32_t*>(entry.inline_bytes);
    for (std::uint32_t i = 0; i < references; ++i) count(pairs[2 * i]);
    if (entry.is_call()) count(actors[entry.actor.get()].handle.get());
  });
  actors.for_each_used([&](Index actor) {
    const Index name = actors[actor].name.get();
    MINIRAY_SOUND(name <= objects_->slots.capacity(), "actors: a name that is not there");
    ++counts[name];
  });
  placements.for_each_used([&](Index placement) {
    for (const Index object : {placements[placement].ready.get(), placements[placement].description.get()}) {
      MINIRAY_SOUND(object <= objects_->slots.capacity(), "placement groups: an object that is not there");
      ++counts[object];
    }
  });
  const Index notifying = header_->notifying.get();
  MINIRAY_SOUND(notifying <= objects_->slots.capacity(), "scheduler: waiters of an object that is not there");
  ++counts[notifying];
}

}  // namespace miniray::scheduler
