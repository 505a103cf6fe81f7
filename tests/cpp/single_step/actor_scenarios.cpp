// Actors: creation, calls, hosts, ends. The driver makes the actor and keeps its handle unless a scenario says otherwise.
#include "judge.hpp"
#include "scenario.hpp"

namespace single_step {

namespace scheduler = miniray::scheduler;
namespace store = miniray::store;
using scheduler::ActorEnd;
using scheduler::ActorEntry;
using scheduler::TaskEntry;

namespace {

Index new_row(Transaction& transaction, World& world, Domain& domain, std::uint32_t result_count, std::uint32_t retries) {
  const Index task = domain.scheduler.tasks.take(transaction);
  EXPECT(task != kNone);
  TaskEntry& entry = domain.scheduler.tasks[task];
  transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
  Transaction::init(entry.dependencies, 1);
  Transaction::init(entry.function, world.function);
  Transaction::init(entry.function_generation, domain.objects[world.function].generation.get());
  Transaction::init(entry.arguments, kNone);
  Transaction::init(entry.first_result, kNone);
  Transaction::init(entry.result_count, result_count);
  Transaction::init(entry.shape, world.shape);
  Transaction::init(entry.retries_left, retries);
  Transaction::init(entry.attempt, 0);
  Transaction::init(entry.worker, 0);
  Transaction::init(entry.flags, 0);
  Transaction::init(entry.inline_references, 0);
  Transaction::init(entry.inline_bytes_used, 0);
  domain.objects.add_reference(transaction, world.function);
  return task;
}

void depend_on(Transaction& transaction, Domain& domain, Index task, const std::vector<ObjectKey>& dependencies) {
  TaskEntry& entry = domain.scheduler.tasks[task];
  auto* pairs = reinterpret_cast<std::uint32_t*>(entry.inline_bytes);
  for (const ObjectKey& key : dependencies) {
    *pairs++ = key.slot;
    *pairs++ = key.generation;
    domain.objects.add_reference(transaction, key.slot);
  }
  transaction.set(entry.inline_references, static_cast<std::uint32_t>(dependencies.size()));
  for (const ObjectKey& key : dependencies) {
    if (domain.objects[key.slot].current_state() != ObjectState::kPending) continue;
    if (domain.waits.add_dependency(transaction, domain.objects, task, key.slot)) transaction.add(entry.dependencies, 1);
  }
}

struct Made {
  std::uint32_t restarts = 0;
  std::uint32_t flags = 0;
  std::vector<ObjectKey> dependencies = {};
};

// As python/caller.cpp call(): a new actor, whose handle `domain` holds.
ObjectKey make_actor(World& world, Domain& domain, const Made& made) {
  EXPECT(domain.scheduler.actors.ensure_backed(domain.lock, 1) == 0);
  EXPECT(domain.ensure_rows(1, 1, static_cast<std::uint32_t>(made.dependencies.size())) == 0);
  ObjectKey handle;
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    const Index task = new_row(transaction, world, domain, 0, 0);
    TaskEntry& entry = domain.scheduler.tasks[task];
    const Index actor = domain.scheduler.create_actor(transaction, world.shape, made.restarts, made.flags, domain.self());
    EXPECT(actor != kNone);
    Transaction::init(entry.actor, actor);
    Transaction::init(entry.flags, scheduler::kCreation);
    transaction.set(domain.scheduler.actors[actor].creation, task);
    handle = domain.objects.key(domain.scheduler.actors[actor].handle.get());
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), handle.slot);
    depend_on(transaction, domain, task, made.dependencies);
    domain.scheduler.submit(transaction, task, wakes);
  });
  return handle;
}

// As the same for a method; the results are held.
std::vector<ObjectKey> call_method(World& world, Domain& domain, ObjectKey handle, const Call& call = {}) {
  EXPECT(domain.ensure_rows(call.result_count, 1, static_cast<std::uint32_t>(call.dependencies.size())) == 0);
  std::vector<ObjectKey> results;
  results.reserve(call.result_count);
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    const Index task = new_row(transaction, world, domain, call.result_count, call.retries);
    TaskEntry& entry = domain.scheduler.tasks[task];
    Transaction::init(entry.actor, domain.scheduler.actor_of(handle.slot));
    Transaction::init(entry.caller, domain.self().packed());
    domain.objects.add_reference(transaction, handle.slot);
    Index previous = kNone;
    for (std::uint32_t i = 0; i < call.result_count; ++i) {
      const Index result = domain.objects.create(transaction, ObjectState::kPending, 0);
      Transaction::init(domain.objects[result].producer, task);
      transaction.set(previous == kNone ? entry.first_result : domain.objects[previous].next_result, result);
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), result);
      results.push_back(domain.objects.key(result));
      previous = result;
    }
    depend_on(transaction, domain, task, call.dependencies);
    domain.scheduler.submit(transaction, task, wakes);
  });
  return results;
}

// A worker that becomes the host of the one actor there is.
void host(Domain& domain) {
  start_worker(domain);
  EXPECT(domain.own_entry().lease.get() != kNone);
  change(domain,
         [&](Transaction& transaction, Wakes& wakes) { domain.scheduler.finish_creation(transaction, domain.self(), wakes); });
}

Index begin_call(Domain& domain) {
  Index task = kNone;
  change(domain, [&](Transaction& transaction, Wakes&) { task = domain.scheduler.begin_call(transaction, domain.self()); });
  return task;
}

void finish_call(Domain& domain, Index task) {
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    for (Index object = domain.scheduler.tasks[task].first_result.get(); object != kNone;) {
      const Index next = domain.objects[object].next_result.get();
      (void)domain.objects.reserve(transaction, object, 16, false);
      domain.scheduler.seal(transaction, object, ObjectState::kSealed, wakes);
      object = next;
    }
    domain.scheduler.finish_call(transaction, task);
    (void)domain.scheduler.begin_call(transaction, domain.self());
  });
}

scheduler::ActorEndRecord record_of(ActorEnd end) { return {scheduler::kActorEndFormat, end, {}, 7, -9, 0}; }

void one_processor(World& world) { set_processors(world, 1); }

// One processor, and an actor of the driver.
std::function<void(World&)> with_actor(const Made& made) {
  return [made](World& world) { one_processor(world), world.keys = {make_actor(world, world.driver, made)}; };
}

ActorEntry& the_actor(World& world, Domain& domain) {
  return domain.scheduler.actors[domain.scheduler.actor_of(world.keys[0].slot)];
}

void add_creations(std::vector<Scenario>& list) {
  list.push_back({.name = "actor: made, an idle worker takes it",
                  .prepare = [](World& world) { one_processor(world), start_worker(world.join()); },
                  .operate = [](World& world) { (void)make_actor(world, world.victim, {.restarts = 2}); }});
  list.push_back({.name = "actor: made, its argument is not there yet",
                  .prepare = [](World& world) { one_processor(world), world.keys = submit(world, world.driver, {}); },
                  .operate = [](World& world) { (void)make_actor(world, world.victim, {.dependencies = world.keys}); }});
  list.push_back({.name = "actor: made detached, its handle goes", .prepare = one_processor, .operate = [](World& world) {
                    drop(world.victim, make_actor(world, world.victim, {.restarts = 1, .flags = scheduler::kDetached}));
                  }});
  for (const bool restarts : {false, true}) {
    list.push_back({.name = restarts ? "actor: constructed, may be started again" : "actor: constructed, calls wait",
                    .prepare = with_actor({.restarts = restarts ? 1U : 0U}),
                    .before =
                        [](World& world) {
                          for (int i = 0; i < 2; ++i) (void)call_method(world, world.driver, world.keys[0]);
                          (void)submit(world, world.driver, {});
                          start_worker(world.victim);
                        },
                    .operate =
                        [](World& world) {
                          change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                            world.victim.scheduler.finish_creation(transaction, world.victim.self(), wakes);
                          });
                        }});
  }
  list.push_back({.name = "actor: its constructor raised",
                  .prepare = with_actor({.restarts = 1}),
                  .before =
                      [](World& world) {
                        (void)call_method(world, world.driver, world.keys[0], {.result_count = 2});
                        start_worker(world.victim);
                        world.slot = put(world.victim, 100).slot;
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          const Index actor = world.victim.own_entry().actor.get();
                          world.victim.scheduler.end_actor(transaction, actor, record_of(ActorEnd::kInitFailed),
                                                           world.victim.objects.key(world.slot), wakes);
                        });
                      }});
  list.push_back({.name = "actor: its creation goes back to the queue",
                  .prepare = with_actor({}),
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          world.victim.scheduler.return_lease(transaction, world.victim.self());
                        });
                      }});
  list.push_back({.name = "actor: gets its name", .prepare = with_actor({}), .operate = [](World& world) {
                    const ObjectKey name = put(world.victim, 100);
                    change(world.victim, [&](Transaction& transaction, Wakes&) {
                      world.victim.scheduler.set_name(transaction, world.victim.scheduler.actor_of(world.keys[0].slot),
                                                      name.slot);
                    });
                    drop(world.victim, name);
                  }});
}

void add_calls(std::vector<Scenario>& list) {
  list.push_back({.name = "actor: called, its host sleeps",
                  .prepare = [](World& world) { with_actor({})(world), host(world.join()); },
                  .operate = [](World& world) { (void)call_method(world, world.victim, world.keys[0], {.result_count = 2}); }});
  list.push_back({.name = "actor: called twice, another has calls waiting",
                  .prepare =
                      [](World& world) {
                        with_actor({})(world);
                        (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .operate =
                      [](World& world) {
                        for (int i = 0; i < 2; ++i) (void)call_method(world, world.victim, world.keys[0]);
                      }});
  list.push_back({.name = "actor: calls in any order",
                  .prepare =
                      [](World& world) {
                        with_actor({.flags = scheduler::kUnorderedCalls})(world);
                        (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .operate = [](World& world) { (void)call_method(world, world.victim, world.keys[0]); }});
  list.push_back({.name = "actor: the first call of a lane gets its argument",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 2);
                        const ObjectKey argument = submit(world, world.driver, {})[0];
                        world.keys = {make_actor(world, world.driver, {}), argument};
                        (void)call_method(world, world.driver, world.keys[0], {.dependencies = {argument}});
                        (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate = [](World& world) { finish_task(world.victim); }});
  list.push_back({.name = "actor: its host begins a call and ends it, and begins the next",
                  .prepare = with_actor({}),
                  .before =
                      [](World& world) {
                        host(world.victim);
                        for (int i = 0; i < 3; ++i) (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .operate = [](World& world) { finish_call(world.victim, begin_call(world.victim)); }});
  list.push_back({.name = "actor: calls are cancelled: one that runs, the first and another of a lane",
                  .prepare = with_actor({}),
                  .before =
                      [](World& world) {
                        host(world.victim);
                        for (int i = 0; i < 4; ++i)
                          world.keys.push_back(call_method(world, world.driver, world.keys[0], {.retries = 2})[0]);
                        world.slot = begin_call(world.victim);
                      },
                  .operate =
                      [](World& world) {
                        for (const std::size_t which : {1, 2, 4}) {
                          change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                            const Index task = world.victim.objects[world.keys[which].slot].producer.get();
                            (void)world.victim.scheduler.cancel(transaction, task, false, wakes);
                          });
                        }
                        finish_call(world.victim, world.slot);
                      }});
  list.push_back({.name = "actor: a call is to be tried again",
                  .prepare = with_actor({}),
                  .before =
                      [](World& world) {
                        host(world.victim);
                        for (int i = 0; i < 2; ++i) (void)call_method(world, world.driver, world.keys[0], {.retries = 2});
                        world.slot = begin_call(world.victim);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes&) {
                          world.victim.scheduler.repeat_call(transaction, world.slot);
                        });
                      }});
}

void add_ends(std::vector<Scenario>& list) {
  const auto kill = [](World& world) {
    change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
      (void)world.victim.scheduler.kill_actor(transaction, world.victim.scheduler.actor_of(world.keys[0].slot), false, wakes);
    });
  };
  list.push_back({.name = "actor: killed while its creation is queued between others",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        (void)submit(world, world.driver, {});
                        world.keys = {make_actor(world, world.driver, {})};
                        (void)submit(world, world.driver, {});
                        for (int i = 0; i < 3; ++i) (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .operate = kill});
  list.push_back({.name = "actor: killed while it waits for an argument, as does a call",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        const std::vector<ObjectKey> argument = submit(world, world.driver, {});
                        world.keys = {make_actor(world, world.driver, {.dependencies = argument})};
                        (void)call_method(world, world.driver, world.keys[0], {.dependencies = argument});
                      },
                  .operate = kill});
  list.push_back({.name = "actor: a detached one is killed",
                  .prepare =
                      [](World& world) {
                        with_actor({.flags = scheduler::kDetached})(world);
                        (void)call_method(world, world.driver, world.keys[0]);
                      },
                  .operate = kill});
  list.push_back({.name = "actor: killed while it has a host and a name",
                  .prepare =
                      [](World& world) {
                        with_actor({})(world);
                        const ObjectKey name = put(world.driver, 100);
                        change(world.driver, [&](Transaction& transaction, Wakes&) {
                          world.driver.scheduler.set_name(transaction, world.driver.scheduler.actor_of(world.keys[0].slot),
                                                          name.slot);
                        });
                        drop(world.driver, name);
                        host(world.join());
                      },
                  .operate = kill});
  list.push_back(
      {.name = "actor: called when it is dead", .prepare = with_actor({}), .before = kill, .operate = [](World& world) {
         (void)call_method(world, world.victim, world.keys[0]);
       }});
  list.push_back({.name = "actor: a call of a dead one gets its argument",
                  .prepare =
                      [](World& world) {
                        set_processors(world, 2);
                        const ObjectKey argument = submit(world, world.driver, {})[0];
                        world.keys = {make_actor(world, world.driver, {})};
                        (void)call_method(world, world.driver, world.keys[0], {.dependencies = {argument}});
                      },
                  .before = [kill](World& world) { kill(world), start_worker(world.victim); },
                  .operate = [](World& world) { finish_task(world.victim); }});
  const auto drop_handle = [](World& world) { drop(world.victim, world.keys[0]); };
  list.push_back({.name = "actor: the last handle goes before it was started",
                  .prepare = one_processor,
                  .before = [](World& world) { world.keys = {make_actor(world, world.victim, {})}; },
                  .operate = drop_handle});
  list.push_back({.name = "actor: the last handle goes, its host is told",
                  .prepare = [](World& world) { one_processor(world), (void)world.join(); },
                  .before = [](World& world) { world.keys = {make_actor(world, world.victim, {})}, host(world.others[0]); },
                  .operate = drop_handle});
  list.push_back({.name = "actor: the last handle of a dead one goes",
                  .prepare = one_processor,
                  .before = [kill](World& world) { world.keys = {make_actor(world, world.victim, {})}, kill(world); },
                  .operate = drop_handle});
  list.push_back({.name = "actor: its host leaves",
                  .prepare = with_actor({}),
                  .before =
                      [](World& world) {
                        host(world.victim);
                        (void)call_method(world, world.driver, world.keys[0]);
                        drop(world.driver, world.keys[0]);
                        finish_call(world.victim, begin_call(world.victim));
                        EXPECT(the_actor(world, world.victim).has(scheduler::kLeaving));
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.end_actor(transaction, world.victim.own_entry().actor.get(),
                                                           record_of(ActorEnd::kOutOfScope), {}, wakes);
                        });
                      }});
}

// A host that dies with one call running and one waiting.
std::function<void(World&)> with_dead_host(const Made& made, std::uint32_t retries) {
  return [made, retries](World& world) {
    with_actor(made)(world);
    for (int i = 0; i < 3; ++i) (void)call_method(world, world.driver, world.keys[0], {.retries = i == 0 ? retries : 0});
    world.die_after([](Domain& domain) {
      host(domain);
      EXPECT(begin_call(domain) != kNone);
    });
  };
}

void add_recoveries(std::vector<Scenario>& list) {
  const auto recover = [](World& world) { rescue(world.victim, world.dead, false); };
  list.push_back({.name = "recovery: a host, calls fail", .prepare = with_dead_host({}, 0), .operate = recover});
  list.push_back({.name = "recovery: a host, the actor is started again",
                  .prepare = with_dead_host({.restarts = 1}, 0),
                  .operate = recover});
  list.push_back({.name = "recovery: a host, the actor is started again and the call repeated",
                  .prepare = with_dead_host({.restarts = 1}, 1),
                  .operate = recover});
  list.push_back({.name = "recovery: it died in the constructor",
                  .prepare =
                      [](World& world) {
                        with_actor({.restarts = 1})(world);
                        world.die_after([](Domain& domain) { start_worker(domain); });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: who made a detached actor and had its only handle",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        world.die_after([&](Domain& domain) {
                          start_worker(domain);
                          (void)make_actor(world, domain, {.restarts = 1, .flags = scheduler::kDetached});
                        });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: a host whose call is cancelled, the actor is started again",
                  .prepare =
                      [](World& world) {
                        with_actor({.restarts = 1})(world);
                        (void)call_method(world, world.driver, world.keys[0], {.retries = 1});
                        world.die_after([](Domain& domain) {
                          host(domain);
                          const Index task = begin_call(domain);
                          change(domain, [&](Transaction& transaction, Wakes& wakes) {
                            (void)domain.scheduler.cancel(transaction, task, false, wakes);
                          });
                        });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: who had the last handle",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        world.die_after([&](Domain& domain) { (void)make_actor(world, domain, {}); });
                      },
                  .operate = recover});
  list.push_back({.name = "recovery: who made actors that wait, of which others have handles",
                  .prepare =
                      [](World& world) {
                        one_processor(world);
                        (void)submit(world, world.driver, {});
                        world.die_after([&](Domain& domain) {
                          start_worker(domain);
                          for (int i = 0; i < 2; ++i) {
                            const ObjectKey handle = make_actor(world, domain, {.restarts = 1});
                            change(world.driver, [&](Transaction& transaction, Wakes&) {
                              (void)world.driver.objects.hold(transaction, world.driver.own_entry(), world.driver.self(),
                                                              handle.slot);
                            });
                            (void)call_method(world, world.driver, handle);
                          }
                        });
                      },
                  .operate = recover});
}

}  // namespace

void add_actor_scenarios(std::vector<Scenario>& list) {
  add_creations(list);
  add_calls(list);
  add_ends(list);
  add_recoveries(list);
}

}  // namespace single_step
