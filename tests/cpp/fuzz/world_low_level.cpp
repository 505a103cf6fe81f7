// world_low_level.cpp - what the low-level classes do with a domain.
#include <cstring>

#include "runtime/task_queue.hpp"
#include "world.hpp"

namespace fuzz {

using miniray::runtime::ObjectState;
using miniray::store::ObjectId;
using miniray::store::PayloadView;
namespace runtime = miniray::runtime;

void World::use_queue() {
  runtime::TaskQueue queue(somebody());
  if (dice_.one_in(2)) {
    const std::byte bytes[400] = {};
    int error = 0;
    (void)queue.submit({1, 2}, {bytes, dice_.below(200)}, {bytes, dice_.below(400)}, error);
    return;
  }
  runtime::TakenTask taken;
  if (!queue.take(taken)) throw Refused{};
  std::vector<std::byte> copy(taken.data, taken.data + taken.function_bytes + taken.argument_bytes);
  queue.release(taken);
}

void World::use_registry() {
  Domain& domain = somebody();
  const std::uint64_t id = dice_.below(10);
  Transaction transaction(domain.lock);
  switch (dice_.below(3)) {
    case 0:
      (void)domain.workers.add(transaction, id);
      break;
    case 1:
      (void)domain.workers.remove(transaction, id);
      break;
    default:
      (void)domain.workers.set_idle(transaction, id, dice_.one_in(2));
  }
}

// What python/objects.cpp put_named() does.
void World::use_outside_id() {
  const ObjectId id{7, dice_.below(20)};
  if (dice_.one_in(2)) {
    Transaction transaction(driver_.lock);
    const ObjectKey found = driver_.objects.find(id);
    if (!found) throw Refused{};
    if (driver_.objects.hold(transaction, driver_.own_entry(), driver_.self(), found.slot)) keys_.push_back(found);
    return;
  }
  const Index slot = begin_object(driver_, dice_.below(200));
  Transaction transaction(driver_.lock);
  if (driver_.objects.find(id)) {
    (void)driver_.objects.unhold(transaction, driver_.self(), slot);
    throw Refused{};
  }
  driver_.objects.set_outside_id(transaction, slot, id);
  (void)driver_.objects.seal(transaction, slot, ObjectState::kSealed);
  keys_.push_back(driver_.objects.key(slot));
}

void World::use_blob_store() {
  const ObjectId id = dice_.one_in(2) || ids_.empty() ? ObjectId{9, dice_.below(30)}
                                                      : ids_[dice_.below(static_cast<std::uint32_t>(ids_.size()))];
  Index slot = kNone;
  PayloadView view;
  int error = 0;
  switch (dice_.below(4)) {
    case 0:
    case 1: {
      const std::uint64_t size_bytes = dice_.below(dice_.one_in(4) ? 60'000 : 300);
      const bool is_named = dice_.one_in(2);
      const auto name = is_named ? std::optional<ObjectId>(id) : std::nullopt;
      if (blobs_.reserve(size_bytes, name, true, slot, error) != runtime::BlobResult::kDone) throw Refused{};
      std::memset(blobs_.writable(slot), 1, size_bytes);
      ids_.push_back(name.value_or(driver_.objects.key(slot).id(driver_.objects.nonce())));
      (void)blobs_.publish(slot, name);
      break;
    }
    case 2:
      if (!blobs_.contains(id) || !blobs_.pin(id, slot, view)) throw Refused{};
      {
        std::vector<std::byte> copy(view.data, view.data + view.size_bytes);
      }
      if (!dice_.one_in(4)) blobs_.unpin(slot);
      break;
    default:
      (void)blobs_.erase(id);
  }
}

void World::step_low_level() {
  switch (dice_.below(9)) {
    case 0:
    case 1:
    case 2:
      return use_blob_store();
    case 3:
    case 4:
      return use_queue();
    case 5:
      return use_registry();
    case 6:
      return give_back();
    case 7:
      return recover();
    default:
      return join_and_leave();
  }
}

}  // namespace fuzz
