#include "judge.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "canonical.hpp"
#include "recovery/dead_process.hpp"
#include "runtime/task_queue.hpp"

namespace single_step {

namespace {

using miniray::process::ProcessState;
using miniray::runtime::Domain;
using miniray::runtime::ObjectState;
using miniray::runtime::Transaction;
using miniray::runtime::Wakes;
using miniray::shm::Index;
using miniray::shm::kNone;
using miniray::store::AllocateResult;
namespace recovery = miniray::recovery;
namespace scheduler = miniray::scheduler;

constexpr unsigned kHangSeconds = 20;
constexpr std::int32_t kKilled = -9;

std::uint32_t holder_of(ProcessId process) { return miniray::shm::LockWord::holder(process.slot, process.generation); }

// Undoes whatever the dead had begun, as Lock does for whoever comes first.
void undo(const Image& image, const std::vector<ProcessId>& dead) {
  miniray::process::ProcessTable processes(image.region(), &image.header().processes, image.header().processes);
  miniray::shm::Lock lock(image.region(), image.control_bytes(), &image.lock_block(), &processes);
  lock.set_holder(miniray::shm::LockWord::holder(0x7000, 0));  // nobody's row; the lock is free again at the end
  for (const ProcessId process : dead) (void)lock.recover_from(holder_of(process));
}

std::string difference(const std::vector<Word>& expected, const std::vector<Word>& found) {
  std::size_t i = 0;
  while (i < expected.size() && i < found.size() && expected[i] == found[i]) ++i;
  const auto say = [i](const std::vector<Word>& words) {
    if (i >= words.size()) return std::string("nothing");
    char text[128];
    std::snprintf(text, sizeof(text), "%s %llx = %llx", words[i].what, static_cast<unsigned long long>(words[i].place),
                  static_cast<unsigned long long>(words[i].value));
    return std::string(text);
  };
  return "not undone: expected " + say(expected) + ", found " + say(found);
}

// --- everybody leaves ---------------------------------------------------------------------------------------------------------

// Becomes the host of the actor whose creation is leased, runs its calls, and leaves it, as nobody has a handle.
std::string run_actor(Domain& domain) {
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index actor = domain.own_entry().actor.get();
  domain.scheduler.finish_creation(transaction, domain.self(), wakes);
  for (Index task = domain.scheduler.begin_call(transaction, domain.self()); task != kNone;
       task = domain.scheduler.begin_call(transaction, domain.self())) {
    for (Index object = domain.scheduler.tasks[task].first_result.get(); object != kNone;) {
      const Index next = domain.objects[object].next_result.get();
      if (domain.objects.reserve(transaction, object, 16, false) != AllocateResult::kDone) return "no memory for a result";
      domain.scheduler.seal(transaction, object, ObjectState::kSealed, wakes);
      object = next;
    }
    domain.scheduler.finish_call(transaction, task);
    if (transaction.room() < 2048) transaction.commit();
  }
  transaction.close();
  domain.perform(wakes);
  Wakes more_wakes;
  Transaction last(domain.lock);
  if (!domain.scheduler.actors[actor].has(scheduler::kLeaving)) return "an actor without a handle goes on";
  domain.scheduler.end_actor(last, actor, {scheduler::kActorEndFormat, scheduler::ActorEnd::kOutOfScope, {}, 0, 0, 0}, {},
                             more_wakes);
  domain.scheduler.add_worker(last, domain.self(), more_wakes);
  return "";
}

// Runs leased tasks until there are none; their results are small. What is wrong, or nothing.
std::string run_tasks(Domain& domain) {
  while (domain.own_entry().lease.get() != kNone) {
    const scheduler::TaskEntry& entry = domain.scheduler.tasks[domain.own_entry().lease.get()];
    (void)domain.ensure_rows(0, 0, 0);
    if (entry.actor.get() != kNone) {
      if (std::string fault = run_actor(domain); !fault.empty()) return fault;
      continue;
    }
    Wakes wakes;
    Transaction transaction(domain.lock);
    for (Index object = entry.first_result.get(); object != kNone;) {
      if (transaction.room() < 1024) transaction.commit();
      const Index next = domain.objects[object].next_result.get();
      if (domain.objects[object].current_state() != ObjectState::kPending) return "a task is to make a result that is made";
      if (domain.objects.reserve(transaction, object, 16, false) != AllocateResult::kDone) return "no memory for a result";
      domain.scheduler.seal(transaction, object, ObjectState::kSealed, wakes);
      object = next;
    }
    if (transaction.room() < 2048) transaction.commit();
    domain.scheduler.finish_lease(transaction, domain.self(), wakes);
    transaction.close();
    domain.perform(wakes);
  }
  return "";
}

std::string what_is_left(Domain& domain) {
  const auto say = [](const char* what, std::uint64_t count) { return "left behind: " + std::to_string(count) + " " + what; };
  if (const auto count = domain.scheduler.tasks.used_count(); count != 0) return say("task rows", count);
  const std::uint32_t described = domain.scheduler.environment_count() - 1;  // environments stay, and what describes them
  if (const auto count = domain.objects.slots.used_count(); count != described) return say("object rows", count - described);
  if (const auto count = domain.scheduler.actors.used_count(); count != 0) return say("actor rows", count);
  if (const auto count = domain.scheduler.placements.used_count(); count != 0) return say("placement groups", count);
  if (const auto count = domain.scheduler.bundles.used_count(); count != 0) return say("bundles", count);
  if (const auto count = domain.waits.nodes.used_count(); count != 0) return say("wait nodes", count);
  if (const auto count = domain.waits.groups.used_count(); count != 0) return say("wait groups", count);
  if (const auto count = domain.heap.used_bytes(); count != 0) return say("bytes of the heap", count);
  if (const auto count = domain.spill.used_bytes(); count != 0) return say("bytes of the spill file", count);
  const scheduler::SchedulerHeader& shared = domain.header().scheduler;
  if (const auto count = shared.worker_count.get(); count != 0) return say("workers", count);
  if (const auto count = shared.spinners.load_ordered() + shared.idle_spinners.load_ordered(); count != 0)
    return say("spinners", count);
  if (shared.trimmer.load_ordered() != 0) return say("trimmer", 1);
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    if (slot != domain.self().slot && domain.processes.identity(slot).state != ProcessState::kFree)
      return say("process row", slot);
  }
  return "";
}

// Actors that need neither handle nor creator.
void kill_detached(Domain& domain) {
  for (Index found = domain.self().slot; found != kNone;) {
    found = kNone;
    Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.actors.for_each_used([&](Index actor) {
      if (domain.scheduler.actors[actor].has(scheduler::kDetached)) found = actor;
    });
    if (found != kNone) (void)domain.scheduler.kill_actor(transaction, found, false, wakes);
    transaction.close();
    domain.perform(wakes);
  }
}

std::string everybody_leaves(Domain& domain) {
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    const auto identity = domain.processes.identity(slot);
    if (slot == domain.self().slot || identity.state == ProcessState::kFree) continue;
    (void)recovery::recover_process(domain, {slot, identity.generation}, {identity.number, kKilled});
  }
  kill_detached(domain);
  std::vector<Index> hosts(domain.processes.capacity() + 1);
  domain.scheduler.placements.for_each_used([&](Index placement) {
    Wakes wakes;
    Transaction transaction(domain.lock);
    (void)domain.scheduler.remove_placement(transaction, placement, hosts.data(), wakes);
  });
  domain.settle_removals();
  // Twice: what ends in one environment may let a task of another go.
  for (std::uint32_t i = 0; i < 2 * domain.scheduler.environment_count(); ++i) {
    domain.own_entry().environment.store_ordered(i % domain.scheduler.environment_count());
    {
      Wakes wakes;
      Transaction transaction(domain.lock);
      domain.scheduler.add_worker(transaction, domain.self(), wakes);
    }
    if (std::string fault = run_tasks(domain); !fault.empty()) return fault;
    Transaction transaction(domain.lock);
    if (!domain.scheduler.retire(transaction, domain.self())) return "a worker without a task cannot leave";
  }
  miniray::runtime::TaskQueue queue(domain);
  for (miniray::runtime::TakenTask task; queue.take(task);) queue.release(task);
  for (bool more = true; more;) {
    Transaction transaction(domain.lock);
    more = domain.objects.evict_one(transaction);
  }
  domain.reclaim();
  domain.discard_freed_places(0xFFFFFFFF);
  return what_is_left(domain);
}

// --- ordinary operations --------------------------------------------------------------------------------------------------

// A queued task goes through, and an object comes and goes, unless the tables are full.
std::string operations_work(Domain& domain) {
  miniray::runtime::TaskQueue queue(domain);
  const char bytes[300] = {};
  int error = 0;
  using miniray::runtime::SubmitResult;
  for (const std::uint64_t size : {std::uint64_t{40}, std::uint64_t{300}}) {
    const std::uint32_t before = domain.scheduler.queued_count();
    const SubmitResult result = queue.submit({7, size}, {bytes, 8}, {bytes, size}, error);
    if (result == SubmitResult::kFullTable || result == SubmitResult::kFullHeap) continue;
    if (result != SubmitResult::kDone) return "a task cannot be submitted";
    if (domain.scheduler.queued_count() != before + 1) return "a submitted task is not queued";
    miniray::runtime::TakenTask task;
    bool found = false;
    // Tasks of the scenario may lie before it.
    for (int i = 0; i < 50 && !found && queue.take(task); ++i) {
      found = task.tag.high == 7;
      queue.release(task);
    }
    if (!found) return "a submitted task cannot be taken";
  }
  return "";
}

std::string fault_of(Domain& domain, const char* when) {
  if (domain.is_poisoned()) return std::string("poisoned ") + when;
  const char* fault = domain.validate();
  if (fault == nullptr) {
    const Transaction transaction(domain.lock);
    if (domain.scheduler.neglected_shape() != kNone) fault = "a task could begin, and nobody will look";
  }
  return fault == nullptr ? "" : std::string(fault) + " (" + when + ")";
}

std::string judge_repair(const Image& image, const std::vector<ProcessId>& dead, bool steals, bool sweeps,
                         platform::Descriptor spill_file) {
  Domain domain;
  if (image.attach(domain)) return "a rescuer cannot attach";
  if (spill_file >= 0 && domain.set_spill_file(platform::duplicate_descriptor(spill_file)) != 0)
    return "a rescuer cannot map the spill file";
  if (steals) {
    {
      const Transaction transaction(domain.lock);
    }
    if (std::string fault = fault_of(domain, "after the lock was stolen"); !fault.empty()) return fault;
  }
  if (!sweeps) {
    for (const ProcessId process : dead) {
      const auto identity = domain.processes.identity(process.slot);
      (void)recovery::recover_process(domain, process, {identity.number, kKilled});
      if (recovery::recover_process(domain, process, {identity.number, kKilled})) return "a process is recovered twice";
    }
  }
  const std::uint32_t swept = recovery::sweep(domain);
  if (!sweeps && swept != 0) return "a dead process was left after recovery";
  if (recovery::sweep(domain) != 0) return "a dead process was left after a sweep";
  if (std::string fault = fault_of(domain, "after recovery"); !fault.empty()) return fault;
  if (std::string fault = operations_work(domain); !fault.empty()) return fault;
  if (std::string fault = fault_of(domain, "after more operations"); !fault.empty()) return fault;
  std::string left = everybody_leaves(domain);
  if (!left.empty()) return left;
  if (std::string fault = fault_of(domain, "after everybody left"); !fault.empty()) return fault;
  domain.detach();
  return "";
}

// --- the judging process ----------------------------------------------------------------------------------------------------

struct Shared {
  std::size_t next = 0;  // position in the list of states to judge
  std::size_t failed = 0;
  struct {
    std::size_t state;
    char text[200];
  } failures[64];
};

class Judge {
 public:
  Judge(const Image& image, const Base& base, const std::vector<State>& states, const std::vector<ProcessId>& dead,
        const JudgeOptions& options)
      : image_(image), base_(base), states_(states), dead_(dead), options_(options) {
    for (std::size_t i = states.size(); i > 0; --i) first_with_[states[i - 1].committed] = i - 1;
  }
  [[nodiscard]] std::string judge_one(std::size_t number) {
    const State& state = states_[number];
    restore(image_, base_, state);
    const bool is_held = image_.lock_block().word.load_relaxed() != 0;
    undo(image_, dead_);
    const std::vector<Word> found = canonical(image_);
    if (const std::vector<Word>& wanted = expected(state.committed); wanted != found) return difference(wanted, found);
    restore(image_, base_, state);
    const bool steals = is_held && number % options_.steals_each == options_.steals_each / 2;
    return judge_repair(image_, dead_, steals, number % 2 == 1, options_.spill_file);
  }

 private:
  // What was there when that section was whole: the first state that shows it.
  const std::vector<Word>& expected(std::uint64_t committed) {
    std::vector<Word>& words = expected_[committed];
    if (words.empty()) {
      restore(image_, base_, states_[first_with_.at(committed)]);
      undo(image_, dead_);
      words = canonical(image_);
    }
    return words;
  }

  const Image& image_;
  const Base& base_;
  const std::vector<State>& states_;
  const std::vector<ProcessId>& dead_;
  const JudgeOptions& options_;
  std::map<std::uint64_t, std::size_t> first_with_;
  std::map<std::uint64_t, std::vector<Word>> expected_;
};

void note(Shared& shared, std::size_t state, const std::string& text) {
  auto& failure = shared.failures[shared.failed];
  failure.state = state;
  std::snprintf(failure.text, sizeof(failure.text), "%s", text.c_str());
  ++shared.failed;
}

std::vector<std::size_t> chosen(const std::vector<State>& states, std::size_t every) {
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < states.size(); ++i) {
    const bool is_first = i == 0 || states[i - 1].committed != states[i].committed;
    const bool is_last = i + 1 == states.size() || states[i + 1].committed != states[i].committed;
    if (i % every == 0 || is_first || is_last) numbers.push_back(i);
  }
  return numbers;
}

}  // namespace

Judgement judge(const Image& image, const Base& base, const std::vector<State>& states, const std::vector<ProcessId>& dead,
                const JudgeOptions& options) {
  auto* shared = static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT(shared != MAP_FAILED);
  const std::vector<std::size_t> numbers = chosen(states, options.every);
  const std::size_t enough = std::min<std::size_t>(options.enough, 64);
  while (shared->next < numbers.size() && shared->failed < enough) {
    (void)std::fflush(nullptr);
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
      (void)std::freopen("/dev/null", "w", stderr);  // a failed check is reported by its signal
      Judge one(image, base, states, dead, options);
      while (shared->next < numbers.size() && shared->failed < enough) {
        const std::size_t number = numbers[shared->next++];
        (void)alarm(kHangSeconds);
        if (const std::string text = one.judge_one(number); !text.empty()) note(*shared, number, text);
      }
      _exit(0);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    const std::string end = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status)) : "an exit";
    if (shared->failed < 64)
      note(*shared, numbers[shared->next - 1],
           "the rescuer was ended by " + end + (WTERMSIG(status) == SIGALRM ? " (hang)" : ""));
  }
  Judgement result;
  result.judged = shared->next;
  for (std::size_t i = 0; i < shared->failed; ++i)
    result.failures.push_back({shared->failures[i].state, shared->failures[i].text});
  (void)munmap(shared, sizeof(Shared));
  return result;
}

void rescue(Domain& domain, const std::vector<ProcessId>& dead, bool steals) {
  if (steals) {
    const Transaction transaction(domain.lock);
  }
  for (const ProcessId process : dead) (void)recovery::recover_process(domain, process, {1, kKilled});
}

}  // namespace single_step
