// scheduler/actor_calls.cpp - calls of actors: in lanes until they begin, in their actor's list while they run.
//
// Invariants  actor_entry.hpp A1 and A3, task_entry.hpp T5.
// Cost        a call costs O(1); to submit one to an actor of ordered calls also a look at each other caller that has calls waiting.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

namespace {
constexpr std::uint32_t as_word(TaskState state) { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;
}  // namespace

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

}  // namespace miniray::scheduler
