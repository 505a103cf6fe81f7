// Lookouts: sessions with more workers than the machine has processors, here one.
#include "judge.hpp"
#include "scenario.hpp"

namespace single_step {

namespace scheduler = miniray::scheduler;

namespace {

void has_one_processor(DomainConfig& config) { config.processors = 1; }

const scheduler::SchedulerHeader& shared(World& world) { return world.driver.header().scheduler; }

// Sixteen CPUs by the session's word; the first of the others runs a task.
void prepare(World& world) {
  set_processors(world, 16);
  start_worker(world.join());
  (void)submit(world, world.driver, {});
  EXPECT(world.others[0].own_entry().lease.get() != kNone);
}

std::function<void(World&)> prepare_with_idle(int count) {
  return [count](World& world) {
    prepare(world);
    for (int i = 0; i < count; ++i) start_worker(world.join());
  };
}

// As many tasks queued, and the victim the lookout; other idle workers are below it in the list.
void make_victim_lookout(World& world, int queued) {
  start_worker(world.victim);
  for (int i = 0; i < queued; ++i) (void)submit(world, world.driver, {});
  EXPECT(shared(world).lookout.get() == world.victim.self().slot);
}

void look(World& world, bool gets_on) {
  change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
    world.victim.scheduler.look_out(transaction, world.victim.self(), gets_on, wakes);
  });
}

// The victim, which was the lookout, runs a task by itself.
void run_after_a_look(World& world) {
  make_victim_lookout(world, 1);
  look(world, false);
  finish_task(world.others[0]);
  EXPECT(shared(world).running_limit.get() == 4 && world.victim.own_entry().lease.get() != kNone);
}

void add_looks(std::vector<Scenario>& list) {
  list.push_back({.name = "lookout: looks, and more begin",
                  .prepare = prepare_with_idle(4),
                  .before = [](World& world) { make_victim_lookout(world, 6); },
                  .operate =
                      [](World& world) {
                        look(world, false);
                        EXPECT(shared(world).running_count.get() == 4);
                        const Index next = shared(world).lookout.get();  // the victim has a task now
                        EXPECT(next != kNone && next != world.victim.self().slot);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: looks, and all begin",
                  .prepare = prepare,
                  .before = [](World& world) { make_victim_lookout(world, 1); },
                  .operate =
                      [](World& world) {
                        look(world, false);
                        EXPECT(shared(world).running_count.get() == 2 && shared(world).lookout.get() == kNone);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: has looked, and the next begins at once",
                  .prepare = prepare,
                  .before = run_after_a_look,
                  .operate =
                      [](World& world) {
                        (void)submit(world, world.victim, {});
                        EXPECT(world.others[0].own_entry().lease.get() != kNone && shared(world).lookout.get() == kNone);
                        finish_task(world.victim);
                        EXPECT(shared(world).running_limit.get() == 4);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: has looked, and fewer run than there are processors",
                  .prepare = prepare,
                  .before = run_after_a_look,
                  .operate =
                      [](World& world) {
                        finish_task(world.victim);
                        EXPECT(shared(world).running_limit.get() == 1);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: looks, and those that run get on",
                  .prepare = prepare,
                  .before =
                      [](World& world) {
                        make_victim_lookout(world, 2);
                        EXPECT(!world.victim.scheduler.tasks_are_short());
                        finish_task(world.others[0]);  // which takes the next
                        EXPECT(world.victim.scheduler.tasks_are_short());
                      },
                  .operate =
                      [](World& world) {
                        look(world, true);
                        EXPECT(!world.victim.scheduler.tasks_are_short());
                        EXPECT(shared(world).running_count.get() == 1 &&
                               shared(world).lookout.get() == world.victim.self().slot);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: looks, and nothing is left",
                  .prepare = prepare,
                  .before =
                      [](World& world) {
                        make_victim_lookout(world, 1);
                        finish_task(world.others[0]);
                      },
                  .operate =
                      [](World& world) {
                        look(world, true);
                        EXPECT(shared(world).lookout.get() == kNone);
                      },
                  .configure = has_one_processor});
}

}  // namespace

void add_lookout_scenarios(std::vector<Scenario>& list) {
  list.push_back({.name = "lookout: a call is queued for it",
                  .prepare = prepare_with_idle(1),
                  .operate =
                      [](World& world) {
                        for (int i = 0; i < 2; ++i) (void)submit(world, world.victim, {});
                        EXPECT(world.others[1].own_entry().lease.get() == kNone);
                        EXPECT(shared(world).lookout.get() == world.others[1].self().slot);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: the task that runs blocks, and the next begins",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 16);
                        start_worker(world.join());
                      },
                  .before =
                      [](World& world) {
                        start_worker(world.victim);  // the newest is the first to get a task
                        for (int i = 0; i < 2; ++i) (void)submit(world, world.driver, {});
                        EXPECT(shared(world).lookout.get() == world.others[0].self().slot);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.begin_blocked(transaction, world.victim.self(), wakes);
                        });
                        EXPECT(world.others[0].own_entry().lease.get() != kNone && shared(world).lookout.get() == kNone);
                      },
                  .configure = has_one_processor});
  add_looks(list);
  list.push_back({.name = "lookout: leaves, and another is named",
                  .prepare = prepare_with_idle(1),
                  .before = [](World& world) { make_victim_lookout(world, 1); },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          EXPECT(world.victim.scheduler.retire(transaction, world.victim.self()));
                          world.victim.scheduler.dispatch(transaction, wakes);
                        });
                        EXPECT(shared(world).lookout.get() == world.others[1].self().slot);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: is dead, and another is named",
                  .prepare =
                      [](World& world) {
                        prepare_with_idle(1)(world);
                        world.die_after([](Domain& domain) { start_worker(domain); });
                        (void)submit(world, world.driver, {});
                        EXPECT(shared(world).lookout.get() == world.dead[0].slot);
                      },
                  .operate =
                      [](World& world) {
                        rescue(world.victim, world.dead, false);
                        EXPECT(shared(world).lookout.get() == world.others[1].self().slot);
                      },
                  .configure = has_one_processor});
  list.push_back({.name = "lookout: is relieved, and all begin",
                  .prepare =
                      [](World& world) {
                        prepare_with_idle(2)(world);
                        for (int i = 0; i < 3; ++i) (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        const scheduler::Scheduler::Watch seen = world.victim.scheduler.watch();
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.relieve_lookout(transaction, {seen.lookout, seen.looks - 1}, wakes);
                        });
                        EXPECT(shared(world).running_count.get() == 1);  // it has looked meanwhile
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.relieve_lookout(transaction, seen, wakes);
                        });
                        EXPECT(shared(world).running_count.get() == 3 && shared(world).lookout.get() == kNone);
                      },
                  .configure = has_one_processor});
}

}  // namespace single_step
