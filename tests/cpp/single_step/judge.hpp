// judge.hpp - repairs each state with the real recovery and says whether what comes out is right.
//
// A state is right when
//   1 undoing the section that was cut off gives, word for word, what the last whole section left (canonical.hpp): all or nothing;
//   2 recovery of the dead, as the supervisor does it or by a sweep, frees their rows, and Domain::validate() has no objection;
//   3 ordinary operations work afterwards;
//   4 when everybody else has gone too and every task that is left has been run, nothing is in use: no row, no byte, no worker.
// Judges are processes: one that a damaged state leads astray is a failure of that state, not the end of the test.
#pragma once

#include <string>

#include "image.hpp"
#include "trace.hpp"

namespace single_step {

struct Failure {
  std::size_t state;
  std::string text;
};

struct JudgeOptions {
  std::size_t every = 1;         // judges each so many states, and those next to a commit
  std::size_t enough = 20;       // failures; the rest is not looked at
  std::size_t steals_each = 32;  // how many states pass between two whose lock is stolen by a waiter instead
  platform::Descriptor spill_file = -1;
};

struct Judgement {
  std::size_t judged = 0;
  std::vector<Failure> failures;
};

// `image` is scratch of the right size; `dead` are the dead processes of these states.
[[nodiscard]] Judgement judge(const Image& image, const Base& base, const std::vector<State>& states,
                              const std::vector<ProcessId>& dead, const JudgeOptions& options);

// What a rescuer does, for the second kill. `steals`: it waits for the lock first, as any process would.
void rescue(miniray::runtime::Domain& domain, const std::vector<ProcessId>& dead, bool steals);

}  // namespace single_step
