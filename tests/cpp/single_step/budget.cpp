#include "budget.hpp"

#include <cstring>
#include <vector>

namespace single_step {

namespace {

struct Budget {
  const char* scenario;
  std::uint64_t instructions;
};

constexpr double kTolerance = 0.05;

const std::vector<Budget> kBudgets = {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12
    {"call: queued", 3140},                                                    // submit
    {"call: to an idle worker", 1974},                                         // submit and lease
    {"worker: begins, tasks are queued", 1079},                                // lease
    {"worker: ends a task, the next is alike", 933},                           // complete and lease
    {"worker: ends a task, none is queued", 1333},                             // complete
    {"wait: what is there is enough", 2048},                                   // get, before the value is read
    {"pin and unpin", 661},                                                    // get, of the value
    {"put, inline", 2765},                                                     // put of a small value
    {"drop, inline", 514},                                                     // its end
    {"actor: called, its host sleeps", 2148},                                  // submit a call
    {"actor: its host begins a call and ends it, and begins the next", 2007},  // lease and complete calls
#endif
};

}  // namespace

std::size_t budget_count() noexcept { return kBudgets.size(); }

std::optional<std::string> off_budget(const char* scenario, std::uint64_t instructions) {
  for (const Budget& budget : kBudgets) {
    if (std::strcmp(budget.scenario, scenario) != 0) continue;
    const double share = static_cast<double>(instructions) / static_cast<double>(budget.instructions);
    if (share <= 1 + kTolerance && share >= 1 - kTolerance) return "";
    return std::to_string(instructions) + " instructions, its budget is " + std::to_string(budget.instructions);
  }
  return std::nullopt;
}

}  // namespace single_step
