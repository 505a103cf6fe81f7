// Placement groups, and shares of GPUs: what python/placement_groups.cpp does, in the same sections.
#include "judge.hpp"
#include "scenario.hpp"

namespace single_step {

namespace scheduler = miniray::scheduler;
using scheduler::Demand;
using scheduler::kCpu;
using scheduler::kGpu;
using scheduler::kResourceUnit;

namespace {

using Bundles = std::vector<std::vector<Demand>>;

Demand cpus(std::int64_t count) { return {kCpu, 0, count * kResourceUnit}; }
Demand gpu_units(std::int64_t units) { return {kGpu, 0, units}; }

void machine(World& world, int cpu_count, int gpu_count) {
  set_processors(world, cpu_count);
  Transaction transaction(world.driver.lock);
  world.driver.scheduler.set_total(transaction, kGpu, gpu_count * kResourceUnit);
}

// A group that is not finished: its row, and one bundle less than it should have when it is `cut_off`.
Index begin_group(Domain& domain, const Bundles& bundles, bool cut_off = false) {
  const ObjectKey description = put(domain, 64);
  EXPECT(domain.scheduler.placements.ensure_backed(domain.lock, 1) == 0);
  EXPECT(domain.scheduler.bundles.ensure_backed(domain.lock, static_cast<std::uint32_t>(bundles.size())) == 0);
  Index placement = kNone;
  change(domain, [&](Transaction& transaction, Wakes&) {
    placement = domain.scheduler.begin_placement(transaction, domain.self(), description.slot, 0);
  });
  EXPECT(placement != kNone);
  drop(domain, description);
  for (std::size_t i = 0; i + (cut_off ? 1 : 0) < bundles.size(); ++i) {
    change(domain, [&](Transaction& transaction, Wakes&) {
      EXPECT(domain.scheduler.add_bundle(transaction, placement, bundles[i].data(),
                                         static_cast<std::uint32_t>(bundles[i].size())));
    });
  }
  return placement;
}

Index make_group(Domain& domain, const Bundles& bundles) {
  const Index ready = begin_object(domain, 48);
  const Index placement = begin_group(domain, bundles);
  EXPECT(domain.ensure_rows(0, 0, 0) == 0);
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    domain.scheduler.finish_placement(transaction, placement, ready, wakes);
    (void)domain.objects.unhold(transaction, domain.self(), ready);
  });
  return placement;
}

ObjectKey ready_of(Domain& domain, Index placement) {
  return domain.objects.key(domain.scheduler.placements[placement].ready.get());
}

// What is submitted from now on asks for this, in the group.
void ask_for(World& world, Domain& domain, const std::vector<Demand>& demands, Index placement) {
  Transaction transaction(domain.lock);
  world.shape = domain.scheduler.find_shape(transaction, demands.data(), static_cast<std::uint32_t>(demands.size()),
                                            {placement, scheduler::kAnyBundle, false});
  EXPECT(world.shape != kNone);
}

void remove_group(Domain& domain, Index placement) {
  std::vector<Index> hosts(domain.processes.capacity() + 1);
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    (void)domain.scheduler.remove_placement(transaction, placement, hosts.data(), wakes);
  });
}

// An actor whose creation is queued, or (dependency) waits for an argument; the driver has its handle.
void make_actor(World& world, const std::vector<ObjectKey>& dependencies = {}) {
  Domain& domain = world.driver;
  EXPECT(domain.scheduler.actors.ensure_backed(domain.lock, 1) == 0 && domain.ensure_rows(1, 1, 1) == 0);
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    const Index task = domain.scheduler.tasks.take(transaction);
    scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
    transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
    Transaction::init(entry.dependencies, 1);
    Transaction::init(entry.function, world.function);
    Transaction::init(entry.function_generation, domain.objects[world.function].generation.get());
    Transaction::init(entry.arguments, kNone);
    Transaction::init(entry.first_result, kNone);
    Transaction::init(entry.result_count, 0);
    Transaction::init(entry.shape, world.shape);
    Transaction::init(entry.retries_left, 0);
    Transaction::init(entry.attempt, 0);
    Transaction::init(entry.worker, 0);
    Transaction::init(entry.inline_references, 0);
    Transaction::init(entry.inline_bytes_used, 0);
    Transaction::init(entry.flags, scheduler::kCreation);
    domain.objects.add_reference(transaction, world.function);
    const Index actor = domain.scheduler.create_actor(transaction, world.shape, 1, 0, domain.self());
    EXPECT(actor != kNone);
    Transaction::init(entry.actor, actor);
    transaction.set(domain.scheduler.actors[actor].creation, task);
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), domain.scheduler.actors[actor].handle.get());
    for (const ObjectKey& key : dependencies) {
      const std::uint32_t pair[] = {key.slot, key.generation};
      std::memcpy(entry.inline_bytes, pair, sizeof(pair));
      domain.objects.add_reference(transaction, key.slot);
      transaction.set(entry.inline_references, 1);
      if (domain.waits.add_dependency(transaction, domain.objects, task, key.slot)) transaction.add(entry.dependencies, 1);
    }
    domain.scheduler.submit(transaction, task, wakes);
  });
}

void add_placings(std::vector<Scenario>& list) {
  list.push_back({.name = "placement group: made and placed",
                  .prepare = [](World& world) { machine(world, 2, 2); },
                  .operate =
                      [](World& world) {
                        (void)make_group(world.victim, {{cpus(1), gpu_units(kResourceUnit / 2)}, {gpu_units(kResourceUnit)}});
                      }});
  list.push_back({.name = "placement group: made, waits behind another",
                  .prepare = [](World& world) { machine(world, 1, 0), (void)make_group(world.driver, {{cpus(2)}}); },
                  .operate = [](World& world) { (void)make_group(world.victim, {{cpus(1)}, {cpus(1)}}); }});
  list.push_back({.name = "placement group: placed when a task ends; a task waits for that, another in it",
                  .prepare = [](World& world) { machine(world, 1, 0), (void)world.join(); },
                  .before =
                      [](World& world) {
                        (void)submit(world, world.driver, {});
                        start_worker(world.victim);
                        const Index placement = make_group(world.driver, {{cpus(1)}});
                        (void)submit(world, world.driver, {.dependencies = {ready_of(world.driver, placement)}});
                        ask_for(world, world.driver, {cpus(1)}, placement);
                        (void)submit(world, world.driver, {});
                      },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "a task of a bundle: taken with a share of a GPU, ended, and another of the machine",
                  .prepare =
                      [](World& world) {
                        machine(world, 2, 2);
                        world.slot =
                            make_group(world.driver, {{gpu_units(kResourceUnit)}, {cpus(1), gpu_units(kResourceUnit / 2)}});
                        ask_for(world, world.driver, {cpus(1), gpu_units(kResourceUnit / 4)}, world.slot);
                        (void)submit(world, world.driver, {});
                      },
                  .operate =
                      [](World& world) {
                        start_worker(world.victim);
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.begin_blocked(transaction, world.victim.self(), wakes);
                        });
                        finish_task(world.victim);
                        ask_for(world, world.victim, {gpu_units(kResourceUnit / 2)}, kNone);
                        (void)submit(world, world.victim, {});
                        finish_task(world.victim);
                      }});
  list.push_back({.name = "what the machine has is said", .operate = [](World& world) {
                    change(world.victim, [&](Transaction& transaction, Wakes&) {
                      world.victim.scheduler.set_total(transaction, kCpu, 2 * kResourceUnit);
                    });
                  }});
}

void add_removals(std::vector<Scenario>& list) {
  list.push_back({.name = "placement group: removed while it waits, as do tasks and actors for it",
                  .prepare =
                      [](World& world) {
                        machine(world, 1, 0);
                        const std::vector<ObjectKey> argument = submit(world, world.driver, {});
                        world.slot = make_group(world.driver, {{cpus(2)}});
                        (void)submit(world, world.driver, {.dependencies = {ready_of(world.driver, world.slot)}});
                        ask_for(world, world.driver, {cpus(1)}, world.slot);
                        (void)submit(world, world.driver, {.result_count = 2});
                        (void)submit(world, world.driver, {.dependencies = argument});
                        make_actor(world);
                        make_actor(world, argument);
                      },
                  .operate = [](World& world) { remove_group(world.victim, world.slot); },
                  .is_long = true});
  list.push_back({.name = "placement group: removed, what a task still holds goes back when that ends",
                  .prepare =
                      [](World& world) {
                        machine(world, 1, 1);
                        world.slot = make_group(world.driver, {{cpus(1), gpu_units(kResourceUnit)}});
                      },
                  .before =
                      [](World& world) {
                        ask_for(world, world.driver, {cpus(1), gpu_units(kResourceUnit)}, world.slot);
                        (void)submit(world, world.driver, {});
                        start_worker(world.victim);
                        EXPECT(world.victim.own_entry().lease.get() != kNone);
                        (void)make_group(world.driver, {{cpus(1)}});
                      },
                  .operate =
                      [](World& world) {
                        remove_group(world.victim, world.slot);
                        finish_task(world.victim);
                      }});
  list.push_back({.name = "placement group: the shape of one that is gone is another's",
                  .prepare =
                      [](World& world) {
                        machine(world, 2, 0);
                        const Index gone = make_group(world.driver, {{cpus(1)}});
                        ask_for(world, world.driver, {cpus(1)}, gone);
                        remove_group(world.driver, gone);
                        world.slot = make_group(world.driver, {{cpus(2)}});
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          const Demand demand = cpus(2);
                          EXPECT(world.victim.scheduler.find_shape(transaction, &demand, 1, {world.slot, 0, true}) != kNone);
                        });
                      }});
}

void add_recoveries(std::vector<Scenario>& list) {
  const auto recover = [](World& world) { rescue(world.victim, world.dead, false); };
  list.push_back({.name = "recovery: who was making a placement group",
                  .prepare =
                      [](World& world) {
                        machine(world, 2, 0);
                        world.die_after([](Domain& domain) { (void)begin_group(domain, {{cpus(1)}, {cpus(1)}}, true); });
                      },
                  .operate = recover});
  for (const bool removed : {false, true}) {
    list.push_back({.name = removed ? "recovery: who had a task in a bundle of a group that is removed"
                                    : "recovery: who had a task in a bundle",
                    .prepare =
                        [removed](World& world) {
                          machine(world, 2, 1);
                          const Index placement = make_group(world.driver, {{cpus(1), gpu_units(kResourceUnit)}});
                          ask_for(world, world.driver, {cpus(1), gpu_units(kResourceUnit / 2)}, placement);
                          (void)submit(world, world.driver, {.retries = 1});
                          world.die_after([](Domain& domain) {
                            start_worker(domain);
                            EXPECT(domain.own_entry().bundle.get() != kNone && domain.own_entry().gpus.get() == 1);
                          });
                          if (removed) remove_group(world.driver, placement);
                        },
                    .operate = recover});
  }
  list.push_back({.name = "recovery: who hosted an actor in a bundle of a group that is removed",
                  .prepare =
                      [](World& world) {
                        machine(world, 2, 0);
                        const Index placement = make_group(world.driver, {{cpus(1)}});
                        ask_for(world, world.driver, {cpus(1)}, placement);
                        make_actor(world);
                        world.die_after([](Domain& domain) {
                          start_worker(domain);
                          change(domain, [&](Transaction& transaction, Wakes& wakes) {
                            domain.scheduler.finish_creation(transaction, domain.self(), wakes);
                          });
                        });
                        remove_group(world.driver, placement);
                      },
                  .operate = recover});
}

}  // namespace

void add_placement_scenarios(std::vector<Scenario>& list) {
  add_placings(list);
  add_removals(list);
  add_recoveries(list);
}

}  // namespace single_step
