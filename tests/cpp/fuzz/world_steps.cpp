// world_steps.cpp - the operations that concern tasks, waits and processes; which of all comes next; and the end.
#include <cstring>
#include <memory>

#include "recovery/dead_process.hpp"
#include "runtime/observation.hpp"
#include "runtime/wait.hpp"
#include "world.hpp"

namespace fuzz {

using miniray::debug::Damage;
using miniray::runtime::ObjectState;
using miniray::runtime::Wakes;
namespace recovery = miniray::recovery;
namespace runtime = miniray::runtime;
namespace scheduler = miniray::scheduler;

// --- tasks ----------------------------------------------------------------------------------------------------------

// What python/caller.cpp does.
void World::submit() {
  Domain& domain = driver_;
  const std::uint32_t result_count = dice_.below(3);
  std::vector<ObjectKey> dependencies;
  for (std::uint32_t count = dice_.below(3); count > 0 && !keys_.empty(); --count) dependencies.push_back(any_key());
  if (domain.ensure_rows(result_count, 1, static_cast<std::uint32_t>(dependencies.size())) != 0) throw Refused{};
  std::vector<ObjectKey> results;
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index task = domain.scheduler.tasks.take(transaction);
  if (task == kNone) throw Refused{};
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
  Transaction::init(entry.dependencies, 1);
  Transaction::init(entry.function, function_);
  Transaction::init(entry.function_generation, domain.objects[function_].generation.get());
  Transaction::init(entry.arguments, kNone);
  Transaction::init(entry.first_result, kNone);
  Transaction::init(entry.result_count, result_count);
  Transaction::init(entry.shape, dice_.one_in(4) ? other_shape_ : shape_);
  Transaction::init(entry.retries_left, dice_.below(2));
  Transaction::init(entry.attempt, 0);
  Transaction::init(entry.worker, 0);
  Transaction::init(entry.flags, 0);
  Transaction::init(entry.inline_references, 0);
  Transaction::init(entry.inline_bytes_used, 0);
  domain.objects.add_reference(transaction, function_);
  Index previous = kNone;
  for (std::uint32_t i = 0; i < result_count; ++i) {
    const Index result = domain.objects.create(transaction, ObjectState::kPending, 0);
    if (result == kNone) {
      for (const ObjectKey& made : results) domain.objects.free(transaction, made.slot);
      transaction.set(entry.first_result, kNone);
      domain.scheduler.end_task(transaction, task);
      throw Refused{};
    }
    Transaction::init(domain.objects[result].producer, task);
    transaction.set(previous == kNone ? entry.first_result : domain.objects[previous].next_result, result);
    previous = result;
    results.push_back(domain.objects.key(result));
  }
  for (const ObjectKey& key : results) (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
  for (std::size_t i = 0; i < dependencies.size(); ++i) {
    const std::uint32_t pair[] = {dependencies[i].slot, dependencies[i].generation};
    std::memcpy(entry.inline_bytes + 8 * i, pair, sizeof(pair));
    domain.objects.add_reference(transaction, dependencies[i].slot);
  }
  transaction.set(entry.inline_references, static_cast<std::uint32_t>(dependencies.size()));
  Transaction::init(entry.inline_bytes_used, static_cast<std::uint32_t>(8 * dependencies.size()));
  for (const ObjectKey& key : dependencies) {
    if (domain.objects[key.slot].current_state() != ObjectState::kPending) continue;
    if (domain.waits.add_dependency(transaction, domain.objects, task, key.slot)) transaction.add(entry.dependencies, 1);
  }
  domain.scheduler.submit(transaction, task, wakes);
  transaction.close();
  domain.perform(wakes);
  keys_.insert(keys_.end(), results.begin(), results.end());
}

// What python/executor.cpp does.
void World::run_task() {
  Domain& domain = worker_;
  if (runtime::wait_for_lease(domain, 1, 0, static_cast<std::int64_t>(platform::monotonic_ns())) !=
      runtime::WaitOutcome::kReady)
    throw Refused{};
  const Index task = domain.own_entry().lease.get();
  if (task == kNone) {  // it gave way; the next is this one again
    Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.add_worker(transaction, domain.self(), wakes);
    transaction.close();
    domain.perform(wakes);
    return;
  }
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  char name[96];
  (void)domain.scheduler.copy_name(task, name, sizeof(name));
  if (domain.ensure_rows(0, 0, 0) != 0) throw Refused{};
  Wakes wakes;
  Transaction transaction(domain.lock);
  miniray::debug::WalkLimit limit = domain.scheduler.result_limit();
  for (Index object = entry.first_result.get(); object != kNone;) {
    limit.step();
    if (transaction.room() < 1024) transaction.commit();
    const Index next = domain.objects[object].next_result.get();
    if (domain.objects[object].size_bytes.get() == 0)
      (void)domain.objects.reserve(transaction, object, dice_.one_in(2) ? 16 : 100, false, false);
    domain.scheduler.seal(transaction, object, dice_.one_in(8) ? ObjectState::kError : ObjectState::kSealed, wakes);
    object = next;
  }
  if (transaction.room() < 2048) transaction.commit();
  domain.scheduler.finish_lease(transaction, domain.self(), wakes);
  transaction.close();
  domain.perform(wakes);
}

void World::block_worker() {
  Wakes wakes;
  Transaction transaction(worker_.lock);
  if (dice_.one_in(2)) {
    worker_.scheduler.begin_blocked(transaction, worker_.self(), wakes);
  } else {
    worker_.scheduler.end_blocked(transaction, worker_.self());
  }
  transaction.close();
  worker_.perform(wakes);
}

void World::give_lease_back() {
  Wakes wakes;
  Transaction transaction(worker_.lock);
  if (worker_.own_entry().lease.get() == kNone) throw Refused{};
  if (dice_.one_in(2)) {
    worker_.scheduler.repeat_lease(transaction, worker_.self(), wakes);
  } else {
    worker_.scheduler.return_lease(transaction, worker_.self());
    worker_.scheduler.dispatch(transaction, wakes);
  }
  transaction.close();
  worker_.perform(wakes);
}

void World::wait() {
  Domain& domain = somebody();
  std::vector<ObjectKey> keys;
  for (std::uint32_t count = 1 + dice_.below(4); count > 0; --count) keys.push_back(any_key());
  runtime::ObjectWait waiting(domain);
  bool no_room = false;
  const std::atomic<bool> ends = false;
  if (!waiting.begin(keys.data(), keys.size(), 1 + dice_.below(static_cast<std::uint32_t>(keys.size())), dice_.one_in(2),
                     no_room) &&
      !no_room) {
    (void)waiting.sleep(static_cast<std::int64_t>(platform::monotonic_ns()) + dice_.below(1000), ends);
  }
}

// As a thread that is in a wait just now.
void World::leave_waiting() {
  const ObjectKey key = any_key();
  if (driver_.ensure_rows(0, 0, 2) != 0) throw Refused{};
  Transaction transaction(driver_.lock);
  if (!driver_.objects.is_current(key) || driver_.objects[key.slot].current_state() != ObjectState::kPending) throw Refused{};
  const Index group = driver_.waits.create_group(transaction, other_.self(), true);
  if (group == kNone) throw Refused{};
  transaction.set(driver_.waits.groups[group].remaining, 1);
  (void)driver_.waits.add_to_group(transaction, driver_.objects, group, key.slot);
}

// --- the supervisor's work ------------------------------------------------------------------------------------------

void World::give_back() {
  Domain& domain = somebody();
  if (dice_.one_in(2)) {
    (void)domain.trim();
  } else {
    (void)domain.discard_freed_places(4);
  }
}

void World::supervise() {
  Domain& domain = other_;
  const scheduler::ProcessEnd end{dead_process_, 1, scheduler::DeathCause::kNoWorker, 0};
  char text[scheduler::kNoteBytes];
  Wakes wakes;
  Transaction transaction(domain.lock);
  switch (dice_.below(6)) {
    case 0: {
      const auto pools = std::make_unique<scheduler::Scheduler::Pool[]>(scheduler::kEnvironmentCapacity);
      domain.scheduler.describe_pools(pools.get());
      break;
    }
    case 4:
      (void)domain.scheduler.fail_environment_task(transaction, 1, end, ~0ULL, wakes);
      break;
    case 5:
      domain.scheduler.tell_others(1, wakes);
      (void)domain.scheduler.give_way(transaction, 1, 1, wakes);
      break;
    case 1:
      (void)domain.scheduler.fail_stranded_task(transaction, end, ~0ULL, wakes);
      break;
    case 2:
      (void)domain.scheduler.let_memory_watch_sleep(transaction);
      break;
    default:
      (void)domain.header().scheduler.death_notes.read(domain.header().scheduler.death_notes.write(transaction, "a note"),
                                                       text);
  }
  transaction.close();
  domain.perform(wakes);
}

void World::recover() {
  if (dice_.one_in(2) && !dead_.empty()) {
    (void)recovery::recover_process(other_, dead_.back(), {dead_process_, -9});
  } else {
    (void)recovery::sweep(other_);
  }
}

void World::look() {
  runtime::Observation observation;
  if (!observation.begin(driver_.files())) throw Refused{};
  (void)observation.objects();
  (void)observation.processes();
  (void)observation.counts();
}

void World::join_and_leave() {
  Domain domain;
  attach(domain);
  if (!keys_.empty() && dice_.one_in(2)) {
    const ObjectKey key = any_key();
    Transaction transaction(domain.lock);
    if (domain.objects.is_current(key)) (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
  }
}

// --- all together ---------------------------------------------------------------------------------------------------

void World::step() {
  if (is_low_level_) return step_low_level();
  const char* suspected = nullptr;
  switch (dice_.below(28)) {
    case 0:
    case 1:
    case 2:
      (void)put(somebody(), dice_.below(600), dice_.below(3));
      return;
    case 3:
      (void)put(somebody(), 5000 + dice_.below(30'000), 0);
      return;
    case 4:
    case 5:
      return drop_one();
    case 6:
    case 7:
      return read_one();
    case 8:
      return pin_one();
    case 9:
    case 10:
    case 11:
      return submit();
    case 12:
    case 13:
    case 14:
      return run_task();
    case 15:
      return block_worker();
    case 16:
      return give_lease_back();
    case 17:
      return wait();
    case 18:
      return leave_waiting();
    case 19:
    case 20:
      return spill();
    case 21:
      return give_back();
    case 22:
      return use_outside_id();
    case 23:
      return supervise();
    case 24:
      return recover();
    case 25:
      return join_and_leave();
    case 26:
      return look();
    default:
      driver_.audit(suspected);
      driver_.reclaim();
  }
}

void World::rebuild() {
  Transaction transaction(driver_.lock);
  driver_.objects.slots.rebuild(transaction);
  driver_.scheduler.tasks.rebuild(transaction);
  driver_.waits.nodes.rebuild(transaction);
  driver_.waits.groups.rebuild(transaction);
  driver_.heap.rebuild(transaction);
  driver_.spill.rebuild(transaction);
}

void World::finish() {
  const auto attempt = [](auto what) {
    try {
      what();
    } catch (const Refused&) {
    } catch (const Damage&) {
    }
  };
  attempt([this] { (void)driver_.validate(); });
  attempt([this] { look(); });
  attempt([this] { rebuild(); });
  for (const ProcessId process : dead_) attempt([&] { (void)recovery::recover_process(other_, process, {dead_process_, -9}); });
  attempt([this] { (void)recovery::sweep(other_); });
  attempt([this] { join_and_leave(); });
  attempt([this] { (void)driver_.validate(); });
  for (Domain& domain : left_) domain.abandon();
  if (driver_.is_poisoned()) driver_.poison("a check failed");
}

}  // namespace fuzz
