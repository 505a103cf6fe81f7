// Kills every operation of the core at every instruction, repairs what is left, and says whether it is right; then the same with a second
// kill at the instructions of the repair, and a third in the repair of that.
//
// How         an operation runs in a child under ptrace, one instruction at a time (trace.hpp). The shared memory after an instruction is
//             what SIGKILL would leave there. Each distinct state is written into a second domain, repaired by the real recovery, whose
//             proof of death is real too, because the child has been ended and reaped; then it is judged (judge.hpp).
// Sections    sections.hpp: every place in the sources where a section begins must have been stepped through, or be excused by name.
// Budgets     budget.hpp: the instructions of the operations that every task is made of.
// Modes       Every state of every scenario but the longest; kills of repairs are a sample. MINIRAY_STEP_ALL=1: every state and every
//             state of every repair, but a sample of the repairs of the longest scenarios (hours). MINIRAY_STEP_ONLY=text: scenarios whose names hold it. --must-fail: for builds of a sabotaged core; the exit
//             status is 0 when failures were found.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "budget.hpp"
#include "judge.hpp"
#include "scenario.hpp"
#include "sections.hpp"

namespace {

using namespace single_step;  // NOLINT(google-build-using-namespace): this is its program

constexpr int kSkipped = 77;
constexpr std::size_t kMostKills = 3;
// Without MINIRAY_STEP_ALL: one in so many scenarios has its repair killed, of those one in so many a third time; and of a sabotaged core
// one in so many scenarios is run at all.
constexpr std::size_t kOneInTwice = 6;
constexpr std::size_t kOneInThrice = 18;
constexpr std::size_t kOneInSabotaged = 8;

struct Totals {
  std::uint64_t instructions = 0;
  std::uint64_t states = 0;
  std::uint64_t judged = 0;
  std::uint64_t failures = 0;
  void add(const Totals& more) {
    instructions += more.instructions;
    states += more.states;
    judged += more.judged;
    failures += more.failures;
  }
};

struct Counts {
  Totals single;
  Totals twice;
  Totals thrice;
  std::uint64_t scenarios = 0;
  std::uint64_t failed_scenarios = 0;
  std::uint64_t repairs = 0;  // first states whose repair was stepped
  std::uint64_t budgets = 0;  // scenarios that have one
  std::uint64_t off_budget = 0;
  void add(const Counts& more) {
    single.add(more.single);
    twice.add(more.twice);
    thrice.add(more.thrice);
    scenarios += more.scenarios;
    failed_scenarios += more.failed_scenarios;
    repairs += more.repairs;
    budgets += more.budgets;
    off_budget += more.off_budget;
  }
};

struct Run {
  bool all = std::getenv("MINIRAY_STEP_ALL") != nullptr;
  bool must_fail = false;
  std::size_t position = 0;  // of the scenario among all
  [[nodiscard]] bool takes_one_in(std::size_t count) const { return all || position % count == 0; }
  Counts counts;
  std::unordered_set<std::uint64_t> addresses;
};

unsigned long long as_number(std::uint64_t count) { return count; }

void run_on_one_processor(std::size_t which) {
  cpu_set_t all;
  EXPECT(sched_getaffinity(0, sizeof(all), &all) == 0);
  for (std::size_t processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &all) || which-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    EXPECT(sched_setaffinity(0, sizeof(one), &one) == 0);
    return;
  }
}

void report(const char* name, const char* kind, const Judgement& judgement, const std::vector<State>& states, const Run& run) {
  if (run.must_fail) return;
  std::size_t shown = 0;
  for (const Failure& failure : judgement.failures) {
    if (++shown > 5) break;
    std::printf("  FAILED %s, %s, state %zu of %zu, after %s: %s\n", name, kind, failure.state, states.size(),
                place_of(states[failure.state].address).c_str(), failure.text.c_str());
  }
}

// Kills the repair of states that `killed` left: the `depth`-th kill of the same lock's holders.
void kill_in_repair(const Scenario& scenario, World& world, const Trace& killed, const std::vector<ProcessId>& dead,
                    std::size_t depth, Run& run) {
  const std::uint64_t control_bytes = world.driver.header().control_bytes;
  const std::uint64_t heap_bytes = world.driver.header().heap_bytes;
  const Image image(control_bytes, heap_bytes);
  const Image scratch(control_bytes, heap_bytes);
  const std::size_t count = killed.states.size();
  const std::size_t in_all = scenario.is_long || depth > 2 ? std::min<std::size_t>(count, 100) : count;
  const std::size_t wanted = depth > 2 ? (run.all ? 3 : 1) : run.all ? in_all : 1;
  for (std::size_t sample = 0; sample < wanted; ++sample) {
    const std::size_t number = (2 * sample + 1) * count / (2 * wanted);
    restore(image, killed.base, killed.states[number]);
    const bool steals = image.lock_block().word.load_relaxed() != 0 && sample % 3 == 1;
    Domain rescuer;
    const auto prepare = [&] {
      EXPECT(!image.attach(rescuer));
      if (world.spill_file >= 0) EXPECT(rescuer.set_spill_file(platform::duplicate_descriptor(world.spill_file)) == 0);
      return rescuer.self();
    };
    Trace repair = trace(image, prepare, [&] { rescue(rescuer, dead, steals); }, {});
    run.addresses.merge(repair.addresses);
    std::vector<ProcessId> all_dead = dead;
    all_dead.push_back(repair.process);
    JudgeOptions options;
    options.spill_file = world.spill_file;
    options.every = 1 + repair.states.size() / (!run.all ? 60 : scenario.is_long ? 2000 : repair.states.size() + 1);
    Judgement judgement = judge(scratch, repair.base, repair.states, all_dead, options);
    if (!repair.failure.empty()) judgement.failures.push_back({0, repair.failure});
    run.counts.repairs += 1;
    (depth == 2 ? run.counts.twice : run.counts.thrice)
        .add({repair.instructions, repair.states.size(), judgement.judged, judgement.failures.size()});
    report(scenario.name, ("kill " + std::to_string(depth) + " after state " + std::to_string(number)).c_str(), judgement,
           repair.states, run);
    if (depth < kMostKills && !scenario.is_long && sample == 0 && run.takes_one_in(kOneInThrice))
      kill_in_repair(scenario, world, repair, all_dead, depth + 1, run);
  }
}

void run_scenario(const Scenario& scenario, Run& run) {
  World world;
  DomainConfig config;
  config.object_capacity = 100;
  config.task_capacity = 60;
  config.process_capacity = 8;
  config.heap_bytes = 44 * kPage;
  config.placement_capacity = 8;
  config.bundle_capacity = 16;
  config.processors = 8;
  scenario.configure(config);
  world.open(config);
  scenario.prepare(world);
  const Image image(world.driver);
  const auto prepare = [&] {
    if (scenario.attaches_itself) return ProcessId{world.driver.processes.high_water(), 0};  // the row it will take
    world.attach(world.victim);
    scenario.before(world);
    return world.victim.self();
  };
  TraceOptions trace_options;
  trace_options.compares_all = scenario.attaches_itself;
  Trace first = trace(image, prepare, [&] { scenario.operate(world); }, trace_options);
  run.addresses.merge(first.addresses);
  std::vector<ProcessId> dead = world.dead;
  dead.push_back(first.process);
  const Image scratch(image.control_bytes(), image.heap_bytes());
  JudgeOptions options;
  options.spill_file = world.spill_file;
  if (!run.all && scenario.is_long) options.every = 1 + first.states.size() / 200;
  if (run.must_fail) options.enough = 10;
  Judgement judgement = judge(scratch, first.base, first.states, dead, options);
  if (!first.failure.empty()) judgement.failures.push_back({0, first.failure});
  run.counts.single.add({first.instructions, first.states.size(), judgement.judged, judgement.failures.size()});
  run.counts.scenarios += 1;
  run.counts.failed_scenarios += judgement.failures.empty() ? 0 : 1;
  if (!run.must_fail)
    std::printf("%7llu instructions, %6zu states, %5zu repaired, %zu failures: %s\n", as_number(first.instructions),
                first.states.size(), judgement.judged, judgement.failures.size(), scenario.name);
  if (const auto fault = off_budget(scenario.name, first.instructions); fault && !run.must_fail) {
    run.counts.budgets += 1;
    if (!fault->empty()) {
      run.counts.off_budget += 1;
      std::printf("  FAILED %s: %s\n", scenario.name, fault->c_str());
    }
  }
  report(scenario.name, "killed", judgement, first.states, run);
  if (!run.must_fail && !scenario.attaches_itself && run.takes_one_in(kOneInTwice))
    kill_in_repair(scenario, world, first, dead, 2, run);
  (void)std::fflush(stdout);
}

void print(const char* kind, const Totals& totals) {
  std::printf("%s: %llu instructions, %llu distinct states, %llu repaired and judged, %llu failures\n", kind,
              as_number(totals.instructions), as_number(totals.states), as_number(totals.judged), as_number(totals.failures));
}

// Takes its share of the scenarios on a processor of its own and tells the outcome through `pipe`.
[[noreturn]] void work(Run run, std::size_t share, std::size_t shares, int pipe) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  run_on_one_processor(share);
  const char* only = std::getenv("MINIRAY_STEP_ONLY");
  std::size_t taken = 0;
  for (const Scenario& scenario : all_scenarios()) {
    ++run.position;
    if (only != nullptr && std::strstr(scenario.name, only) == nullptr) continue;
    if (run.must_fail && (scenario.is_long || !run.takes_one_in(kOneInSabotaged))) continue;
    if (taken++ % shares == share) run_scenario(scenario, run);
  }
  const std::vector<std::uint64_t> addresses(run.addresses.begin(), run.addresses.end());
  std::FILE* out = fdopen(pipe, "w");
  EXPECT(out != nullptr);
  EXPECT(std::fwrite(&run.counts, sizeof(run.counts), 1, out) == 1);
  EXPECT(std::fwrite(addresses.data(), sizeof(addresses[0]), addresses.size(), out) == addresses.size());
  EXPECT(std::fclose(out) == 0);
  (void)std::fflush(stdout);
  _exit(0);
}

// Adds what a worker tells; false: it ended before it was done.
bool hear(int pipe, Run& run) {
  std::FILE* in = fdopen(pipe, "r");
  EXPECT(in != nullptr);
  Counts counts;
  const bool told = std::fread(&counts, sizeof(counts), 1, in) == 1;
  if (told) run.counts.add(counts);
  for (std::uint64_t address = 0; std::fread(&address, sizeof(address), 1, in) == 1;) run.addresses.insert(address);
  (void)std::fclose(in);
  return told;
}

}  // namespace

int main(int count, char** arguments) {
  Run run;
  run.must_fail = count > 1 && std::strcmp(arguments[1], "--must-fail") == 0;
  if (!can_trace()) {
    std::printf("not run: this process may not trace its children (ptrace is refused)\n");
    return kSkipped;
  }
  const std::size_t shares = platform::processor_count() > 1 ? 2 : 1;
  std::vector<int> pipes;
  for (std::size_t share = 0; share < shares; ++share) {
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    (void)std::fflush(nullptr);
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) work(run, share, shares, ends[1]);
    (void)close(ends[1]);
    pipes.push_back(ends[0]);
  }
  bool complete = true;
  for (const int pipe : pipes) complete = hear(pipe, run) && complete;
  while (wait(nullptr) > 0) {
  }
  if (!complete) std::printf("FAILED: a part of the harness ended before its time\n");
  const Counts& counts = run.counts;
  print("one kill", counts.single);
  if (run.must_fail) {
    std::printf("sabotaged core: caught in %llu of %llu scenarios\n", as_number(counts.failed_scenarios),
                as_number(counts.scenarios));
    return complete && counts.failed_scenarios != 0 ? 0 : 1;
  }
  print("a second kill in the repair", counts.twice);
  print("a third kill in the repair of that", counts.thrice);
  std::printf("%llu scenarios, %llu repairs stepped\n", as_number(counts.scenarios), as_number(counts.repairs));
  const bool covered = std::getenv("MINIRAY_STEP_ONLY") != nullptr || all_sections_stepped(run.addresses);
  std::printf("%llu of %zu budgets of instructions looked at, %llu exceeded\n", as_number(counts.budgets), budget_count(),
              as_number(counts.off_budget));
  const bool within =
      counts.off_budget == 0 && (std::getenv("MINIRAY_STEP_ONLY") != nullptr || counts.budgets == budget_count());
  return complete && covered && within && counts.single.failures == 0 && counts.twice.failures == 0 &&
                 counts.thrice.failures == 0
             ? 0
             : 1;
}
