// scheduler/actors.cpp - actors: their calls in lanes, their hosts, and how they end.
//
// Invariants  actor_entry.hpp A1 to A4, task_entry.hpp T5.
//             E1 an actor that ends is kEnding before its first call fails, and `ending` in the header names it until the last has: a
//                process that dies in between is followed by the next, who goes on.
// Cost        a call costs O(1); to submit one to an actor of ordered calls also a look at each other caller that has calls waiting.
#include <cstring>

#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using process::ProcessEntry;
using process::WorkerState;
using store::ObjectEntry;
using store::ObjectState;

namespace {
constexpr std::uint32_t as_word(TaskState state) { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(WorkerState state) { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(ActorState state) { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;
}  // namespace

Index Scheduler::create_actor(Transaction& transaction, Index hold_shape, std::uint32_t restarts, std::uint32_t flags,
                              ProcessId creator) {
  const Index actor = actors.take(transaction);
  if (actor == kNone) return kNone;
  const Index handle = objects_->create(transaction, ObjectState::kPending, store::kHandle);
  ActorEntry& entry = actors[actor];
  if (handle == kNone) {
    actors.put(transaction, actor);
    return kNone;
  }
  Transaction::init((*objects_)[handle].next_result, actor);
  transaction.set(entry.state, as_word(ActorState::kPending));
  Transaction::init(entry.host, 0);
  Transaction::init(entry.handle, handle);
  Transaction::init(entry.hold_shape, hold_shape);
  Transaction::init(entry.flags, flags);
  Transaction::init(entry.restarts_left, restarts);
  Transaction::init(entry.restarts, 0);
  Transaction::init(entry.waiting_count, 0);
  Transaction::init(entry.creator, creator.packed());
  Transaction::init(entry.cancels, 0);
  for (Cell<Index>* link : {&entry.creation, &entry.name, &entry.first_lane, &entry.last_lane, &entry.first_ready,
                            &entry.last_ready, &entry.first_running}) {
    Transaction::init(*link, kNone);
  }
  return actor;
}

void Scheduler::set_name(Transaction& transaction, Index actor, Index name) {
  objects_->add_reference(transaction, name);
  transaction.set(actors[actor].name, name);
}

// --- calls ---------------------------------------------------------------------------------------------------------

void Scheduler::push_call(Transaction& transaction, Index task, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  ActorEntry& actor = actors[entry.actor.get()];
  Transaction::init(entry.lane_tail, kNone);
  Transaction::init(entry.next, kNone);
  if (actor.is_over()) {
    fail_results(transaction, task, ActorEnd::kDied, wakes);
    return;
  }
  transaction.add(actor.waiting_count, 1);
  if (!actor.has(kUnorderedCalls)) {
    debug::WalkLimit limit(tasks.capacity(), "actors: the list of lanes has no end");
    for (Index lane = actor.first_lane.get(); lane != kNone; lane = tasks[lane].lane_next.get()) {
      limit.step();
      TaskEntry& head = tasks[lane];
      if (head.caller.get() != entry.caller.get()) continue;
      transaction.set(tasks[head.lane_tail.get()].next, task);
      transaction.set(head.lane_tail, task);
      return;
    }
  }
  add_lane(transaction, task);
}

void Scheduler::add_lane(Transaction& transaction, Index task) {
  TaskEntry& entry = tasks[task];
  ActorEntry& actor = actors[entry.actor.get()];
  const Index last = actor.last_lane.get();
  transaction.set(entry.lane_tail, task);
  transaction.set(entry.lane_next, kNone);
  transaction.set(entry.lane_previous, last);
  transaction.set(last != kNone ? tasks[last].lane_next : actor.first_lane, task);
  transaction.set(actor.last_lane, task);
}

// The head of a lane leaves it; the next call takes its place.
void Scheduler::take_from_lane(Transaction& transaction, Index task) {
  TaskEntry& entry = tasks[task];
  ActorEntry& actor = actors[entry.actor.get()];
  const Index next_lane = entry.lane_next.get();
  const Index previous_lane = entry.lane_previous.get();
  const Index next = entry.next.get();
  if (next != kNone) {
    transaction.set(tasks[next].lane_tail, entry.lane_tail.get());
    transaction.set(tasks[next].lane_next, next_lane);
    transaction.set(tasks[next].lane_previous, previous_lane);
  }
  transaction.set(previous_lane != kNone ? tasks[previous_lane].lane_next : actor.first_lane, next != kNone ? next : next_lane);
  transaction.set(next_lane != kNone ? tasks[next_lane].lane_previous : actor.last_lane, next != kNone ? next : previous_lane);
  transaction.set(entry.lane_tail, kNone);
  transaction.add(actor.waiting_count, kMinusOne);
  if (next != kNone && tasks[next].state.get() == as_word(TaskState::kQueued) && !actor.is_over())
    push_ready(transaction, next, false);
}

void Scheduler::push_ready(Transaction& transaction, Index task, bool first) {
  ActorEntry& actor = actors[tasks[task].actor.get()];
  const Index head = actor.first_ready.get();
  if (first || head == kNone) {
    transaction.set(tasks[task].ready_next, head);
    transaction.set(actor.first_ready, task);
    if (head == kNone) transaction.set(actor.last_ready, task);
  } else {
    transaction.set(tasks[task].ready_next, kNone);
    transaction.set(tasks[actor.last_ready.get()].ready_next, task);
    transaction.set(actor.last_ready, task);
  }
}

void Scheduler::pop_ready(Transaction& transaction, ActorEntry& actor) {
  const Index next = tasks[actor.first_ready.get()].ready_next.get();
  transaction.set(actor.first_ready, next);
  if (next == kNone) transaction.set(actor.last_ready, kNone);
}

// The last dependency of a call is there, or of a creation whose actor is over.
void Scheduler::make_call_ready(Transaction& transaction, Index task, Wakes& wakes) {
  TaskEntry& entry = tasks[task];
  ActorEntry& actor = actors[entry.actor.get()];
  if (actor.is_over()) {
    end_task(transaction, task);
    return;
  }
  transaction.set(entry.state, as_word(TaskState::kQueued));
  if (entry.lane_tail.get() == kNone) return;
  push_ready(transaction, task, false);
  if (actor.current_state() == ActorState::kAlive) wakes.add_worker(ProcessId::unpack(actor.host.get()).slot);
}

void Scheduler::link_running(Transaction& transaction, Index task) {
  TaskEntry& entry = tasks[task];
  ActorEntry& actor = actors[entry.actor.get()];
  const Index head = actor.first_running.get();
  transaction.set(entry.lane_next, head);
  transaction.set(entry.lane_previous, kNone);
  if (head != kNone) transaction.set(tasks[head].lane_previous, task);
  transaction.set(actor.first_running, task);
}

void Scheduler::unlink_running(Transaction& transaction, Index task) {
  const Index next = tasks[task].lane_next.get();
  const Index previous = tasks[task].lane_previous.get();
  if (next != kNone) transaction.set(tasks[next].lane_previous, previous);
  transaction.set(previous != kNone ? tasks[previous].lane_next : actors[tasks[task].actor.get()].first_running, next);
}

Index Scheduler::begin_call(Transaction& transaction, ProcessId host) {
  ActorEntry& actor = actors[(*processes_)[host.slot].actor.get()];
  Index task = actor.first_ready.get();
  for (; task != kNone && tasks[task].has(kCancelled) && tasks[task].first_result.get() == kNone;
       task = actor.first_ready.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    pop_ready(transaction, actor);
    take_from_lane(transaction, task);
    end_task(transaction, task);
  }
  if (task == kNone) return kNone;
  if (transaction.room() < 256) transaction.commit();
  pop_ready(transaction, actor);
  take_from_lane(transaction, task);
  link_running(transaction, task);
  transaction.set(tasks[task].state, as_word(TaskState::kLeased));
  transaction.set(tasks[task].worker, host.packed());
  return task;
}

void Scheduler::finish_call(Transaction& transaction, Index task) {
  transaction.add(header_->finished_count, 1);
  unlink_running(transaction, task);
  end_task(transaction, task);
}

void Scheduler::repeat_call(Transaction& transaction, Index task) {
  TaskEntry& entry = tasks[task];
  discard_half_made_results(transaction, task);
  if (transaction.room() < kRoom) transaction.commit();
  unlink_running(transaction, task);
  if (entry.retries_left.get() != kRetryForever) transaction.add(entry.retries_left, kMinusOne);
  transaction.add(entry.attempt, 1);
  transaction.set(entry.state, as_word(TaskState::kQueued));
  transaction.set(entry.worker, 0);
  transaction.set(entry.caller, 0);  // a lane of its own, which no later call joins
  transaction.set(entry.next, kNone);
  transaction.add(actors[entry.actor.get()].waiting_count, 1);
  add_lane(transaction, task);
  push_ready(transaction, task, true);
}

// --- hosts ---------------------------------------------------------------------------------------------------------

void Scheduler::finish_creation(Transaction& transaction, ProcessId worker, Wakes& wakes) {
  ProcessEntry& holder = (*processes_)[worker.slot];
  const Index task = holder.lease.get();
  ActorEntry& actor = actors[tasks[task].actor.get()];
  transaction.add(header_->finished_count, 1);
  drop_lease(transaction, worker.slot, true);  // what it holds for the actor
  transaction.set(holder.worker_state, as_word(WorkerState::kHost));
  transaction.add(header_->worker_count, kMinusOne);
  transaction.set(actor.state, as_word(ActorState::kAlive));
  if (actor.restarts_left.get() != 0) {
    transaction.set(tasks[task].state, as_word(TaskState::kParked));
    transaction.set(tasks[task].worker, 0);
  } else {
    transaction.set(actor.creation, kNone);
    end_task(transaction, task);
  }
  dispatch(transaction, wakes);
  wakes.doorbell = true;  // the pool has one worker less
}

// The host, dead or about to leave, gives back what it holds for the actor.
void Scheduler::release_host(Transaction& transaction, ActorEntry& actor) {
  const Index slot = ProcessId::unpack(actor.host.get()).slot;
  ProcessEntry& holder = (*processes_)[slot];
  if (actor.current_state() == ActorState::kStarting) {
    drop_lease(transaction, slot);
    transaction.add(header_->worker_count, kMinusOne);
  } else {
    return_share(transaction, actor.hold_shape.get(), slot);
  }
  transaction.set(holder.worker_state, as_word(WorkerState::kExiting));
  transaction.set(holder.actor, kNone);
  transaction.set(actor.host, 0);
}

void Scheduler::recover_host(Transaction& transaction, ProcessId host, ProcessEnd end, Wakes& wakes) {
  const Index index = (*processes_)[host.slot].actor.get();
  ActorEntry& actor = actors[index];
  const bool is_starting = actor.current_state() == ActorState::kStarting;
  const bool lost_its_group = is_removed(shape(actor.hold_shape.get()));
  const bool starts_again = !actor.has(kKilled) && !actor.has(kLeaving) && actor.restarts_left.get() != 0 && !lost_its_group;
  for (Index task = actor.first_running.get(); task != kNone && starts_again; task = actor.first_running.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    TaskEntry& lost = tasks[task];
    const bool is_made = lost.first_result.get() == kNone && lost.result_count.get() != 0;
    if (!is_made && lost.retries_left.get() != 0 && !lost.has(kCancelled)) {
      repeat_call(transaction, task);
      continue;
    }
    if (!is_made) fail_results(transaction, task, ActorEnd::kUnavailable, wakes);
    unlink_running(transaction, task);
    end_task(transaction, task);
  }
  if (transaction.room() < kRoom) transaction.commit();
  if (!starts_again) {
    const ActorEnd reason = actor.has(kOrphaned)  ? ActorEnd::kCreatorDied
                            : actor.has(kKilled)  ? ActorEnd::kKilled
                            : actor.has(kLeaving) ? ActorEnd::kOutOfScope
                            : lost_its_group      ? ActorEnd::kGroupGone
                                                  : ActorEnd::kDied;
    end_actor(transaction, index, {kActorEndFormat, reason, {}, end.pid, end.status, end.note}, {}, wakes);
    return;
  }
  const Index creation = actor.creation.get();
  release_host(transaction, actor);
  if (is_starting) transaction.set(tasks[creation].worker, 0);
  if (actor.restarts_left.get() != kRetryForever) transaction.add(actor.restarts_left, kMinusOne);
  transaction.add(actor.restarts, 1);
  transaction.set(actor.state, as_word(ActorState::kPending));
  transaction.add(tasks[creation].attempt, 1);
  transaction.set(tasks[creation].state, as_word(TaskState::kQueued));
  queue_push(transaction, creation, false);
}

// --- ends ----------------------------------------------------------------------------------------------------------

// The results that a call still owes become errors that name the handle object, which tells why.
void Scheduler::fail_results(Transaction& transaction, Index task, ActorEnd end, Wakes& wakes) {
  const ActorEndRecord record{kActorEndFormat, end, {}, 0, 0, 0};
  const Index handle = actors[tasks[task].actor.get()].handle.get();
  discard_half_made_results(transaction, task);
  Index object = tasks[task].first_result.get();
  while (object != kNone) {
    if (transaction.room() < 1024) transaction.commit();
    const Index next = (*objects_)[object].next_result.get();
    (void)objects_->reserve(transaction, object, sizeof(record) + 8, false);
    std::memcpy(objects_->payload_for_write(object), &record, sizeof(record));
    objects_->add_contained(transaction, object, objects_->key(handle));
    seal(transaction, object, ObjectState::kError, wakes);
    object = next;
  }
}

// What has failed goes; a call that waits for arguments when the last of them is there.
void Scheduler::end_failed_call(Transaction& transaction, Index task) {
  if (tasks[task].state.get() != as_word(TaskState::kWaiting)) end_task(transaction, task);
}

void Scheduler::end_actor(Transaction& transaction, Index index, ActorEndRecord record, ObjectKey error, Wakes& wakes) {
  ActorEntry& actor = actors[index];
  const Index handle = actor.handle.get();
  if (transaction.room() < kRoom) transaction.commit();
  if (actor.host.get() != 0) release_host(transaction, actor);
  if (const Index creation = actor.creation.get(); creation != kNone) {
    if (tasks[creation].state.get() == as_word(TaskState::kQueued)) unqueue(transaction, creation);
    if (tasks[creation].state.get() == as_word(TaskState::kWaiting)) {
      // It ends with its last argument, like a call, and keeps the row until then.
      transaction.set(tasks[creation].flags, tasks[creation].flags.get() & ~kCreation);
      objects_->add_reference(transaction, handle);
    } else {
      end_task(transaction, creation);
    }
    transaction.set(actor.creation, kNone);
  }
  (void)objects_->reserve(transaction, handle, sizeof(record) + (error ? 8 : 0), false);
  std::memcpy(objects_->payload_for_write(handle), &record, sizeof(record));
  if (error) objects_->add_contained(transaction, handle, error);
  (void)objects_->seal(transaction, handle, ObjectState::kError);
  if (actor.name.get() != kNone) {
    objects_->drop_reference(transaction, actor.name.get());
    transaction.set(actor.name, kNone);
  }
  transaction.set(actor.state, as_word(ActorState::kEnding));
  transaction.set(actor.first_ready, kNone);
  transaction.set(actor.last_ready, kNone);
  transaction.set(header_->ending, index);
  finish_endings(transaction, wakes);
}

void Scheduler::finish_endings(Transaction& transaction, Wakes& wakes) {
  const Index index = header_->ending.get();
  if (index == kNone) return;
  ActorEntry& actor = actors[index];
  for (Index task = actor.first_running.get(); task != kNone; task = actor.first_running.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    fail_results(transaction, task, ActorEnd::kDied, wakes);
    unlink_running(transaction, task);
    end_task(transaction, task);
  }
  for (Index task = actor.first_lane.get(); task != kNone; task = actor.first_lane.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    fail_results(transaction, task, ActorEnd::kDied, wakes);
    if (transaction.room() < kRoom) transaction.commit();
    take_from_lane(transaction, task);
    end_failed_call(transaction, task);
  }
  if (transaction.room() < kRoom) transaction.commit();
  transaction.set(actor.state, as_word(ActorState::kDead));
  transaction.set(header_->ending, kNone);
  const ObjectEntry& handle = (*objects_)[actor.handle.get()];
  if (handle.references.get() == 0 && !handle.has(store::kDropped)) free_actor(transaction, index);
}

void Scheduler::free_actor(Transaction& transaction, Index index) {
  objects_->free(transaction, actors[index].handle.get());
  transaction.set(actors[index].state, as_word(ActorState::kFree));
  actors.put(transaction, index);
}

bool Scheduler::settle_dropped_handle(Transaction& transaction, Wakes& wakes) {
  const Index handle = objects_->first_dropped();
  if (handle == kNone) return false;
  objects_->take_dropped(transaction);
  if ((*objects_)[handle].references.get() != 0) return true;  // a call by a weak handle came first
  const Index index = actor_of(handle);
  ActorEntry& actor = actors[index];
  switch (actor.current_state()) {
    case ActorState::kPending:
      end_actor(transaction, index, {kActorEndFormat, ActorEnd::kOutOfScope, {}, 0, 0, 0}, {}, wakes);
      break;
    case ActorState::kStarting:
    case ActorState::kAlive:
      transaction.set(actor.flags, actor.flags.get() | kLeaving);
      wakes.add_worker(ProcessId::unpack(actor.host.get()).slot);
      break;
    case ActorState::kDead:
      free_actor(transaction, index);
      break;
    case ActorState::kEnding:
    case ActorState::kFree:
      break;
  }
  return true;
}

Index Scheduler::kill_actor(Transaction& transaction, Index index, bool restart, Wakes& wakes) {
  ActorEntry& actor = actors[index];
  if (actor.is_over()) return kNone;
  if (actor.host.get() != 0) {
    if (!restart) mark_killed(transaction, actor);
    return ProcessId::unpack(actor.host.get()).slot;
  }
  if (!restart) end_actor(transaction, index, {kActorEndFormat, ActorEnd::kKilled, {}, 0, 0, 0}, {}, wakes);
  return kNone;
}

std::uint32_t Scheduler::orphan_actors(Transaction& transaction, ProcessId creator, Index* hosts, std::uint32_t room,
                                       Wakes& wakes) {
  const std::uint32_t state = (*processes_)[creator.slot].worker_state.get();
  if (state == as_word(WorkerState::kNoWorker) || state == as_word(WorkerState::kExiting)) return 0;
  finish_notifications(transaction, wakes);
  finish_endings(transaction, wakes);
  Index found = kNone;
  std::uint32_t count = 0;
  actors.for_each_used([&](Index index) {
    ActorEntry& actor = actors[index];
    if (actor.creator.get() != creator.packed() || actor.is_over() || actor.has(kKilled) || count == room) return;
    if (actor.host.get() == 0) {
      found = index;
      return;
    }
    if (transaction.room() < kRoom) return;  // the next step
    mark_killed(transaction, actor);
    transaction.set(actor.flags, actor.flags.get() | kOrphaned);
    hosts[count++] = ProcessId::unpack(actor.host.get()).slot;
  });
  if (count != 0 || found == kNone) return count;
  end_actor(transaction, found, {kActorEndFormat, ActorEnd::kCreatorDied, {}, 0, 0, 0}, {}, wakes);
  hosts[0] = kNone;
  return 1;
}

// It is not started again, and its name is free at once.
void Scheduler::mark_killed(Transaction& transaction, ActorEntry& actor) {
  transaction.set(actor.flags, actor.flags.get() | kKilled);
  if (actor.name.get() == kNone) return;
  objects_->drop_reference(transaction, actor.name.get());
  transaction.set(actor.name, kNone);
}

// --- truth and derived ---------------------------------------------------------------------------------------------

const char* Scheduler::validate_actors() const {
  if (const char* fault = actors.validate(); fault != nullptr) return fault;
  if (header_->ending.get() != kNone) return "actors: one that ends was left half ended";
  std::uint32_t calls = 0;
  tasks.for_each_used([&](Index task) { calls += tasks[task].is_call() ? 1U : 0U; });
  const char* fault = nullptr;
  actors.for_each_used([&](Index index) {
    const ActorEntry& actor = actors[index];
    if (actor_of(actor.handle.get()) != index || !(*objects_)[actor.handle.get()].has(store::kHandle))
      fault = "actors: a handle object names another actor";
    if ((actor.host.get() != 0) !=
        (actor.current_state() == ActorState::kStarting || actor.current_state() == ActorState::kAlive))
      fault = "actors: a host without an actor that runs, or the reverse";
    std::uint32_t waiting = 0;
    std::uint32_t ready_heads = 0;
    Index last_lane = kNone;
    for (Index lane = actor.first_lane.get(); lane != kNone; lane = tasks[lane].lane_next.get()) {
      if (tasks[lane].lane_previous.get() != last_lane) fault = "actors: the list of lanes is broken";
      last_lane = lane;
      ready_heads += tasks[lane].state.get() == as_word(TaskState::kQueued) ? 1U : 0U;
      Index last = lane;
      for (Index task = lane; task != kNone && waiting <= calls; task = tasks[task].next.get(), ++waiting) {
        if (tasks[task].actor.get() != index) fault = "actors: a call in the lane of another actor";
        last = task;
      }
      if (tasks[lane].lane_tail.get() != last) fault = "actors: the tail of a lane is wrong";
      if (waiting > calls) {
        fault = "actors: a lane has a cycle";
        return;
      }
    }
    if (last_lane != actor.last_lane.get() || waiting != actor.waiting_count.get())
      fault = "actors: the count of waiting calls, or the last lane, is wrong";
    std::uint32_t ready = 0;
    for (Index task = actor.first_ready.get(); task != kNone && ready <= ready_heads;
         task = tasks[task].ready_next.get(), ++ready) {
      if (tasks[task].lane_tail.get() == kNone) fault = "actors: a ready call that is no head of a lane";
    }
    if (ready != ready_heads) fault = "actors: the ready list differs from the heads of the lanes";
    std::uint32_t running = 0;
    for (Index task = actor.first_running.get(); task != kNone && running <= calls;
         task = tasks[task].lane_next.get(), ++running) {
      if (tasks[task].state.get() != as_word(TaskState::kLeased) || tasks[task].worker.get() != actor.host.get())
        fault = "actors: a running call that its host does not run";
    }
  });
  return fault;
}

}  // namespace miniray::scheduler
