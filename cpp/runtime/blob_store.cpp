#include "runtime/blob_store.hpp"

namespace miniray::runtime {

using store::AllocateResult;

BlobResult BlobStore::reserve(std::uint64_t size_bytes, const std::optional<ObjectId>& id, bool evict, Index& slot,
                              int& system_error) {
  if (size_bytes > domain_.heap.capacity_bytes()) return BlobResult::kTooLarge;
  for (;;) {
    system_error = domain_.objects.slots.ensure_backed(domain_.lock, 1);
    if (system_error == 0) system_error = domain_.heap.ensure_rows(size_bytes);
    if (system_error != 0) return BlobResult::kSystem;
    Transaction transaction(domain_.lock);
    if (id && domain_.objects.find(*id)) return BlobResult::kExists;
    if (id && !domain_.objects.may_name(*id)) return BlobResult::kNoName;
    slot = domain_.objects.create(transaction, ObjectState::kWriting, store::kCached);
    if (slot == kNone) {
      if (!domain_.objects.slots.is_full() || (evict && domain_.objects.evict_one(transaction))) continue;
      return BlobResult::kNoSlot;
    }
    (void)domain_.objects.hold(transaction, domain_.own_entry(), domain_.self(), slot);
    AllocateResult result = domain_.objects.reserve(transaction, slot, size_bytes, false);
    bool evicted = true;
    while (result == AllocateResult::kFull && evicted && evict && transaction.room() > 1024) {
      evicted = domain_.objects.evict_one(transaction);
      if (evicted) result = domain_.objects.reserve(transaction, slot, size_bytes, false);
    }
    if (result == AllocateResult::kDone) break;
    (void)domain_.objects.unhold(transaction, domain_.self(), slot);
    if (result == AllocateResult::kFull && !(evict && evicted)) return BlobResult::kFull;
  }
  const std::uint64_t offset = domain_.objects[slot].offset.get();
  if (offset == 0 || domain_.heap.is_backed(offset, size_bytes)) return BlobResult::kDone;
  system_error = domain_.heap.ensure_backed(offset, size_bytes);
  if (system_error == 0) return BlobResult::kDone;
  discard(slot);
  return BlobResult::kSystem;
}

BlobResult BlobStore::publish(Index slot, const std::optional<ObjectId>& id) {
  Transaction transaction(domain_.lock);
  const bool exists = id && domain_.objects.find(*id);
  if (!exists) {
    if (id) domain_.objects.set_outside_id(transaction, slot, *id);
    (void)domain_.objects.seal(transaction, slot, ObjectState::kSealed);
  }
  (void)domain_.objects.unhold(transaction, domain_.self(), slot);  // frees it when it was not sealed
  return exists ? BlobResult::kExists : BlobResult::kDone;
}

void BlobStore::discard(Index slot) {
  Transaction transaction(domain_.lock);
  (void)domain_.objects.unhold(transaction, domain_.self(), slot);
}

bool BlobStore::contains(ObjectId id) {
  const Transaction transaction(domain_.lock);
  const ObjectKey key = domain_.objects.find(id);
  return key && domain_.objects[key.slot].current_state() == ObjectState::kSealed;
}

bool BlobStore::pin(ObjectId id, Index& slot, store::PayloadView& view) {
  pins_.reserve(pins_.size() + 1);  // nothing allocates inside the section
  Transaction transaction(domain_.lock);
  const ObjectKey key = domain_.objects.find(id);
  if (!key || domain_.objects[key.slot].current_state() != ObjectState::kSealed) return false;
  slot = key.slot;
  view = domain_.objects.view(slot);
  domain_.objects.touch(transaction, slot);
  (void)domain_.objects.pin(transaction, domain_.own_entry(), domain_.self(), slot);
  transaction.close();
  ++pins_[slot];
  return true;
}

void BlobStore::unpin(Index slot) {
  const auto found = pins_.find(slot);
  if (found == pins_.end() || --found->second != 0) return;
  pins_.erase(found);
  Transaction transaction(domain_.lock);
  (void)domain_.objects.unpin(transaction, domain_.self(), slot);
}

bool BlobStore::erase(ObjectId id) {
  Transaction transaction(domain_.lock);
  const ObjectKey key = domain_.objects.find(id);
  if (!key || domain_.objects[key.slot].current_state() != ObjectState::kSealed) return false;
  domain_.objects.free(transaction, key.slot);
  return true;
}

}  // namespace miniray::runtime
