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

// What python/caller.cpp does, in parts: a row, results that the driver holds, dependencies.
Index World::fill_row(Transaction& transaction, std::uint32_t result_count) {
  Domain& domain = driver_;
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
  Transaction::init(entry.actor, kNone);
  Transaction::init(entry.inline_references, 0);
  Transaction::init(entry.inline_bytes_used, 0);
  domain.objects.add_reference(transaction, function_);
  return task;
}

bool World::make_results(Transaction& transaction, Index task, std::uint32_t result_count, std::vector<ObjectKey>& results,
                         bool streams) {
  Domain& domain = driver_;
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  Index previous = kNone;
  for (std::uint32_t i = 0; i < result_count; ++i) {
    const Index result = domain.objects.create(transaction, ObjectState::kPending, 0);
    if (result == kNone) {
      for (const ObjectKey& made : results) domain.objects.free(transaction, made.slot);
      transaction.set(entry.first_result, kNone);
      domain.scheduler.end_task(transaction, task);
      return false;
    }
    Transaction::init(domain.objects[result].producer, task);
    transaction.set(previous == kNone ? entry.first_result : domain.objects[previous].next_result, result);
    previous = result;
    results.push_back(domain.objects.key(result));
  }
  if (streams && domain.scheduler.create_stream(transaction, task, dice_.below(3)))
    results[0] = domain.objects.key(domain.scheduler.stream_of(task));
  for (const ObjectKey& key : results) (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
  return true;
}

void World::depend_on(Transaction& transaction, Index task, const std::vector<ObjectKey>& dependencies) {
  Domain& domain = driver_;
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
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
}

void World::submit() {
  Domain& domain = driver_;
  const bool streams = dice_.one_in(3);
  const std::uint32_t result_count = streams ? 2 : dice_.below(3);
  std::vector<ObjectKey> dependencies;
  for (std::uint32_t count = dice_.below(3); count > 0 && !keys_.empty(); --count) dependencies.push_back(any_key());
  if (domain.ensure_rows(result_count + 1, 1, static_cast<std::uint32_t>(dependencies.size())) != 0) throw Refused{};
  std::vector<ObjectKey> results;
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index task = fill_row(transaction, result_count);
  if (!make_results(transaction, task, result_count, results, streams)) throw Refused{};
  depend_on(transaction, task, dependencies);
  domain.scheduler.submit(transaction, task, wakes);
  transaction.close();
  domain.perform(wakes);
  keys_.insert(keys_.end(), results.begin(), results.end());
}

void World::seal_results(Domain& domain, Transaction& transaction, Index task, Wakes& wakes) {
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
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
  if (domain.scheduler.tasks[task].actor.get() != kNone) {  // the host takes it
    Transaction transaction(domain.lock);
    domain.scheduler.return_lease(transaction, domain.self());
    throw Refused{};
  }
  char name[96];
  (void)domain.scheduler.copy_name(task, name, sizeof(name));
  if (domain.ensure_rows(0, 0, 0) != 0) throw Refused{};
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  if (entry.has(scheduler::kStreams)) yield_items();
  if (entry.has(scheduler::kStreams) && dice_.one_in(2)) return;
  Wakes wakes;
  Transaction transaction(domain.lock);
  seal_results(domain, transaction, task, wakes);
  if (transaction.room() < 2048) transaction.commit();
  domain.scheduler.finish_lease(transaction, domain.self(), wakes);
  transaction.close();
  domain.perform(wakes);
}

// What python/streams.cpp does.
void World::yield_items() {
  Domain& domain = worker_;
  const Index task = domain.own_entry().lease.get();
  for (std::uint32_t count = dice_.below(4); count > 0; --count) {
    if (domain.ensure_rows(1, 0, 0) != 0) throw Refused{};
    Wakes wakes;
    Transaction transaction(domain.lock);
    const Index tail = domain.scheduler.stream_record(domain.scheduler.stream_of(task)).tail.get();
    if (domain.scheduler.tasks[task].first_result.get() == tail && domain.objects[tail].size_bytes.get() == 0)
      (void)domain.objects.reserve(transaction, tail, dice_.one_in(2) ? 16 : 100, false, false);
    if (domain.scheduler.add_item(transaction, task, wakes) != scheduler::Scheduler::Yield::kGoesOn) count = 1;
    transaction.close();
    domain.perform(wakes);
  }
}

void World::take_item() {
  Domain& domain = driver_;
  for (const ObjectKey& key : keys_) {
    if (!domain.objects.is_current(key) || !domain.objects[key.slot].has(miniray::store::kStream)) continue;
    Wakes wakes;
    Transaction transaction(domain.lock);
    const Index item = domain.scheduler.take_item(transaction, key.slot, domain.self(), wakes);
    transaction.close();
    domain.perform(wakes);
    if (item == kNone) continue;
    keys_.push_back(domain.objects.key(item));
    return;
  }
  throw Refused{};
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

// What python/placement_groups.cpp does, and a call that asks for the machine or for a group from then on.
void World::use_placement_group() {
  Domain& domain = driver_;
  if (dice_.one_in(2) && !groups_.empty()) {
    const Index placement = groups_[dice_.below(static_cast<std::uint32_t>(groups_.size()))];
    std::vector<Index> hosts(domain.processes.capacity() + 1);
    Wakes wakes;
    Transaction transaction(domain.lock);
    if (!domain.scheduler.placements.is_valid_index(placement)) throw Refused{};
    if (dice_.one_in(2)) {
      shape_ = machine_shape_;  // that of a group that is gone may be another's
      (void)domain.scheduler.remove_placement(transaction, placement, hosts.data(), wakes);
    } else if (domain.scheduler.placements[placement].is_open()) {
      const scheduler::Demand demand{scheduler::kCpu, 0, scheduler::kResourceUnit / 2};
      const Index shape = domain.scheduler.find_shape(transaction, &demand, 1, {placement, scheduler::kAnyBundle, false});
      if (shape == kNone) throw Refused{};
      shape_ = shape;
    }
    transaction.close();
    domain.perform(wakes);
    return;
  }
  if (domain.scheduler.placements.ensure_backed(domain.lock, 1) != 0 ||
      domain.scheduler.bundles.ensure_backed(domain.lock, 2) != 0)
    throw Refused{};
  const ObjectKey description = put(domain, 64, 0);
  const Index ready = begin_object(domain, 48);
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index placement = domain.scheduler.begin_placement(transaction, domain.self(), description.slot, 0);
  if (placement == kNone) throw Refused{};
  const scheduler::Demand demands[] = {{scheduler::kCpu, 0, scheduler::kResourceUnit / 2},
                                       {scheduler::kGpu, 0, dice_.below(2)}};
  for (std::uint32_t count = 1 + dice_.below(2); count > 0; --count)
    (void)domain.scheduler.add_bundle(transaction, placement, demands, 1 + dice_.below(2));
  domain.scheduler.finish_placement(transaction, placement, ready, wakes);
  (void)domain.objects.unhold(transaction, domain.self(), ready);
  transaction.close();
  domain.perform(wakes);
  groups_.push_back(placement);
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
  switch (dice_.below(38)) {
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
    case 27:
    case 28:
    case 29:
    case 30:
    case 31:
    case 32:
      return step_actors();
    case 33:
    case 34:
      return take_item();
    case 35:
    case 36:
      return use_placement_group();
    default:
      driver_.audit(suspected);
      driver_.reclaim();
  }
}

void World::rebuild() {
  Transaction transaction(driver_.lock);
  driver_.objects.slots.rebuild(transaction);
  driver_.scheduler.tasks.rebuild(transaction);
  driver_.scheduler.actors.rebuild(transaction);
  driver_.scheduler.placements.rebuild(transaction);
  driver_.scheduler.bundles.rebuild(transaction);
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
