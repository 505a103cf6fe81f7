// Objects and their memory: made, read, kept, dropped; the low-level store.
#include "runtime/spilling.hpp"
#include "scenario.hpp"

namespace single_step {

using miniray::runtime::BlobResult;
using miniray::runtime::BlobStore;
using miniray::store::ObjectId;

namespace {

void hold_in(Domain& domain, ObjectKey key) {
  Transaction transaction(domain.lock);
  (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
}

void pin_in(Domain& domain, ObjectKey key) {
  Transaction transaction(domain.lock);
  (void)domain.objects.pin(transaction, domain.own_entry(), domain.self(), key.slot);
}

void unpin_in(Domain& domain, ObjectKey key) {
  Transaction transaction(domain.lock);
  (void)domain.objects.unpin(transaction, domain.self(), key.slot);
}

std::vector<ObjectKey> small_objects(Domain& domain, int count) {
  std::vector<ObjectKey> keys;
  for (int i = 0; i < count; ++i) keys.push_back(put(domain, 16));
  return keys;
}

Index publish_blob(Domain& domain, std::uint64_t size_bytes, std::uint64_t id) {
  BlobStore store(domain);
  Index slot = kNone;
  int error = 0;
  EXPECT(store.reserve(size_bytes, ObjectId{5, id}, true, slot, error) == BlobResult::kDone);
  EXPECT(store.publish(slot, ObjectId{5, id}) == BlobResult::kDone);
  return slot;
}

void add_objects(std::vector<Scenario>& list) {
  list.push_back({.name = "put, inline", .operate = [](World& world) { (void)put(world.victim, 24); }});
  list.push_back({.name = "put, first block of a slab", .operate = [](World& world) { (void)put(world.victim, 300); }});
  list.push_back({.name = "put, last block of a slab",
                  .prepare = [](World& world) { (void)put(world.driver, 5000), (void)put(world.driver, 5000); },
                  .operate = [](World& world) { (void)put(world.victim, 5000); }});
  list.push_back({.name = "put, run of pages", .operate = [](World& world) { (void)put(world.victim, 20'000); }});
  list.push_back({.name = "put, part of a free run",
                  .prepare =
                      [](World& world) {
                        const ObjectKey key = put(world.driver, 30'000);
                        (void)put(world.driver, 9000);
                        drop(world.driver, key);
                      },
                  .operate = [](World& world) { (void)put(world.victim, 12'000); }});
  list.push_back({.name = "put of references",
                  .prepare = [](World& world) { world.keys = small_objects(world.driver, 3); },
                  .operate = [](World& world) { (void)put(world.victim, 64, world.keys); }});
  list.push_back({.name = "drop, inline",
                  .before = [](World& world) { world.keys = {put(world.victim, 24)}; },
                  .operate = [](World& world) { drop(world.victim, world.keys[0]); }});
  list.push_back({.name = "drop, of a full slab",
                  .before =
                      [](World& world) {
                        for (int i = 0; i < 3; ++i) world.keys.push_back(put(world.victim, 5000));
                      },
                  .operate =
                      [](World& world) {
                        for (const ObjectKey key : world.keys) drop(world.victim, key);
                      }});
  list.push_back({.name = "drop, run between free runs",
                  .before =
                      [](World& world) {
                        for (int i = 0; i < 4; ++i) world.keys.push_back(put(world.victim, 10'000));
                        drop(world.victim, world.keys[0]);
                        drop(world.victim, world.keys[2]);
                      },
                  .operate = [](World& world) { drop(world.victim, world.keys[1]); }});
  list.push_back({.name = "drop, run at the wilderness",
                  .before =
                      [](World& world) {
                        for (int i = 0; i < 2; ++i) world.keys.push_back(put(world.victim, 10'000));
                        drop(world.victim, world.keys[0]);
                      },
                  .operate = [](World& world) { drop(world.victim, world.keys[1]); }});
  list.push_back({.name = "drop of references in two steps",
                  .before =
                      [](World& world) {
                        const std::vector<ObjectKey> inside = small_objects(world.victim, 40);
                        std::vector<ObjectKey> twice = inside;
                        twice.insert(twice.end(), inside.begin(), inside.end());
                        world.keys = {put(world.victim, 800, twice)};
                        for (const ObjectKey key : inside) drop(world.victim, key);
                      },
                  .operate = [](World& world) { drop(world.victim, world.keys[0]); }});
  list.push_back({.name = "drop of references within references",
                  .before =
                      [](World& world) {
                        const ObjectKey inner = put(world.victim, 64, small_objects(world.victim, 2));
                        const ObjectKey outer = put(world.victim, 64, {inner});
                        drop(world.victim, inner);
                        world.keys = {outer};
                      },
                  .operate = [](World& world) { drop(world.victim, world.keys[0]); }});
  list.push_back({.name = "put given up",
                  .prepare = [](World& world) { world.keys = small_objects(world.driver, 3); },
                  .before =
                      [](World& world) {
                        world.slot = begin_object(world.victim, 400);
                        Transaction transaction(world.victim.lock);
                        for (const ObjectKey key : world.keys) world.victim.objects.add_contained(transaction, world.slot, key);
                      },
                  .operate =
                      [](World& world) {
                        Transaction transaction(world.victim.lock);
                        world.victim.objects.discard_payload(transaction, world.slot);
                        (void)world.victim.objects.unhold(transaction, world.victim.self(), world.slot);
                      }});
  list.push_back({.name = "hold and unhold",
                  .prepare = [](World& world) { world.keys = {put(world.driver, 300)}; },
                  .operate =
                      [](World& world) {
                        hold_in(world.victim, world.keys[0]);
                        drop(world.victim, world.keys[0]);
                      }});
  list.push_back({.name = "pin and unpin",
                  .prepare = [](World& world) { world.keys = {put(world.driver, 300)}; },
                  .operate =
                      [](World& world) {
                        pin_in(world.victim, world.keys[0]);
                        unpin_in(world.victim, world.keys[0]);
                      }});
  list.push_back({.name = "last reference and last pin",
                  .before = [](World& world) { world.keys = {put(world.victim, 300)}; },
                  .operate =
                      [](World& world) {
                        pin_in(world.victim, world.keys[0]);
                        drop(world.victim, world.keys[0]);
                        unpin_in(world.victim, world.keys[0]);
                      }});
  list.push_back({.name = "memory from empty slabs when the heap is full",
                  .prepare =
                      [](World& world) {
                        // Two empty slabs beside pages in use, and no wilderness.
                        std::vector<ObjectKey> small;
                        for (const std::uint64_t size : {300, 1500}) small.push_back(put(world.driver, size));
                        (void)put(world.driver, 36 * kPage);
                        for (const ObjectKey key : small) drop(world.driver, key);
                      },
                  .operate =
                      [](World& world) {
                        world.slot = begin_object(world.victim, 24);
                        const auto result = miniray::runtime::try_reserve_payload(world.victim, world.slot, 6 * kPage);
                        (void)result;
                        end_object(world.victim, world.slot, {});
                      }});
}

void add_blobs(std::vector<Scenario>& list) {
  list.push_back({.name = "blob: reserve and publish",
                  .prepare = [](World& world) { (void)publish_blob(world.driver, 500, 1); },
                  .operate = [](World& world) { (void)publish_blob(world.victim, 500, 2); }});
  list.push_back({.name = "blob: somebody else was faster",
                  .before =
                      [](World& world) {
                        BlobStore store(world.victim);
                        int error = 0;
                        EXPECT(store.reserve(500, ObjectId{5, 1}, true, world.slot, error) == BlobResult::kDone);
                        (void)publish_blob(world.driver, 500, 1);
                      },
                  .operate =
                      [](World& world) {
                        BlobStore store(world.victim);
                        EXPECT(store.publish(world.slot, ObjectId{5, 1}) == BlobResult::kExists);
                      }});
  list.push_back({.name = "blob: reserve and discard", .operate = [](World& world) {
                    BlobStore store(world.victim);
                    int error = 0;
                    EXPECT(store.reserve(500, std::nullopt, true, world.slot, error) == BlobResult::kDone);
                    store.discard(world.slot);
                  }});
  list.push_back({.name = "blob: look, pin, unpin",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t id : {1, 2, 3}) (void)publish_blob(world.driver, 500, id);
                      },
                  .operate =
                      [](World& world) {
                        BlobStore store(world.victim);
                        EXPECT(store.contains({5, 2}) && !store.contains({5, 9}));
                        miniray::store::PayloadView view;
                        EXPECT(store.pin({5, 2}, world.slot, view));
                        store.unpin(world.slot);
                      }});
  list.push_back({.name = "blob: erase while pinned",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t id : {1, 2}) (void)publish_blob(world.driver, 500, id);
                      },
                  .operate =
                      [](World& world) {
                        BlobStore store(world.victim);
                        miniray::store::PayloadView view;
                        EXPECT(store.pin({5, 1}, world.slot, view));
                        EXPECT(store.erase({5, 1}));
                        store.unpin(world.slot);
                      }});
  list.push_back({.name = "blob: eviction makes room",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t id = 1; id < 5; ++id) (void)publish_blob(world.driver, 11 * kPage, id);
                      },
                  .operate = [](World& world) { (void)publish_blob(world.victim, 20 * kPage, 9); }});
  list.push_back({.name = "blob: eviction makes a row",
                  .prepare =
                      [](World& world) {
                        for (std::uint64_t id = 1; id <= 100; ++id) (void)publish_blob(world.driver, 8, id);
                      },
                  .operate = [](World& world) { (void)publish_blob(world.victim, 8, 200); }});
}

}  // namespace

void add_store_scenarios(std::vector<Scenario>& list) {
  add_objects(list);
  add_blobs(list);
}

}  // namespace single_step
