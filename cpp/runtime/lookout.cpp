#include "runtime/lookout.hpp"

#include <algorithm>

namespace miniray::runtime {

namespace {

using process::WorkerState;

// Whether as many workers as there are processors want one now. Stops at the first that settle it: each costs a file of the system.
bool processors_are_busy(Domain& domain) {
  constexpr std::uint32_t kMostLooks = 4;  // for each processor
  const std::uint32_t processors = domain.header().scheduler.processors.get();
  std::uint32_t runnable = 0;
  std::uint32_t looks = 0;
  for (Index slot = 1; slot < domain.processes.high_water() && runnable < processors && looks < kMostLooks * processors;
       ++slot) {
    if (domain.processes[slot].worker_state.get() != static_cast<std::uint32_t>(WorkerState::kRunning)) continue;
    ++looks;
    runnable += platform::run_state(domain.processes.identity(slot).number) == platform::RunState::kRunnable ? 1 : 0;
  }
  return runnable >= processors;
}

}  // namespace

std::int64_t Lookout::next_look_ns() const { return static_cast<std::int64_t>(platform::monotonic_ns()) + pause_ns_; }

void Lookout::look() {
  const bool gets_on = domain_.scheduler.tasks_are_short() && processors_are_busy(domain_);
  pause_ns_ = gets_on ? std::min(2 * pause_ns_, kLongestPauseNs) : kFirstPauseNs;
  MINIRAY_FAULT_POINT("lookout.before_look");
  scheduler::Wakes wakes;
  Transaction transaction(domain_.lock);
  domain_.scheduler.look_out(transaction, domain_.self(), gets_on, wakes);
  transaction.close();
  MINIRAY_FAULT_POINT("lookout.after_look");
  domain_.perform(wakes);
}

void LookoutRelief::look(Domain& domain) {
  const scheduler::Scheduler::Watch found = domain.scheduler.watch();
  if (found.lookout == shm::kNone) return;
  const std::uint64_t now_ns = platform::monotonic_ns();
  if (found != seen_) {
    seen_ = found;
    seen_since_ns_ = now_ns;
  }
  if (now_ns - seen_since_ns_ < kStoppedNs) return;
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  domain.scheduler.relieve_lookout(transaction, found, wakes);
  transaction.close();
  domain.perform(wakes);
}

}  // namespace miniray::runtime
