// Environments: tasks that run only in workers that were started for them.
#include "scenario.hpp"

namespace single_step {

namespace runtime = miniray::runtime;
namespace scheduler = miniray::scheduler;
namespace process = miniray::process;

namespace {

// One more environment, number `expected`; from now on world.shape is one processor of it.
void add_environment(World& world, std::uint32_t expected) {
  const Index object = begin_object(world.driver, 8);
  std::memset(world.driver.objects.payload_for_write(object), 0x33, 8);
  end_object(world.driver, object, {});
  change(world.driver, [&](Transaction& transaction, Wakes&) {
    EXPECT(world.driver.scheduler.find_environment(transaction, object) == expected);
    const scheduler::Demand demand{scheduler::kCpu, 0, scheduler::kResourceUnit};
    world.shape = world.driver.scheduler.find_shape(transaction, &demand, 1, {.environment = expected});
  });
}

void start_worker_of(Domain& domain, std::uint32_t environment) {
  domain.own_entry().environment.store_ordered(environment);
  start_worker(domain);
}

// Two processors; calls are of environment 1 unless a scenario says otherwise.
void prepare(World& world) {
  set_processors(world, 2);
  add_environment(world, 1);
}

}  // namespace

void add_environment_scenarios(std::vector<Scenario>& list) {
  list.push_back({.name = "environment: one nobody asked for before, and its first demand",
                  .prepare =
                      [](World& world) {
                        prepare(world);
                        world.keys = {put(world.driver, 8)};
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          scheduler::Scheduler& found = world.victim.scheduler;
                          EXPECT(found.find_environment(transaction, world.keys[0].slot) == 2);
                          EXPECT(found.find_environment(transaction, world.keys[0].slot) == 2);
                          const scheduler::Demand demand{scheduler::kCpu, 0, 1};
                          EXPECT(found.find_shape(transaction, &demand, 1, {.environment = 2}) != kNone);
                        });
                      }});
  list.push_back({.name = "environment: a call finds its idle worker, and another none",
                  .prepare =
                      [](World& world) {
                        prepare(world);
                        start_worker(world.join());
                        start_worker_of(world.join(), 1);
                      },
                  .operate =
                      [](World& world) {
                        (void)submit(world, world.victim, {});
                        (void)submit(world, world.victim, {});
                      }});
  list.push_back({.name = "environment: its worker begins, and takes its tasks alone",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 2);
                        (void)submit(world, world.driver, {});
                        add_environment(world, 1);
                        (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        start_worker_of(world.victim, 1);
                        EXPECT(world.victim.own_entry().lease.get() != kNone);
                        EXPECT(world.victim.header().scheduler.resources.queued_count.get() == 1);
                      }});
  list.push_back({.name = "environment: a task ends, and one of another environment is next",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 1);
                        (void)submit(world, world.driver, {});
                        (void)world.join();
                      },
                  .before =
                      [](World& world) {
                        start_worker(world.victim);
                        add_environment(world, 1);
                        start_worker_of(world.others[0], 1);
                        (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        finish_task(world.victim);
                        EXPECT(world.victim.own_entry().lease.get() == kNone);
                        EXPECT(world.others[0].own_entry().lease.get() != kNone);
                      }});
  list.push_back({.name = "environment: idle workers of others give way",
                  .prepare =
                      [](World& world) {
                        prepare(world);
                        add_environment(world, 2);
                        start_worker(world.join());
                        start_worker_of(world.join(), 1);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          EXPECT(world.victim.scheduler.give_way(transaction, 2, 1, wakes) == 1);
                        });
                        // The one without an environment would have been the last to go.
                        const auto is_leaving = [&](std::size_t which) {
                          return world.others[which].own_entry().worker_state.get() ==
                                 static_cast<std::uint32_t>(process::WorkerState::kExiting);
                        };
                        EXPECT(is_leaving(1) && !is_leaving(0));
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          EXPECT(world.victim.scheduler.give_way(transaction, 2, 5, wakes) == 1);
                        });
                        EXPECT(is_leaving(0) && world.victim.header().scheduler.idle_count.get() == 0);
                      }});
  list.push_back({.name = "environment: its tasks fail because it cannot be set up, others stay",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 1);
                        (void)submit(world, world.driver, {});
                        add_environment(world, 1);
                        (void)submit(world, world.driver, {.result_count = 2});
                        (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        const scheduler::ProcessEnd end{7, 1, scheduler::DeathCause::kEnvironment, 0};
                        for (bool failed = true; failed;) {
                          change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                            failed = world.victim.scheduler.fail_environment_task(transaction, 1, end, ~0ULL, wakes);
                          });
                        }
                        EXPECT(world.victim.scheduler.queued_count() == 1);
                      }});
}

}  // namespace single_step
