// scheduler/actor_validation.cpp - actors: truth against derived.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

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
      ready_heads += tasks[lane].state.get() == static_cast<std::uint32_t>(TaskState::kQueued) ? 1U : 0U;
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
      if (tasks[task].state.get() != static_cast<std::uint32_t>(TaskState::kLeased) ||
          tasks[task].worker.get() != actor.host.get())
        fault = "actors: a running call that its host does not run";
    }
  });
  return fault;
}

}  // namespace miniray::scheduler
