// world_actors.cpp - the operations that concern actors: made and called by the driver, run by the host, ended by anybody.
#include "world.hpp"

namespace fuzz {

using miniray::process::WorkerState;
using miniray::runtime::Wakes;
namespace scheduler = miniray::scheduler;

namespace {

constexpr scheduler::ActorEndRecord record_of(scheduler::ActorEnd end) {
  return {scheduler::kActorEndFormat, end, {}, 0, 0, 0};
}

}  // namespace

ObjectKey World::any_actor() {
  if (actors_.empty()) throw Refused{};
  return actors_[dice_.below(static_cast<std::uint32_t>(actors_.size()))];
}

void World::make_actor() {
  Domain& domain = driver_;
  if (domain.scheduler.actors.ensure_backed(domain.lock, 1) != 0 || domain.ensure_rows(1, 1, 1) != 0) throw Refused{};
  std::vector<ObjectKey> dependencies;
  if (!keys_.empty() && dice_.one_in(3)) dependencies.push_back(any_key());
  Wakes wakes;
  Transaction transaction(domain.lock);
  const Index task = fill_row(transaction, 0);
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  const std::uint32_t flags = (dice_.one_in(2) ? scheduler::kUnorderedCalls : 0) | (dice_.one_in(4) ? scheduler::kDetached : 0);
  const Index actor = domain.scheduler.create_actor(transaction, shape_, dice_.below(3), flags, domain.self());
  if (actor == kNone) {
    domain.scheduler.end_task(transaction, task);
    throw Refused{};
  }
  Transaction::init(entry.actor, actor);
  Transaction::init(entry.flags, scheduler::kCreation);
  transaction.set(domain.scheduler.actors[actor].creation, task);
  const ObjectKey handle = domain.objects.key(domain.scheduler.actors[actor].handle.get());
  (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), handle.slot);
  depend_on(transaction, task, dependencies);
  domain.scheduler.submit(transaction, task, wakes);
  transaction.close();
  domain.perform(wakes);
  actors_.push_back(handle);
}

void World::call_actor() {
  Domain& domain = driver_;
  const ObjectKey handle = any_actor();
  const std::uint32_t result_count = dice_.below(3);
  std::vector<ObjectKey> dependencies;
  if (!keys_.empty() && dice_.one_in(3)) dependencies.push_back(any_key());
  if (domain.ensure_rows(result_count, 1, 1) != 0) throw Refused{};
  std::vector<ObjectKey> results;
  Wakes wakes;
  Transaction transaction(domain.lock);
  if (!domain.objects.is_current(handle)) throw Refused{};
  const Index task = fill_row(transaction, result_count);
  scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  Transaction::init(entry.actor, domain.scheduler.actor_of(handle.slot));
  Transaction::init(entry.caller, (dice_.one_in(2) ? domain.self() : other_.self()).packed());
  domain.objects.add_reference(transaction, handle.slot);
  if (!make_results(transaction, task, result_count, results)) throw Refused{};
  depend_on(transaction, task, dependencies);
  domain.scheduler.submit(transaction, task, wakes);
  transaction.close();
  domain.perform(wakes);
  keys_.insert(keys_.end(), results.begin(), results.end());
}

// kill(), cancel(), the last handle, the death of the host or of the creator.
void World::end_or_cancel() {
  Domain& domain = other_;
  Wakes wakes;
  const ObjectKey handle = any_actor();
  const std::uint32_t what = dice_.below(6);
  if (what == 0) {
    std::erase_if(actors_, [&](ObjectKey key) { return key.slot == handle.slot; });
    Transaction transaction(driver_.lock);
    if (driver_.objects.is_current(handle)) (void)driver_.objects.unhold(transaction, driver_.self(), handle.slot);
    transaction.close();
    driver_.settle_handles();
    return;
  }
  Index hosts[4];
  Transaction transaction(domain.lock);
  switch (what) {
    case 1:
      if (domain.objects.is_current(handle))
        (void)domain.scheduler.kill_actor(transaction, domain.scheduler.actor_of(handle.slot), dice_.one_in(2), wakes);
      break;
    case 2:
      (void)domain.scheduler.orphan_actors(transaction, worker_.self(), hosts, 4, wakes);
      break;
    case 3:
      domain.scheduler.recover_worker(transaction, host_.self(), {dead_process_, -9}, wakes);
      break;
    default: {
      const ObjectKey key = any_key();
      if (!domain.objects.is_current(key) || domain.objects[key.slot].current_state() != miniray::store::ObjectState::kPending)
        break;
      const Index task = domain.objects[key.slot].producer.get();
      if (task != kNone) (void)domain.scheduler.cancel(transaction, task, dice_.one_in(4), wakes);
    }
  }
  transaction.close();
  domain.perform(wakes);
}

// Takes a creation, or gives back what is none; what came of the constructor.
void World::host_one() {
  Domain& domain = host_;
  Wakes wakes;
  Transaction transaction(domain.lock);
  const auto state = static_cast<WorkerState>(domain.own_entry().worker_state.get());
  if (state == WorkerState::kNoWorker || state == WorkerState::kExiting) {
    domain.scheduler.add_worker(transaction, domain.self(), wakes);
  } else if (domain.own_entry().lease.get() != kNone) {
    const Index actor = domain.own_entry().actor.get();
    if (actor == kNone) {
      domain.scheduler.return_lease(transaction, domain.self());
    } else if (dice_.one_in(5)) {
      domain.scheduler.end_actor(transaction, actor, record_of(scheduler::ActorEnd::kInitFailed), {}, wakes);
    } else {
      domain.scheduler.finish_creation(transaction, domain.self(), wakes);
    }
  }
  transaction.close();
  domain.perform(wakes);
}

void World::host_call() {
  Domain& domain = host_;
  if (domain.own_entry().worker_state.get() != static_cast<std::uint32_t>(WorkerState::kHost)) return host_one();
  if (domain.ensure_rows(0, 0, 0) != 0) throw Refused{};
  Wakes wakes;
  Transaction transaction(domain.lock);
  const scheduler::ActorEntry& actor = domain.scheduler.actors[domain.own_entry().actor.get()];
  if (dice_.one_in(12)) {
    domain.scheduler.end_actor(transaction, domain.own_entry().actor.get(), record_of(scheduler::ActorEnd::kLeft), {}, wakes);
  } else if (const Index begun = domain.scheduler.begin_call(transaction, domain.self());
             begun == kNone && actor.has(scheduler::kLeaving)) {
    domain.scheduler.end_actor(transaction, domain.own_entry().actor.get(), record_of(scheduler::ActorEnd::kOutOfScope), {},
                               wakes);
  } else if (const Index task = actor.first_running.get(); task != kNone && !dice_.one_in(3)) {
    if (dice_.one_in(4)) {
      domain.scheduler.repeat_call(transaction, task);
    } else {
      seal_results(domain, transaction, task, wakes);
      if (transaction.room() < 2048) transaction.commit();
      domain.scheduler.finish_call(transaction, task);
    }
  }
  transaction.close();
  domain.perform(wakes);
}

void World::step_actors() {
  switch (dice_.below(8)) {
    case 0:
      return make_actor();
    case 1:
    case 2:
      return call_actor();
    case 3:
      return end_or_cancel();
    case 4:
      return host_one();
    default:
      return host_call();
  }
}

}  // namespace fuzz
