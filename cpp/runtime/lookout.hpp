// runtime/lookout.hpp - an idle worker that looks after a moment whether more tasks are to begin: when, and at what.
//
// Invariants  scheduler/lookout.cpp. All of it without the GIL.
#pragma once

#include "runtime/domain.hpp"

namespace miniray::runtime {

// Of an idle worker, while it sleeps.
class Lookout {
 public:
  explicit Lookout(Domain& domain) noexcept : domain_(domain) {}
  [[nodiscard]] bool is_on() const { return domain_.header().scheduler.lookout.get() == domain_.self().slot; }
  [[nodiscard]] std::int64_t next_look_ns() const;  // monotonic
  void look();

 private:
  // A look costs a task's time on one processor; who waits for a processor loses little by the longest pause.
  static constexpr std::int64_t kFirstPauseNs = 100'000;
  static constexpr std::int64_t kLongestPauseNs = 3'200'000;
  Domain& domain_;
  std::int64_t pause_ns_ = kFirstPauseNs;
};

// Of whoever comes by again and again: a lookout that has not looked for many times its longest pause is stopped.
class LookoutRelief {
 public:
  void look(Domain& domain);

 private:
  static constexpr std::uint64_t kStoppedNs = 200'000'000;
  scheduler::Scheduler::Watch seen_;
  std::uint64_t seen_since_ns_ = 0;
};

}  // namespace miniray::runtime
