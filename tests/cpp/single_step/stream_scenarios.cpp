// Streams: items made and taken, room, ends, given up by either side. `keys` of a world: what completed() gives, and the stream.
#include "judge.hpp"
#include "scenario.hpp"

namespace single_step {

namespace runtime = miniray::runtime;
namespace scheduler = miniray::scheduler;
using Yield = scheduler::Scheduler::Yield;

namespace {

Index running_task(Domain& domain) { return domain.own_entry().lease.get(); }

// As python/streams.cpp add_value().
void yield_item(Domain& domain, std::uint64_t size_bytes = 16, const std::vector<ObjectKey>& contained = {},
                Yield expected = Yield::kGoesOn) {
  const Index task = running_task(domain);
  const Index tail = domain.scheduler.stream_record(domain.scheduler.stream_of(task)).tail.get();
  const bool is_over = domain.scheduler.tasks[task].first_result.get() != tail;
  EXPECT(domain.ensure_rows(1, 0, 0) == 0);
  if (size_bytes > miniray::store::kInlineBytes && !is_over) {
    EXPECT(domain.heap.ensure_rows(size_bytes) == 0);
    Transaction transaction(domain.lock);
    EXPECT(domain.objects.reserve(transaction, tail, size_bytes, false) == miniray::store::AllocateResult::kDone);
  }
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    if (size_bytes <= miniray::store::kInlineBytes && !is_over)
      (void)domain.objects.reserve(transaction, tail, size_bytes, false);
    for (const ObjectKey& key : contained) domain.objects.add_contained(transaction, tail, key);
    EXPECT(domain.scheduler.add_item(transaction, task, wakes) == expected);
  });
}

Index take_item(Domain& domain, ObjectKey stream) {
  Index item = kNone;
  change(domain, [&](Transaction& transaction, Wakes& wakes) {
    item = domain.scheduler.take_item(transaction, stream.slot, domain.self(), wakes);
  });
  return item;
}

void take_and_drop(Domain& domain, ObjectKey stream) {
  const Index item = take_item(domain, stream);
  EXPECT(item != kNone);
  drop(domain, domain.objects.key(item));
}

void submit_stream(World& world, Domain& domain, const Call& call = {}) {
  Call streams = call;
  streams.result_count = 2;
  streams.streams = true;
  world.keys = submit(world, domain, streams);
}

// One processor, and a stream of the driver.
std::function<void(World&)> with_stream(const Call& call = {}) {
  return [call](World& world) {
    set_processors(world, 1);
    submit_stream(world, world.driver, call);
  };
}

// The victim reads what another makes, who has yielded so many.
std::function<void(World&)> reader(int items, const Call& call = {}) {
  return [items, call](World& world) {
    submit_stream(world, world.victim, call);
    start_worker(world.others[0]);
    for (int i = 0; i < items; ++i) yield_item(world.others[0]);
  };
}

void with_worker(World& world) {
  set_processors(world, 1);
  (void)world.join();
}

// Waits as a thread would, without sleeping; it is left waiting.
void begin_wait(Domain& domain, ObjectKey key) {
  auto* waiting = new runtime::ObjectWait(domain);  // NOLINT: its process ends
  bool no_room = false;
  EXPECT(!waiting->begin(&key, 1, 1, false, no_room));
}

void add_makers(std::vector<Scenario>& list) {
  list.push_back({.name = "stream: submitted",
                  .prepare = [](World& world) { set_processors(world, 1); },
                  .operate = [](World& world) { submit_stream(world, world.victim); }});
  list.push_back({.name = "stream: two small items",
                  .prepare = with_stream(),
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate = [](World& world) { yield_item(world.victim), yield_item(world.victim); }});
  list.push_back({.name = "stream: a large item with a reference, which somebody waits for",
                  .prepare =
                      [](World& world) {
                        with_stream()(world);
                        world.keys.push_back(put(world.driver, 40));
                        begin_wait(world.driver,
                                   world.driver.objects.key(world.driver.objects[world.keys[1].slot].next_result.get()));
                      },
                  .before = [](World& world) { start_worker(world.victim); },
                  .operate = [](World& world) { yield_item(world.victim, 5000, {world.keys[2]}); }});
  list.push_back({.name = "stream: it ends with items unread",
                  .prepare = with_stream(),
                  .before = [](World& world) { start_worker(world.victim), yield_item(world.victim); },
                  .operate = [](World& world) { finish_task(world.victim); }});
  for (const bool is_large : {false, true}) {
    list.push_back(
        {.name = is_large ? "stream: a large item that nobody wants" : "stream: an item that nobody wants, and the end",
         .prepare = with_stream(),
         .before =
             [](World& world) {
               start_worker(world.victim);
               yield_item(world.victim);
               drop(world.driver, world.keys[1]);
             },
         .operate =
             [is_large](World& world) {
               yield_item(world.victim, is_large ? 5000 : 16, {}, Yield::kIsOver);
               finish_task(world.victim);
             }});
  }
  list.push_back({.name = "stream: it waits for room, also in an event loop",
                  .prepare = with_stream({.stream_limit = 1}),
                  .before = [](World& world) { start_worker(world.victim), yield_item(world.victim); },
                  .operate =
                      [](World& world) {
                        runtime::ObjectWait waiting(world.victim);
                        bool no_room = false;
                        EXPECT(!waiting.begin(&world.keys[1], 1, 1, false, no_room));
                        waiting.end();
                        runtime::StandingWait awaited(world.victim);
                        EXPECT(awaited.add(world.keys[1]) == runtime::StandingWait::Added::kWaits);
                        awaited.end();
                      }});
  list.push_back({.name = "stream: tried again by who made it",
                  .prepare = with_stream({.retries = 1}),
                  .before = [](World& world) { start_worker(world.victim), yield_item(world.victim); },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          world.victim.scheduler.repeat_lease(transaction, world.victim.self(), wakes);
                        });
                      }});
}

void add_readers(std::vector<Scenario>& list) {
  list.push_back({.name = "stream: items are taken", .prepare = with_worker, .before = reader(2), .operate = [](World& world) {
                    take_and_drop(world.victim, world.keys[1]);
                    EXPECT(take_item(world.victim, world.keys[1]) != kNone);
                    EXPECT(take_item(world.victim, world.keys[1]) == kNone);
                  }});
  list.push_back({.name = "stream: an item is taken, its maker waits for room",
                  .prepare = with_worker,
                  .before =
                      [](World& world) {
                        reader(1, {.stream_limit = 1})(world);
                        begin_wait(world.others[0], world.keys[1]);
                      },
                  .operate = [](World& world) { take_and_drop(world.victim, world.keys[1]); }});
  list.push_back({.name = "stream: the error at its end is taken",
                  .prepare = with_worker,
                  .before =
                      [](World& world) {
                        reader(0)(world);
                        change(world.others[0], [&](Transaction& transaction, Wakes& wakes) {
                          seal_results(world.others[0], transaction, wakes, 16, ObjectState::kError);
                          world.others[0].scheduler.finish_lease(transaction, world.others[0].self(), wakes);
                        });
                      },
                  .operate =
                      [](World& world) {
                        take_and_drop(world.victim, world.keys[1]);
                        EXPECT(world.victim.scheduler.is_stream_end(world.keys[1].slot));
                      }});
  const auto give_up = [](World& world) { drop(world.victim, world.keys[1]); };
  list.push_back({.name = "stream: given up with items unread, its maker waits for room",
                  .prepare = with_worker,
                  .before =
                      [](World& world) {
                        reader(3, {.stream_limit = 3})(world);
                        begin_wait(world.others[0], world.keys[1]);
                      },
                  .operate = give_up});
  list.push_back({.name = "stream: given up before it began",
                  .prepare = with_worker,
                  .before = [](World& world) { submit_stream(world, world.victim); },
                  .operate = give_up});
  list.push_back({.name = "stream: given up after the end",
                  .prepare = with_worker,
                  .before = [](World& world) { reader(2)(world), finish_task(world.others[0]); },
                  .operate = give_up});
  list.push_back({.name = "stream: given up, an item has the last ref of another",
                  .prepare = with_worker,
                  .before =
                      [](World& world) {
                        reader(1)(world);
                        const std::vector<ObjectKey> outer = world.keys;
                        submit_stream(world, world.others[0]);
                        yield_item(world.others[0], 100, {world.keys[1]});
                        drop(world.others[0], world.keys[1]);
                        yield_item(world.others[0]);
                        world.keys = outer;
                      },
                  .operate = give_up});
  list.push_back({.name = "stream: cancelled while its maker waits for room",
                  .prepare = with_worker,
                  .before =
                      [](World& world) {
                        reader(1, {.stream_limit = 1})(world);
                        begin_wait(world.others[0], world.keys[1]);
                      },
                  .operate =
                      [](World& world) {
                        change(world.victim, [&](Transaction& transaction, Wakes& wakes) {
                          (void)world.victim.scheduler.cancel(
                              transaction, world.victim.objects[world.keys[0].slot].producer.get(), false, wakes);
                        });
                      }});
}

void add_recoveries(std::vector<Scenario>& list) {
  const auto recover = [](World& world) { rescue(world.victim, world.dead, false); };
  for (const bool retries : {false, true}) {
    list.push_back({.name = retries ? "recovery: who made a stream, the task is tried again"
                                    : "recovery: who made a stream, an error is its end",
                    .prepare =
                        [retries](World& world) {
                          with_stream({.retries = retries ? 1U : 0U, .stream_limit = 2})(world);
                          world.die_after([&](Domain& domain) {
                            start_worker(domain);
                            yield_item(domain), yield_item(domain);
                            begin_wait(domain, world.keys[1]);
                            Transaction transaction(domain.lock);
                            const Index tail = domain.scheduler.tasks[running_task(domain)].first_result.get();
                            (void)domain.objects.reserve(transaction, tail, 200, false);
                          });
                        },
                    .operate = recover});
  }
  list.push_back({.name = "recovery: who read a stream that goes on",
                  .prepare =
                      [](World& world) {
                        with_worker(world);
                        world.die_after([&](Domain& domain) {
                          submit_stream(world, domain, {.stream_limit = 3});
                          start_worker(world.others[0]);
                          for (int i = 0; i < 3; ++i) yield_item(world.others[0]);
                          (void)take_item(domain, world.keys[1]);
                          yield_item(world.others[0]);
                          begin_wait(world.others[0], world.keys[1]);
                        });
                      },
                  .operate = recover});
}

}  // namespace

void add_stream_scenarios(std::vector<Scenario>& list) {
  add_makers(list);
  add_readers(list);
  add_recoveries(list);
}

}  // namespace single_step
