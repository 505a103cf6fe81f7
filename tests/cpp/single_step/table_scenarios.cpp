// Tables that grow and shrink, processes that come and go, the low-level queue and its registry.
#include "scenario.hpp"

namespace single_step {

using miniray::runtime::SubmitResult;
using miniray::runtime::TaskQueue;

namespace {

void has_many_chunks(DomainConfig& config) { config.object_capacity = 6 * 2048 + 100; }

void registers_workers(DomainConfig& config) { config.registered_worker_capacity = 8; }

void submit_low_level(Domain& domain, std::uint64_t tag, std::uint64_t size) {
  const std::vector<std::byte> bytes(size);
  int error = 0;
  EXPECT(TaskQueue(domain).submit({3, tag}, {bytes.data(), 8}, {bytes.data(), size}, error) == SubmitResult::kDone);
}

void take_low_level(World& world, Domain& domain) {
  TaskQueue queue(domain);
  EXPECT(queue.take(world.taken));
  queue.release(world.taken);
}

// Rows of the object table, taken until `count` are in use, by nobody's doing but the driver's.
std::vector<ObjectKey> take_rows(Domain& domain, std::uint32_t count) {
  std::vector<ObjectKey> keys;
  while (keys.size() < count) {
    EXPECT(domain.objects.slots.ensure_backed(domain.lock, 1) == 0);
    Transaction transaction(domain.lock);
    const Index slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
    if (slot == kNone) continue;
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot);
    keys.push_back(domain.objects.key(slot));
  }
  return keys;
}

void change(Domain& domain, const std::function<void(Transaction&)>& work) {
  Transaction transaction(domain.lock);
  work(transaction);
}

void add_tables(std::vector<Scenario>& list) {
  list.push_back(
      {.name = "slots: last row of a chunk taken and put back",
       .prepare = [](World& world) { world.keys = take_rows(world.driver, 99); },
       .operate =
           [](World& world) {
             Domain& domain = world.victim;
             const Index slot = begin_object(domain, 8);
             change(domain, [&](Transaction& transaction) { (void)domain.objects.unhold(transaction, domain.self(), slot); });
           }});
  list.push_back({.name = "slots: another chunk is backed",
                  .prepare = [](World& world) { world.keys = take_rows(world.driver, 2047); },
                  .operate =
                      [](World& world) {
                        world.slot = begin_object(world.victim, 8);
                        end_object(world.victim, world.slot, {});
                      },
                  .configure = has_many_chunks});
  list.push_back({.name = "slots: chunks given back to the system",
                  .prepare =
                      [](World& world) {
                        for (const ObjectKey key : take_rows(world.driver, 6 * 2048)) drop(world.driver, key);
                      },
                  .operate = [](World& world) { EXPECT(world.victim.trim() != 0); },
                  .configure = has_many_chunks,
                  .is_long = true});
  list.push_back({.name = "heap: memory given back to the system",
                  .prepare =
                      [](World& world) {
                        const ObjectKey key = put(world.driver, 30 * kPage);
                        drop(world.driver, key);
                        world.driver.begin_heap_trim();  // it was used since the last time
                      },
                  .operate =
                      [](World& world) {
                        world.victim.begin_heap_trim();
                        EXPECT(world.victim.trim_heap() != 0);
                        while (world.victim.trim_heap() != 0) {
                        }
                        const Index slot = begin_object(world.victim, 30 * kPage);
                        end_object(world.victim, slot, {});
                      }});
}

void add_processes(std::vector<Scenario>& list) {
  list.push_back({.name = "attach", .operate = [](World& world) { world.attach(world.victim); }, .attaches_itself = true});
  list.push_back({.name = "detach",
                  .before =
                      [](World& world) {
                        for (const std::uint64_t size : {16, 300, 9000}) world.keys.push_back(put(world.victim, size));
                        (void)put(world.victim, 64, world.keys);
                        Transaction transaction(world.victim.lock);
                        (void)world.victim.objects.pin(transaction, world.victim.own_entry(), world.victim.self(),
                                                       world.keys[1].slot);
                      },
                  .operate = [](World& world) { world.victim.detach(); }});
}

void add_low_level(std::vector<Scenario>& list) {
  list.push_back({.name = "queue: submit, inline", .operate = [](World& world) {
                    for (std::uint64_t tag : {1, 2}) submit_low_level(world.victim, tag, 40);
                  }});
  list.push_back({.name = "queue: submit an object", .operate = [](World& world) { submit_low_level(world.victim, 1, 700); }});
  list.push_back({.name = "queue: take, inline",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t tag : {1, 2}) submit_low_level(world.driver, tag, 40);
                      },
                  .operate = [](World& world) { take_low_level(world, world.victim); }});
  list.push_back({.name = "queue: take an object and read it",
                  .prepare = [](World& world) { submit_low_level(world.driver, 1, 700); },
                  .operate = [](World& world) { take_low_level(world, world.victim); }});
  list.push_back({.name = "queue: no task row for an object",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t tag = 0; tag < 60; ++tag) submit_low_level(world.driver, tag, 8);
                      },
                  .operate =
                      [](World& world) {
                        const std::vector<std::byte> bytes(400);
                        int error = 0;
                        EXPECT(TaskQueue(world.victim).submit({3, 1}, {bytes.data(), 8}, {bytes.data(), 400}, error) ==
                               SubmitResult::kFullTable);
                      }});
  list.push_back({.name = "registry: add, busy, idle, remove",
                  .prepare =
                      [](World& world) {
                        for (const std::uint64_t id : {1, 2, 3, 4, 5})
                          change(world.driver,
                                 [&](Transaction& transaction) { (void)world.driver.workers.add(transaction, id); });
                      },
                  .operate =
                      [](World& world) {
                        auto& workers = world.victim.workers;
                        change(world.victim, [&](Transaction& transaction) { (void)workers.add(transaction, 6); });
                        change(world.victim, [&](Transaction& transaction) { (void)workers.set_idle(transaction, 6, false); });
                        change(world.victim, [&](Transaction& transaction) { (void)workers.set_idle(transaction, 6, true); });
                        for (const std::uint64_t id : {1, 2, 3, 4, 5, 6})
                          change(world.victim, [&](Transaction& transaction) { (void)workers.remove(transaction, id); });
                      },
                  .configure = registers_workers});
}

}  // namespace

void add_table_scenarios(std::vector<Scenario>& list) {
  add_tables(list);
  add_processes(list);
  add_low_level(list);
}

}  // namespace single_step
