// runtime/spinning.hpp - waiting awake for a moment, where that is of use and nobody else wants the processor.
//
// Invariants  P1 a process spins only while fewer processes of its session spin or run tasks than there are processors. The counts are
//                shared; a dead spinner's share is given back by recovery.
//             P2 who has spun in vain several times in a row does not spin for a while, longer with each time more; the first spin that is
//                of use ends that. In vain is what took the whole time: what it waits for takes longer, or waits for this processor.
//                And what was interrupted: a gap in the readings of the clock is time in which another program ran here.
//             P3 what P2 knows is of one process, and a hint: threads may overwrite each other's.
#pragma once

#include <utility>

#include "runtime/domain.hpp"

namespace miniray::runtime {

enum class SpinFor { kResult, kLease };

class SpinHistory {
 public:
  [[nodiscard]] bool may_spin(std::uint64_t now_ns) const noexcept { return now_ns >= pause_ends_ns_.load(kRelaxed); }
  void note_use() noexcept { in_vain_.store(0, kRelaxed); }
  void note_vain(std::uint64_t now_ns) noexcept;

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;
  std::atomic<std::uint32_t> in_vain_{0};
  std::atomic<std::uint64_t> pause_ends_ns_{0};
};

// Of this process.
[[nodiscard]] SpinHistory& spin_history(SpinFor what) noexcept;

// Spins for up to `limit_ns` while `done()` is false and the machine has a processor to spare; `processors` 0: never. An idle worker leaves
// one for whoever will give it work, spinning for a result or computing, and gives way to tasks that run; so who waits for a result does
// not count it.
template <class Done>
bool spin_until(Domain& domain, std::uint32_t processors, std::uint64_t limit_ns, SpinFor what, Done done) {
  constexpr std::uint64_t kInterruptedNs = 200'000;
  scheduler::SchedulerHeader& shared = domain.header().scheduler;
  const bool for_lease = what == SpinFor::kLease;
  const auto busy = [&] {
    return shared.running_count.get() + (for_lease ? shared.idle_spinners.load_relaxed() + 1 : shared.spinners.load_relaxed());
  };
  if (busy() >= processors) return done();
  SpinHistory& history = spin_history(what);
  std::uint64_t now = platform::monotonic_ns();
  if (!history.may_spin(now)) return done();
  shm::Atomic<std::uint32_t>& count = for_lease ? shared.idle_spinners : shared.spinners;
  const std::uint32_t own_count = for_lease ? process::kSpinsForLease : process::kSpinsForResult;
  domain.own_entry().spinning.fetch_add_ordered(own_count);
  count.fetch_add_ordered(1);
  const std::uint64_t end = now + limit_ns;
  bool found = done();
  bool is_in_vain = false;
  while (!found && !is_in_vain && busy() <= processors) {
    for (int i = 0; i < 16 && !found; ++i) {
      platform::cpu_relax();
      found = done();
    }
    const std::uint64_t before = std::exchange(now, platform::monotonic_ns());
    is_in_vain = (!found && now >= end) || now - before > kInterruptedNs;
  }
  count.fetch_sub_ordered(1);
  domain.own_entry().spinning.fetch_sub_ordered(own_count);
  if (is_in_vain) {
    history.note_vain(now);
  } else if (found) {
    history.note_use();
  }
  return found || done();
}

}  // namespace miniray::runtime
