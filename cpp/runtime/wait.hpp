// runtime/wait.hpp - sleeping until objects are sealed, a task comes, or time is up. Spin briefly, then sleep in the kernel.
//
// Spinning    a process may spin only while fewer processes spin or run tasks than there are processors; the count is in shared
// memory
//             (SchedulerHeader::spinners) and a dead spinner's share is given back by recovery.
// GIL         callers have released it.
#pragma once

#include "runtime/domain.hpp"

namespace miniray::runtime {

enum class WaitOutcome { kReady, kTimedOut, kInterrupted, kNoRoom };

// One thread's wait for `needed` of several objects. Blocks nobody else; leaves nothing behind when destroyed.
class ObjectWait {
 public:
  explicit ObjectWait(Domain& domain) noexcept : domain_(domain) {}
  ~ObjectWait();
  ObjectWait(const ObjectWait&) = delete;
  ObjectWait& operator=(const ObjectWait&) = delete;

  // Registers for those of `keys` that are not sealed; `needed` more seals end the wait. True when nothing is to be waited for:
  // enough were sealed meanwhile, or (fail_fast) one is in error. False: call sleep(). kNoRoom through `no_room`.
  [[nodiscard]] bool begin(const ObjectKey* keys, std::size_t count, std::size_t needed, bool fail_fast, bool& no_room);
  // Until the wait is over, the deadline (monotonic ns, kForever: none), a signal, or `ends` and a wake.
  [[nodiscard]] WaitOutcome sleep(std::int64_t deadline_ns, const std::atomic<bool>& ends);
  void end();

 private:
  Domain& domain_;
  Index group_ = kNone;
};

// For a wait that lasts: what if it can never end, because damage lost the task, the wake-up or a list? Looks two seconds after the first
// part of the wait, and then ever more rarely; never for more than a hundredth of the time. Costs a short wait nothing.
class WaitAudit {
 public:
  // Between two parts of a wait, without the GIL. Throws Damage when the domain is damaged.
  void look(Domain& domain);

 private:
  static constexpr std::uint64_t kFirstNs = 2'000'000'000;
  static constexpr std::uint64_t kLongestNs = 60'000'000'000;
  static constexpr std::uint64_t kShare = 100;
  std::uint64_t pause_ns_ = kFirstNs;
  std::uint64_t next_ns_ = 0;  // of the next look; 0: the first part has not ended
  const char* suspected_ = nullptr;
};

enum class SpinFor { kResult, kLease };

// Spins for up to `limit_ns` while `done()` is false and the machine has a processor to spare. An idle worker leaves one for whoever will
// give it work, spinning for a result or computing, and gives way to tasks that run; so who waits for a result does not count it.
template <class Done>
bool spin_until(Domain& domain, std::uint32_t processors, std::uint64_t limit_ns, SpinFor what, Done done) {
  scheduler::SchedulerHeader& shared = domain.header().scheduler;
  const bool for_lease = what == SpinFor::kLease;
  const auto busy = [&] {
    return shared.running_count.get() + (for_lease ? shared.idle_spinners.load_relaxed() + 1 : shared.spinners.load_relaxed());
  };
  if (busy() >= processors) return done();
  shm::Atomic<std::uint32_t>& count = for_lease ? shared.idle_spinners : shared.spinners;
  const std::uint32_t own_count = for_lease ? process::kSpinsForLease : process::kSpinsForResult;
  domain.own_entry().spinning.fetch_add_ordered(own_count);
  count.fetch_add_ordered(1);
  const std::uint64_t end = platform::monotonic_ns() + limit_ns;
  bool found = done();
  while (!found) {
    for (int i = 0; i < 16 && !found; ++i) {
      platform::cpu_relax();
      found = done();
    }
    if (platform::monotonic_ns() >= end || busy() > processors) break;
  }
  count.fetch_sub_ordered(1);
  domain.own_entry().spinning.fetch_sub_ordered(own_count);
  return found || done();
}

// An idle worker's sleep: until a lease is written, the deadline, or a signal.
[[nodiscard]] WaitOutcome wait_for_lease(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns,
                                         std::int64_t deadline_ns);

}  // namespace miniray::runtime
