// Calls, workers, waits: what happens between a call and its result.
#include <atomic>

#include "scenario.hpp"

namespace single_step {

namespace runtime = miniray::runtime;
namespace scheduler = miniray::scheduler;

namespace {

// The victim as a worker with a task of `call`, of which it has `more` queued.
void lease_to_victim(World& world, const Call& call, int more) {
  for (int i = 0; i <= more; ++i) {
    for (const ObjectKey key : submit(world, world.driver, call)) world.keys.push_back(key);
  }
  start_worker(world.victim);
  EXPECT(world.victim.own_entry().lease.get() != kNone);
}

void one_processor(World& world) { set_processors(world, 1); }

void add_calls(std::vector<Scenario>& list) {
  list.push_back({.name = "call: to an idle worker",
                  .prepare = [](World& world) { one_processor(world), start_worker(world.join()); },
                  .operate = [](World& world) { (void)submit(world, world.victim, {.result_count = 2}); }});
  list.push_back({.name = "call: queued",
                  .prepare = [](World& world) { one_processor(world), (void)submit(world, world.driver, {}); },
                  .operate = [](World& world) { (void)submit(world, world.victim, {.argument_bytes = 400}); }});
  list.push_back({.name = "call: waits for results of others",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        world.keys = submit(world, world.driver, {.result_count = 2});
                        world.keys.push_back(put(world.driver, 100));
                      },
                  .operate = [](World& world) { (void)submit(world, world.victim, {.dependencies = world.keys}); }});
  list.push_back({.name = "a shape nobody asked for before", .prepare = one_processor, .operate = [](World& world) {
                    change(world.victim, [&](Transaction& transaction, Wakes&) {
                      const scheduler::Demand demands[] = {{scheduler::kCpu, 0, 1}, {1, 0, 0}};
                      EXPECT(world.victim.scheduler.find_shape(transaction, demands, 2) != kNone);
                    });
                  }});
}

void add_workers(std::vector<Scenario>& list) {
  list.push_back({.name = "worker: begins, tasks are queued",
                  .prepare = [](World& world) { set_processors(world, 2), (void)submit(world, world.driver, {}); },
                  .operate = [](World& world) { start_worker(world.victim); }});
  list.push_back({.name = "worker: ends a task, none is queued",
                  .prepare = one_processor,
                  .before = [](World& world) { lease_to_victim(world, {.result_count = 2}, 0); },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "worker: ends a task, the next is alike",
                  .prepare = one_processor,
                  .before = [](World& world) { lease_to_victim(world, {}, 2); },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "worker: ends a task, the next are of another shape",
                  .prepare = [](World& world) { one_processor(world), (void)world.join(); },
                  .before =
                      [](World& world) {
                        lease_to_victim(world, {}, 0);
                        start_worker(world.others[0]);
                        change(world.driver, [&](Transaction& transaction, Wakes&) {
                          const scheduler::Demand demand{scheduler::kCpu, 0, scheduler::kResourceUnit / 2};
                          world.shape = world.driver.scheduler.find_shape(transaction, &demand, 1);
                        });
                        for (int i = 0; i < 2; ++i) (void)submit(world, world.driver, {});
                      },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "worker: ends a task whose arguments nobody else keeps",
                  .prepare = one_processor,
                  .before =
                      [](World& world) {
                        const ObjectKey key = put(world.driver, 300);
                        lease_to_victim(world, {.dependencies = {key}, .argument_bytes = 400}, 0);
                        drop(world.driver, key);
                      },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "worker: the call is to be tried again",
                  .prepare = one_processor,
                  .before =
                      [](World& world) {
                        lease_to_victim(world, {.retries = 3}, 1);
                        Transaction transaction(world.victim.lock);
                        const Index task = world.victim.own_entry().lease.get();
                        const Index result = world.victim.scheduler.tasks[task].first_result.get();
                        (void)world.victim.objects.reserve(transaction, result, 300, false);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.repeat_lease(transaction, world.victim.self(), wakes);
                        });
                      }});
  list.push_back({.name = "worker: blocks and goes on",
                  .prepare = [](World& world) { one_processor(world), (void)world.join(); },
                  .before =
                      [](World& world) {
                        lease_to_victim(world, {}, 1);
                        start_worker(world.others[0]);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.begin_blocked(transaction, world.victim.self(), wakes);
                        });
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          world.victim.scheduler.end_blocked(transaction, world.victim.self());
                        });
                      }});
  list.push_back({.name = "worker: leaves, its lease goes back",
                  .prepare = one_processor,
                  .before = [](World& world) { lease_to_victim(world, {}, 1); },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.return_lease(transaction, world.victim.self());
                          EXPECT(world.victim.scheduler.retire(transaction, world.victim.self()));
                          world.victim.scheduler.dispatch(transaction, wakes);
                        });
                        EXPECT(runtime::wait_for_lease(world.victim, 1, 0, 0) == runtime::WaitOutcome::kReady);
                      }});
  list.push_back(
      {.name = "worker: waits for a lease in vain",
       .prepare = one_processor,
       .before = [](World& world) { start_worker(world.victim); },
       .operate =
           [](World& world) { EXPECT(runtime::wait_for_lease(world.victim, 1, 0, 0) == runtime::WaitOutcome::kTimedOut); }});
  list.push_back({.name = "call: fails because no worker can be started",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        (void)submit(world, world.driver, {.result_count = 2});
                        (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        const miniray::scheduler::ProcessEnd end{7, 1, miniray::scheduler::DeathCause::kNoWorker, 0};
                        for (bool failed = true; failed;) {
                          change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                            failed = world.victim.scheduler.fail_stranded_task(transaction, end, ~0ULL, wakes);
                          });
                        }
                      }});
  list.push_back({.name = "memory watch: sleeps, and is woken by a lease",
                  .prepare = [](World& world) { one_processor(world), start_worker(world.join()); },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          EXPECT(world.victim.scheduler.let_memory_watch_sleep(transaction));
                        });
                        (void)submit(world, world.victim, {});
                      }});
  list.push_back({.name = "worker: finds its lease",
                  .prepare = one_processor,
                  .before = [](World& world) { lease_to_victim(world, {}, 0); },
                  .operate =
                      [](World& world) {
                        EXPECT(runtime::wait_for_lease(world.victim, 8, 1000, platform::kForever) ==
                               runtime::WaitOutcome::kReady);
                      }});
}

// One object that many wait for: a thread of the driver `threads` times, and tasks.
void add_waiters(World& world, int nodes, int tasks) {
  Domain& domain = world.driver;
  EXPECT(domain.ensure_rows(1, 1, static_cast<std::uint32_t>(nodes)) == 0);
  Transaction transaction(domain.lock);
  const Index group = domain.waits.create_group(transaction, domain.self(), true);
  EXPECT(group != kNone);
  transaction.set(domain.waits.groups[group].remaining, static_cast<std::uint32_t>(nodes));
  for (int i = 0; i < nodes; ++i) {
    if (transaction.room() < 64) transaction.commit();
    EXPECT(domain.waits.add_to_group(transaction, domain.objects, group, world.keys[0].slot));
  }
  transaction.close();
  for (int i = 0; i < tasks; ++i) (void)submit(world, domain, {.dependencies = {world.keys[0]}});
}

void has_many_waiters(DomainConfig& config) { config.object_capacity = 1600; }

void add_waits(std::vector<Scenario>& list) {
  const auto wait = [](World& world, std::size_t needed, bool fails_fast) {
    runtime::ObjectWait waiting(world.victim);
    bool no_room = false;
    const bool done = waiting.begin(world.keys.data(), world.keys.size(), needed, fails_fast, no_room);
    EXPECT(!no_room);
    const std::atomic<bool> ends = true;
    if (!done) (void)waiting.sleep(platform::kForever, ends);
    waiting.end();
  };
  list.push_back(
      {.name = "wait: for results, given up",
       .prepare = [](World& world) { one_processor(world), world.keys = submit(world, world.driver, {.result_count = 3}); },
       .operate = [wait](World& world) { wait(world, 3, true); }});
  list.push_back({.name = "wait: what is there is enough",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        world.keys = submit(world, world.driver, {.result_count = 2});
                        world.keys.push_back(put(world.driver, 10));
                      },
                  .operate = [wait](World& world) { wait(world, 1, false); }});
  for (const bool fails : {false, true}) {
    list.push_back({.name = fails ? "wait: an error wakes who waits" : "wait: a result wakes who waits",
                    .prepare =
                        [](World& world) {
                          set_processors(world, 2);
                          world.keys = submit(world, world.driver, {.result_count = 1});
                          add_waiters(world, 3, 2);
                        },
                    .before = [](World& world) { start_worker(world.victim); },
                    .operate =
                        [fails](World& world) {
                          Wakes wakes;
                          Domain& domain = world.victim;
                          Transaction transaction(domain.lock);
                          seal_results(domain, transaction, wakes, 16, fails ? ObjectState::kError : ObjectState::kSealed);
                          domain.scheduler.finish_lease(transaction, domain.self(), wakes);
                          transaction.close();
                          domain.perform(wakes);
                        }});
  }
  for (const bool has_tasks : {true, false}) {
    list.push_back({.name = has_tasks ? "wait: thousands are told in several sections"
                                      : "wait: thousands are told in several sections, and drop the result",
                    .prepare =
                        [has_tasks](World& world) {
                          set_processors(world, 2);
                          world.keys = submit(world, world.driver, {.retries = 5});
                          add_waiters(world, 2100, has_tasks ? 3 : 0);
                        },
                    .before = [](World& world) { start_worker(world.victim); },
                    .operate = [](World& world) { finish_task(world.victim); },
                    .configure = has_many_waiters,
                    .is_long = true});
  }
}

// What the victim awaits: two results of one call, and others before and after them that stay pending.
void await_results(World& world, runtime::StandingWait& awaited) {
  for (const ObjectKey& key : world.keys) EXPECT(awaited.add(key) == runtime::StandingWait::Added::kWaits);
}

// cancel() of the task that makes a result.
void cancel(Domain& domain, ObjectKey result, bool force, scheduler::Scheduler::CancelStep expected) {
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    const auto found = domain.scheduler.cancel(transaction, domain.objects[result.slot].producer.get(), force, wakes);
    EXPECT(found.step == expected);
  });
}

void add_cancellations(std::vector<Scenario>& list) {
  using Step = scheduler::Scheduler::CancelStep;
  struct Place {
    const char* name;
    std::size_t which;
  };
  for (const Place place : {Place{"cancel: the first of a queue", 0}, Place{"cancel: one between others", 1},
                            Place{"cancel: the last of a queue", 2}}) {
    list.push_back(
        {.name = place.name,
         .prepare =
             [](World& world) {
               one_processor(world);
               for (int i = 0; i < 3; ++i)
                 world.keys.push_back(submit(world, world.driver, {.result_count = 2, .retries = 3})[0]);
             },
         .operate = [place](World& world) { cancel(world.victim, world.keys[place.which], false, Step::kNothing); }});
  }
  list.push_back({.name = "cancel: a task that waits, and then gets its argument",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 2);
                        world.keys = submit(world, world.driver, {});
                        world.keys.push_back(submit(world, world.driver, {.dependencies = {world.keys[0]}})[0]);
                      },
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate =
                      [](World& world) {
                        cancel(world.victim, world.keys[1], true, Step::kNothing);
                        finish_task(world.victim);
                      }});
  list.push_back({.name = "cancel: a task that runs, and others depend on",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        world.keys = submit(world, world.driver, {.retries = 3});
                        (void)submit(world, world.driver, {.dependencies = {world.keys[0]}});
                        start_worker(world.join());
                      },
                  .operate = [](World& world) { cancel(world.victim, world.keys[0], false, Step::kInterrupt); }});
}

void add_standing_waits(std::vector<Scenario>& list) {
  const auto prepare = [](World& world) {
    set_processors(world, 2);
    world.keys = submit(world, world.driver, {.result_count = 2});
    const std::vector<ObjectKey> others = submit(world, world.driver, {.result_count = 2});
    world.keys.insert(world.keys.begin(), others[0]);
    world.keys.push_back(others[1]);
  };
  list.push_back({.name = "standing wait: awaits, collects what is sealed, and ends",
                  .prepare = prepare,
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate =
                      [](World& world) {
                        runtime::StandingWait awaited(world.victim);
                        await_results(world, awaited);
                        finish_task(world.victim);
                        const std::atomic<bool> ends = false;
                        awaited.sleep(ends);
                        Index found[8];
                        EXPECT(awaited.collect(found, 1) == 1 && found[0] == world.keys[2].slot);
                        EXPECT(awaited.collect(found, 8) == 1 && found[0] == world.keys[1].slot);
                        EXPECT(awaited.collect(found, 8) == 0);
                        EXPECT(awaited.add(world.keys[1]) == runtime::StandingWait::Added::kSealed);
                        awaited.end();
                      }});
  list.push_back({.name = "standing wait: a result is told",
                  .prepare =
                      [prepare](World& world) {
                        prepare(world);
                        world.die_after([&](Domain& domain) {
                          runtime::StandingWait awaited(domain);
                          await_results(world, awaited);
                        });
                      },
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate = [](World& world) { finish_task(world.victim); }});
}

}  // namespace

void add_scheduler_scenarios(std::vector<Scenario>& list) {
  add_calls(list);
  add_workers(list);
  add_waits(list);
  add_standing_waits(list);
  add_cancellations(list);
}

}  // namespace single_step
