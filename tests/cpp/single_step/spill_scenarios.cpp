// The spill file: objects on their way to it, payloads made in it, places given back.
#include "runtime/spilling.hpp"
#include "scenario.hpp"

namespace single_step {

using miniray::runtime::ReserveResult;
namespace runtime = miniray::runtime;

namespace {

void spills(DomainConfig& config) { config.spill_bytes = 100 * kPage; }
void spills_little(DomainConfig& config) { config.spill_bytes = 20 * kPage; }

// An object whose payload lies in the spill file.
void fill_heap(World& world, Domain& domain, std::uint64_t pages) {
  const ObjectKey key = put(domain, 16);
  world.keys.push_back(put(domain, pages * kPage - 8, {key}));
  drop(domain, key);
}

void pin(Domain& domain, ObjectKey key) {
  Transaction transaction(domain.lock);
  (void)domain.objects.pin(transaction, domain.own_entry(), domain.self(), key.slot);
}

void reserve_and_seal(World& world) {
  Domain& domain = world.victim;
  const Index slot = begin_object(domain, 0);
  const runtime::Reservation found = runtime::reserve_payload(domain, slot, {12 * kPage});
  if (found.result == ReserveResult::kInFile) {
    runtime::PayloadWindow window;
    std::byte* payload = window.open(domain, slot);
    EXPECT(payload != nullptr);
    std::memset(payload, 1, 64);
    window.finish(domain, slot);
  } else {
    EXPECT(found.result == ReserveResult::kInHeap);
  }
  end_object(domain, slot, {});
}

// The file is shorter than its places: as a full disk, the rest cannot be reserved.
void make_disk_full(World& world) {
  fill_heap(world, world.driver, 40);
  pin(world.driver, world.keys[0]);
  platform::close_descriptor(world.spill_file);
  world.spill_file = platform::create_anonymous_file("single-step-spill", 2 * kPage);
  EXPECT(world.spill_file >= 0);
}

}  // namespace

void add_spill_scenarios(std::vector<Scenario>& list) {
  list.push_back({.name = "spill of two objects",
                  .prepare = [](World& world) { fill_heap(world, world.driver, 3), fill_heap(world, world.driver, 2); },
                  .operate = [](World& world) { (void)runtime::make_room(world.victim, 5 * kPage); },
                  .configure = spills});
  list.push_back({.name = "spill that a reader stops",
                  .prepare = [](World& world) { fill_heap(world, world.driver, 2); },
                  .operate =
                      [](World& world) {
                        Domain& domain = world.victim;
                        EXPECT(domain.spill.ensure_rows(5 * kPage) == 0);
                        miniray::store::SpillVictim victims[4];
                        std::uint32_t count = 0;
                        {
                          Transaction transaction(domain.lock);
                          (void)domain.objects.begin_spill(transaction, domain.own_entry(), kPage, victims, 4, count);
                        }
                        EXPECT(count == 1);
                        pin(domain, victims[0].key);
                        victims[0].is_written = true;
                        Transaction transaction(domain.lock);
                        EXPECT(!domain.objects.end_spill(transaction, domain.own_entry(), victims[0]));
                      },
                  .configure = spills});
  list.push_back({.name = "spilled object dropped, its place given back",
                  .before =
                      [](World& world) {
                        fill_heap(world, world.victim, 3);
                        fill_heap(world, world.victim, 3);
                        (void)runtime::make_room(world.victim, 6 * kPage);
                      },
                  .operate =
                      [](World& world) {
                        for (const ObjectKey key : world.keys) drop(world.victim, key);
                        world.victim.discard_freed_places(0xFFFFFFFF);
                      },
                  .configure = spills});
  list.push_back({.name = "reserve: others' objects are spilled first",
                  .prepare = [](World& world) { fill_heap(world, world.driver, 20), fill_heap(world, world.driver, 20); },
                  .operate = reserve_and_seal,
                  .configure = spills});
  list.push_back({.name = "reserve: the payload goes to the file",
                  .prepare =
                      [](World& world) {
                        fill_heap(world, world.driver, 40);
                        pin(world.driver, world.keys[0]);
                      },
                  .operate = reserve_and_seal,
                  .configure = spills});
  list.push_back({.name = "reserve in the file with references, given up",
                  .prepare =
                      [](World& world) {
                        drop(world.driver, put(world.driver, 300));  // the heap has pages now
                        world.keys = {put(world.driver, 16), put(world.driver, 16)};
                      },
                  .operate =
                      [](World& world) {
                        Domain& domain = world.victim;
                        const Index slot = begin_object(domain, 0);
                        EXPECT(domain.spill.ensure_rows(2 * kPage) == 0);
                        {
                          Transaction transaction(domain.lock);
                          EXPECT(domain.objects.reserve_in_file(transaction, slot, 2 * kPage + 16, 2) ==
                                 miniray::store::AllocateResult::kDone);
                        }
                        Transaction transaction(domain.lock);
                        for (const ObjectKey key : world.keys) domain.objects.add_contained(transaction, slot, key);
                        transaction.commit();
                        domain.objects.set_checksum(transaction, slot, 77);
                        transaction.commit();
                        domain.objects.discard_payload(transaction, slot);
                        (void)domain.objects.unhold(transaction, domain.self(), slot);
                      },
                  .configure = spills});
  list.push_back({.name = "reserve: the disk is full",
                  .prepare = make_disk_full,
                  .operate =
                      [](World& world) {
                        const Index slot = begin_object(world.victim, 0);
                        EXPECT((runtime::reserve_payload(world.victim, slot, {12 * kPage}).result == ReserveResult::kDiskFull));
                      },
                  .configure = spills,
                  .is_long = true});
  list.push_back({.name = "write through the file: no room after all",
                  .prepare = [](World&) {},
                  .operate =
                      [](World& world) {
                        Domain& domain = world.victim;
                        const Index slot = begin_object(domain, 0);
                        EXPECT(runtime::try_reserve_payload(domain, slot, 64).result == ReserveResult::kInHeap ||
                               (runtime::reserve_payload(domain, slot, {2 * kPage}).result == ReserveResult::kInHeap));
                        runtime::FreshWriter writer;
                        writer.begin(domain, slot);
                        writer.write(std::uint64_t{1} << 63, &domain, 8);  // no file is that long
                        EXPECT(writer.finish(domain, slot) != 0);
                      },
                  .configure = spills});
  list.push_back({.name = "reserve in the file: no place",
                  .prepare =
                      [](World& world) {
                        fill_heap(world, world.driver, 12);
                        (void)runtime::make_room(world.driver, 12 * kPage);
                      },
                  .operate =
                      [](World& world) {
                        Domain& domain = world.victim;
                        const Index slot = begin_object(domain, 0);
                        EXPECT(domain.spill.ensure_rows(12 * kPage) == 0);
                        Transaction transaction(domain.lock);
                        EXPECT(domain.objects.reserve_in_file(transaction, slot, 12 * kPage, 0) ==
                               miniray::store::AllocateResult::kFull);
                      },
                  .configure = spills_little});
}

}  // namespace single_step
