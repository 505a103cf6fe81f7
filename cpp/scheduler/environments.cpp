// scheduler/environments.cpp - pools of workers, one for each environment that tasks ask for.
//
// Invariants  resources.hpp R3; scheduler.hpp S1, S2.
//             V1 environment_count counts a row when it is whole; a row never changes but for its idle list.
//             V2 whoever queues a task of an environment that may have no worker rings the supervisor: such a task gets one whatever else
//                holds the resources, or the tasks of other environments, whose workers are there, would take them for ever.
// Cost        what has no environment pays one more load per lease.
#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using process::ProcessEntry;
using process::WorkerState;

namespace {
constexpr std::uint32_t as_word(WorkerState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
}  // namespace

std::uint32_t Scheduler::find_environment(Transaction& transaction, Index object) {
  const std::uint32_t end = environment_count();
  for (std::uint32_t index = 1; index < end; ++index) {
    if (environment(index).object.get() == object) return index;
  }
  if (end == kEnvironmentCapacity) return 0;
  objects_->add_reference(transaction, object);
  transaction.set(environment(end).object, object);
  transaction.set(header_->resources.environment_count, end);
  return end;
}

void Scheduler::describe_pools(Pool* pools) const {
  std::uint32_t idle[kEnvironmentCapacity] = {};
  std::uint32_t busy[kEnvironmentCapacity] = {};  // that run: they will take more tasks
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const ProcessEntry& entry = (*processes_)[slot];
    const auto state = static_cast<WorkerState>(entry.worker_state.get());
    const std::uint32_t index = entry.environment.load_relaxed();
    if (state == WorkerState::kNoWorker) continue;
    MINIRAY_SOUND(index < kEnvironmentCapacity, "processes: a worker of an environment that is not there");
    ++pools[index].present;
    pools[index].hosts += state == WorkerState::kHost || state == WorkerState::kExiting ? 1U : 0U;
    idle[index] += state == WorkerState::kIdle ? 1U : 0U;
    busy[index] += state == WorkerState::kRunning ? 1U : 0U;
  }
  std::int64_t left[kResourceCapacity];
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) left[i] = resource(i).available.get();
  std::uint32_t unserved[kEnvironmentCapacity] = {};  // tasks that fit, or one that would if it were alone
  const std::uint32_t used = shape_count();
  for (Index index = 1; index < used; ++index) {
    const Shape& queue = shape(index);
    const std::uint32_t count = demand_count(queue);
    std::int64_t runnable = queue.queued_count.get();
    MINIRAY_SOUND(runnable <= tasks.capacity(), "scheduler: a queue's count is wrong");
    if (runnable == 0) continue;
    const bool is_in_group = queue.placement.get() != kNone;
    if (is_in_group) runnable = runnable_in_group(queue);
    for (std::uint32_t i = 0; i < count && !is_in_group; ++i) {
      const Demand& demand = queue.demands[i];
      MINIRAY_SOUND(demand.amount >= 0 && demand.resource < kResourceCapacity, "scheduler: a demand that cannot be");
      if (demand.amount == 0) continue;
      const std::int64_t room = left[demand.resource] < 0 ? 0 : left[demand.resource] / demand.amount;
      if (room < runnable) runnable = room;
    }
    for (std::uint32_t i = 0; i < count && !is_in_group; ++i)
      left[queue.demands[i].resource] -= runnable * queue.demands[i].amount;
    const std::uint32_t of = queue.environment.get();
    unserved[of] += static_cast<std::uint32_t>(runnable);
    if (of != 0 && unserved[of] == 0 && idle[of] + busy[of] == 0 && shape_can_ever_run(index)) unserved[of] = 1;  // V2
  }
  const std::uint32_t end = environment_count();
  for (std::uint32_t index = 0; index < end; ++index) {
    pools[index].needed = unserved[index] <= idle[index] ? 0 : unserved[index] - idle[index];
  }
}

std::uint32_t Scheduler::give_way(Transaction& transaction, std::uint32_t index, std::uint32_t count, Wakes& wakes) {
  bool is_asked_for[kEnvironmentCapacity] = {};
  const std::uint32_t used = shape_count();
  for (Index found = 1; found < used; ++found) {
    if (shape(found).head.get() != kNone) is_asked_for[shape(found).environment.get()] = true;
  }
  std::uint32_t left = count;
  for (std::uint32_t other = environment_count(); other-- > 0;) {  // those without an environment last
    if (other == index || is_asked_for[other]) continue;
    for (Index slot = environment(other).idle_head.get(); slot != kNone && left != 0 && transaction.room() > 64;
         slot = environment(other).idle_head.get()) {
      idle_remove(transaction, slot);
      transaction.set((*processes_)[slot].worker_state, as_word(WorkerState::kExiting));
      transaction.add(header_->worker_count, kMinusOne);
      wakes.add_worker(slot);
      --left;
    }
  }
  dispatch(transaction, wakes);  // the lookout may have been among them
  return count - left;
}

void Scheduler::tell_others(std::uint32_t index, Wakes& wakes) const {
  debug::WalkLimit limit(processes_->capacity(), "scheduler: the idle list has a cycle");
  for (std::uint32_t other = 0; other < environment_count(); ++other) {
    for (Index slot = environment(other).idle_head.get(); other != index && slot != kNone;
         slot = (*processes_)[slot].idle_next.get()) {
      limit.step();
      wakes.add_worker(slot);
    }
  }
}

bool Scheduler::fail_environment_task(Transaction& transaction, std::uint32_t index, ProcessEnd end,
                                      std::uint64_t last_sequence, Wakes& wakes) {
  finish_notifications(transaction, wakes);
  finish_endings(transaction, wakes);
  const std::uint32_t used = shape_count();
  Index oldest = kNone;
  for (Index found = 1; found < used; ++found) {
    const Index head = shape(found).head.get();
    if (shape(found).environment.get() != index || head == kNone || tasks[head].sequence.get() > last_sequence) continue;
    last_sequence = tasks[head].sequence.get();
    oldest = found;
  }
  if (oldest == kNone) return false;
  fail_head(transaction, oldest, end, wakes);
  return true;
}

const char* Scheduler::validate_environments() const {
  const std::uint32_t end = environment_count();
  const std::uint32_t idle = header_->idle_count.get();
  if (const Index lookout = header_->lookout.get();
      lookout != kNone && (*processes_)[lookout].worker_state.get() != as_word(WorkerState::kIdle))
    return "scheduler: the lookout is not idle";
  if (header_->running_limit.get() < header_->processors.get())
    return "scheduler: fewer leases may run than there are processors";
  std::uint32_t chained = 0;
  for (std::uint32_t index = 0; index < kEnvironmentCapacity; ++index) {
    const Environment& found = header_->resources.environments[index];
    if ((found.object.get() != kNone) != (index != 0 && index < end)) return "environments: the count differs from the rows";
    for (Index slot = found.idle_head.get(); slot != kNone; slot = (*processes_)[slot].idle_next.get()) {
      const ProcessEntry& entry = (*processes_)[slot];
      if (entry.worker_state.get() != as_word(WorkerState::kIdle)) return "scheduler: a busy worker in the idle list";
      if (entry.environment.load_relaxed() != index) return "scheduler: an idle worker in the list of another environment";
      if (++chained > idle) return "scheduler: the idle list has a cycle";
    }
  }
  if (chained != idle) return "scheduler: an idle worker is not in the idle list";
  for (Index index = 0; index < shape_count(); ++index) {
    if (shape(index).environment.get() >= end) return "scheduler: a demand of an environment that is not there";
  }
  return nullptr;
}

}  // namespace miniray::scheduler
