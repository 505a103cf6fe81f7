// The victim is a rescuer: it puts right what another process left that died before.
#include "judge.hpp"
#include "runtime/spilling.hpp"
#include "scenario.hpp"

namespace single_step {

namespace runtime = miniray::runtime;

namespace {

void spills(DomainConfig& config) { config.spill_bytes = 100 * kPage; }
void has_many_objects(DomainConfig& config) { config.object_capacity = 2000; }

void recover(World& world) { rescue(world.victim, world.dead, false); }

void lease_to_dead(World& world, const Call& call, const std::function<void(Domain&)>& work) {
  set_processors(world, 1);
  world.keys = submit(world, world.driver, call);
  world.die_after([&](Domain& domain) {
    start_worker(domain);
    EXPECT(domain.own_entry().lease.get() != kNone);
    work(domain);
  });
}

void reserve_first_result(Domain& domain) {
  const Index object = domain.scheduler.tasks[domain.own_entry().lease.get()].first_result.get();
  const ObjectKey inside = put(domain, 40);
  Transaction transaction(domain.lock);
  (void)domain.objects.reserve(transaction, object, 200, false);
  domain.objects.add_contained(transaction, object, inside);
}

}  // namespace

void add_recovery_scenarios(std::vector<Scenario>& list) {
  list.push_back({.name = "recovery: references, pins, half-made objects",
                  .prepare =
                      [](World& world) {
                        const ObjectKey shared = put(world.driver, 5000);
                        world.die_after([&](Domain& domain) {
                          const ObjectKey key = put(domain, 300);
                          (void)put(domain, 64, {key, shared});
                          (void)begin_object(domain, 9000);
                          Transaction transaction(domain.lock);
                          for (const ObjectKey pinned : {key, shared})
                            (void)domain.objects.pin(transaction, domain.own_entry(), domain.self(), pinned.slot);
                        });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: waits",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 1);
                        world.keys = submit(world, world.driver, {.result_count = 3});
                        world.die_after([&](Domain& domain) {
                          auto* waiting = new runtime::ObjectWait(domain);  // NOLINT: its process dies
                          bool no_room = false;
                          EXPECT(!waiting->begin(world.keys.data(), 3, 3, true, no_room));
                        });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: an idle worker",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 2);
                        start_worker(world.join());
                        world.die_after([](Domain& domain) { start_worker(domain); });
                        start_worker(world.join());
                      },
                  .operate = recover});
  list.push_back(
      {.name = "recovery: the task is tried again",
       .prepare = [](World& world) { lease_to_dead(world, {.result_count = 2, .retries = 1}, reserve_first_result); },
       .operate = recover});
  list.push_back({.name = "recovery: the task is tried again by an idle worker",
                  .prepare =
                      [](World& world) {
                        lease_to_dead(world, {.retries = 1}, [](Domain&) {});
                        start_worker(world.join());
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: the task fails, its callers are told",
                  .prepare =
                      [](World& world) {
                        lease_to_dead(world, {.result_count = 2}, reserve_first_result);
                        (void)submit(world, world.driver, {.dependencies = {world.keys[1]}});
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: a blocked worker's task fails, and nobody wants the result",
                  .prepare =
                      [](World& world) {
                        lease_to_dead(world, {}, [](Domain& domain) {
                          runtime::Wakes wakes;
                          Transaction transaction(domain.lock);
                          domain.scheduler.begin_blocked(transaction, domain.self(), wakes);
                        });
                        drop(world.driver, world.keys[0]);
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: spilling",
                  .prepare =
                      [](World& world) {
                        for (int i = 0; i < 3; ++i) world.keys.push_back(put(world.driver, 2 * kPage));
                        world.die_after([](Domain& domain) {
                          EXPECT(domain.spill.ensure_rows(10 * kPage) == 0);
                          miniray::store::SpillVictim victims[4];
                          std::uint32_t count = 0;
                          Transaction transaction(domain.lock);
                          (void)domain.objects.begin_spill(transaction, domain.own_entry(), 6 * kPage, victims, 4, count);
                          EXPECT(count == 3);
                        });
                        drop(world.driver, world.keys[1]);
                      },
                  .operate = recover,
                  .configure = spills});
  list.push_back({.name = "recovery: a task with very many results fails",
                  .prepare = [](World& world) { lease_to_dead(world, {.result_count = 1200}, [](Domain&) {}); },
                  .operate = recover,
                  .configure = has_many_objects,
                  .is_long = true});
}

}  // namespace single_step
