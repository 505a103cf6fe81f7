// runtime/wait.hpp - sleeping until objects are sealed, a task comes, or time is up. Spin briefly, then sleep in the kernel.
//
// GIL         callers have released it.
#pragma once

#include "runtime/lookout.hpp"
#include "runtime/spinning.hpp"

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

// What one process awaits without a thread of its own for each: objects come to it one by one, and are collected as they are sealed.
class StandingWait {
 public:
  enum class Added { kWaits, kSealed, kNoRoom };
  explicit StandingWait(Domain& domain) : domain_(domain) {}
  StandingWait(const StandingWait&) = delete;
  StandingWait& operator=(const StandingWait&) = delete;

  // The process keeps the object until it is collected. kSealed: it is there, or gone, and will not be collected.
  [[nodiscard]] Added add(ObjectKey key);
  // Up to `room` objects that were sealed since the last time.
  [[nodiscard]] std::size_t collect(Index* objects, std::size_t room);
  // Until there is something to collect, or `ends` and a wake. After the first add().
  void sleep(const std::atomic<bool>& ends);
  void end();
  [[nodiscard]] bool is_begun() const { return group_ != kNone; }

 private:
  Domain& domain_;
  Index group_ = kNone;
};

// For a wait that lasts: what if it can never end, because the lookout is stopped, or damage lost the task, the wake-up or a list? For damage
// it looks two seconds after the first part of the wait, and then ever more rarely; never for more than a hundredth of the time. Costs a
// short wait nothing.
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
  LookoutRelief relief_;
};

// Nanoseconds to sleep until `deadline`; kForever without one; 0 when it is over.
[[nodiscard]] std::int64_t time_left(std::int64_t deadline_ns) noexcept;

// Waits on this process's wake word until `has_work()`, which is asked without the lock and counts when no section is half done.
// `ends_on_wake`: a wake-up without work counts as an interruption.
template <class HasWork>
WaitOutcome wait_for_work(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns, std::int64_t deadline_ns,
                          HasWork has_work, bool ends_on_wake = false) {
  ProcessEntry& entry = domain.own_entry();
  const shm::LockBlock& lock = domain.lock.block();
  // Not before the section that wrote it is whole: what is undone must not be run.
  const auto found = [&] { return has_work() && lock.active.load_acquire() == lock.committed.load_acquire(); };
  const auto found_for_certain = [&] {
    if (!has_work()) return false;
    Transaction transaction(domain.lock);
    return has_work();
  };
  if (spin_until(domain, processors, spin_ns, SpinFor::kLease, found) && has_work()) return WaitOutcome::kReady;
  for (;;) {
    const std::uint32_t wake = entry.wake.load_ordered();
    if (domain.is_poisoned()) debug::tell_damage(domain.lock.damage());
    entry.sleeping.fetch_add_ordered(1);  // process_table.hpp [W1]
    if (found_for_certain()) {
      entry.sleeping.fetch_sub_ordered(1);
      return WaitOutcome::kReady;
    }
    const std::int64_t left = time_left(deadline_ns);
    const auto result = left == 0 ? platform::WaitResult::kTimedOut : platform::wait_on_word(entry.wake.address(), wake, left);
    entry.sleeping.fetch_sub_ordered(1);
    if (found_for_certain()) return WaitOutcome::kReady;
    if (result == platform::WaitResult::kTimedOut) return WaitOutcome::kTimedOut;
    if (result == platform::WaitResult::kInterrupted || (ends_on_wake && !domain.is_poisoned()))
      return WaitOutcome::kInterrupted;
  }
}

// An idle worker's sleep: until a lease is written, it is to leave, the deadline, or a signal or wake-up without either.
[[nodiscard]] WaitOutcome wait_for_lease(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns,
                                         std::int64_t deadline_ns);

// An actor's host's: until one of its calls may run, it is to leave, or a signal.
[[nodiscard]] WaitOutcome wait_for_call(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns,
                                        const scheduler::ActorEntry& actor);

}  // namespace miniray::runtime
