#include "store/object_table.hpp"

#include <atomic>
#include <bit>
#include <cstring>
#include <initializer_list>

namespace miniray::store {

namespace {
constexpr std::uint32_t kReclaimBatch = 64;
constexpr std::uint64_t kLargestSpilledPairs = 64 << 10;  // copied under the lock when their object is spilled
constexpr std::uint32_t as_word(ObjectState state) noexcept { return static_cast<std::uint32_t>(state); }
}  // namespace

ObjectId ObjectTable::id(Index slot) const {
  const ObjectEntry& entry = slots[slot];
  if (entry.flags.get() & kOutsideId) return {entry.id_high.get(), entry.id_low.get()};
  return key(slot).id(nonce_);
}

ObjectKey ObjectTable::find(ObjectId id) const {
  if (id.high == nonce_) {
    const ObjectKey key = own_key(id);
    if (is_current(key) && !slots[key.slot].has(kOutsideId)) return key;  // an object has one id
  }
  debug::WalkLimit limit(slots.capacity(), "objects: a chain of the index of outside ids has a cycle");
  for (Index slot = buckets_[id.hash() & bucket_mask_].get(); slot != kNone; slot = slots[slot].hash_next.get()) {
    limit.step();
    const ObjectEntry& entry = slots[slot];
    MINIRAY_SOUND(entry.has(kOutsideId) && !entry.is_free(), "objects: the index of outside ids names a row without one");
    if (entry.id_high.get() == id.high && entry.id_low.get() == id.low) return key(slot);
  }
  return {};
}

bool ObjectTable::may_name(ObjectId id) const {
  if (id.high != nonce_) return true;
  const ObjectKey key = own_key(id);
  if (key.slot == kNone || key.slot > slots.capacity()) return false;
  return key.generation < slots.generation_floor(key.slot) ||
         (slots.is_valid_index(key.slot) && key.generation < slots[key.slot].generation.get());
}

// --- life ----------------------------------------------------------------------------------------------------------

Index ObjectTable::create(Transaction& transaction, ObjectState state, std::uint32_t flags) {
  const Index slot = slots.take(transaction);
  if (slot == kNone) return kNone;
  ObjectEntry& entry = slots[slot];
  transaction.set(entry.state, as_word(state));
  if (const std::uint32_t floor = slots.generation_floor(slot); entry.generation.get() < floor) {
    transaction.set(entry.generation, floor);
  }
  Transaction::init(entry.references, 0);
  Transaction::init(entry.pins, 0);
  Transaction::init(entry.flags, flags);
  Transaction::init(entry.waiters, kNone);
  Transaction::init(entry.producer, kNone);
  Transaction::init(entry.next_result, kNone);
  Transaction::init(entry.contained_count, 0);
  Transaction::init(entry.maker, 0);
  Transaction::init(entry.offset, 0);
  Transaction::init(entry.size_bytes, 0);
  return slot;
}

void ObjectTable::set_outside_id(Transaction& transaction, Index slot, ObjectId id) {
  ObjectEntry& entry = slots[slot];
  transaction.set(entry.flags, entry.flags.get() | kOutsideId);
  transaction.set(entry.id_high, id.high);
  transaction.set(entry.id_low, id.low);
  Cell<Index>& bucket = buckets_[id.hash() & bucket_mask_];
  transaction.set(entry.hash_next, bucket.get());
  transaction.set(bucket, slot);
}

void ObjectTable::hash_remove(Transaction& transaction, Index slot) {
  const ObjectEntry& entry = slots[slot];
  const ObjectId id{entry.id_high.get(), entry.id_low.get()};
  Cell<Index>* link = &buckets_[id.hash() & bucket_mask_];
  debug::WalkLimit limit(slots.capacity(), "objects: a chain of the index of outside ids has a cycle");
  for (Index next = link->get(); next != slot; next = link->get()) {
    limit.step();
    link = &slots[next].hash_next;  // also ends where the chain does: no row has the number kNone
  }
  transaction.set(*link, entry.hash_next.get());
}

AllocateResult ObjectTable::reserve(Transaction& transaction, Index slot, std::uint64_t size_bytes, bool fresh, bool may_grow) {
  ObjectEntry& entry = slots[slot];
  std::uint64_t offset = 0;
  if (size_bytes > kInlineBytes) {
    const AllocateResult result = heap_->allocate(transaction, size_bytes, offset, may_grow);
    if (result != AllocateResult::kDone) return result;
  }
  if (fresh) {
    Transaction::init(entry.offset, offset);
    Transaction::init(entry.size_bytes, size_bytes);
  } else {
    transaction.set(entry.offset, offset);
    transaction.set(entry.size_bytes, size_bytes);
  }
  return AllocateResult::kDone;
}

void ObjectTable::add_contained(Transaction& transaction, Index slot, ObjectKey target) {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t count = entry.contained_count.get();
  const std::uint64_t size_bytes = heap_bytes(entry);
  MINIRAY_SOUND(8ULL * count + 8 <= size_bytes, "objects: more references than the payload has room for");
  const std::uint32_t pair[] = {target.slot, target.generation};
  std::memcpy(payload_for_write(slot) + size_bytes - 8ULL * (count + 1ULL), pair, sizeof(pair));
  transaction.set(entry.contained_count, count + 1);
  add_reference(transaction, target.slot);
}

const std::byte* ObjectTable::contained_end(const ObjectEntry& entry) const {
  const std::uint64_t offset = entry.offset.get();
  const std::uint64_t size_bytes = heap_bytes(entry);
  MINIRAY_SOUND(has_sound_place(offset, size_bytes) && 8ULL * entry.contained_count.get() <= size_bytes,
                "objects: a payload lies outside, or has more references than room");
  return (offset == 0 ? entry.inline_bytes : heap_read_ + offset) + size_bytes;
}

// Reference number `position` of those that end there; the payload is as aligned as whoever wrote the row's size wanted it.
ObjectKey ObjectTable::pair_before(const std::byte* end, std::uint64_t position) const noexcept {
  std::uint32_t pair[2];
  std::memcpy(pair, end - 8 * (position + 1), sizeof(pair));
  return {pair[0], pair[1]};
}

// Of a spilled object: the block of its contained references.
std::byte* ObjectTable::payload_for_write(Index slot) const {
  ObjectEntry& entry = slots[slot];
  const std::uint64_t offset = entry.offset.get();
  MINIRAY_SOUND(has_sound_place(offset, heap_bytes(entry)), "objects: a payload lies outside");
  return offset == 0 ? entry.inline_bytes : heap_write_ + offset;
}

Index ObjectTable::seal(Transaction& transaction, Index slot, ObjectState state) {
  ObjectEntry& entry = slots[slot];
  transaction.set(entry.seal_sequence, transaction.sequence());
  transaction.set(entry.state, as_word(state));  // [O7]
  if (entry.producer.get() != kNone) transaction.set(entry.producer, kNone);
  const Index waiters = entry.waiters.get();
  if (waiters != kNone) transaction.set(entry.waiters, kNone);
  list_if_may_go(transaction, slot);
  return waiters;
}

void ObjectTable::drop_reference(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t references = entry.references.get();
  MINIRAY_SOUND(references > 0, "objects: a reference count below zero");
  transaction.set(entry.references, references - 1);
  if (references > 1) return;
  if (entry.has(kHandle)) {
    if (entry.has(kDropped)) return;
    transaction.set(entry.flags, entry.flags.get() | kDropped);
    transaction.set(entry.next_free, header_->dropped_head.get());
    transaction.set(header_->dropped_head, slot);
    return;
  }
  const ObjectState state = entry.current_state();
  if (state == ObjectState::kPending || entry.producer.get() != kNone) return;  // O4
  if (state == ObjectState::kSealed && entry.has(kCached)) return;              // O3
  free(transaction, slot);
}

void ObjectTable::take_dropped(Transaction& transaction) {
  ObjectEntry& entry = slots[header_->dropped_head.get()];
  transaction.set(header_->dropped_head, entry.next_free.get());
  transaction.set(entry.flags, entry.flags.get() & ~std::uint32_t{kDropped});
}

void ObjectTable::free(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t state = entry.state.get();
  MINIRAY_SOUND(state != as_word(ObjectState::kFree) && state < as_word(ObjectState::kReclaiming),
                "objects: one that is free is freed again");
  if (entry.has(kListed)) list_remove(transaction, slot);
  if (entry.has(kOutsideId)) {
    hash_remove(transaction, slot);
    transaction.set(entry.flags, entry.flags.get() & ~std::uint32_t{kOutsideId});
  }
  transaction.set(entry.generation, entry.generation.get() + 1);
  if (entry.contained_count.get() != 0) {
    transaction.set(entry.state, as_word(ObjectState::kReclaiming));
    transaction.set(entry.next_free, header_->reclaim_head.get());
    transaction.set(header_->reclaim_head, slot);
  } else {
    release_row(transaction, slot);
  }
}

// Gives back what the row has in heap and spill file.
void ObjectTable::release_payload(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  if (entry.offset.get() != 0) heap_->free(transaction, entry.offset.get(), heap_bytes(entry));
  if (entry.has(kSpilled)) {
    spill_->free(transaction, entry.spill_place().offset.get(), entry.spill_place().value_bytes.get());
    transaction.set(entry.flags, entry.flags.get() & ~std::uint32_t{kSpilled});
  }
  transaction.set(entry.offset, 0);
}

// Nothing refers to it; with the last pin it goes.
void ObjectTable::release_row(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  if (entry.pins.get() != 0) {
    transaction.set(entry.state, as_word(ObjectState::kOrphaned));
    return;
  }
  release_payload(transaction, slot);
  transaction.set(entry.state, as_word(ObjectState::kFree));
  slots.put(transaction, slot);
}

bool ObjectTable::reclaim_step(Transaction& transaction) {
  const Index slot = header_->reclaim_head.get();
  if (slot == kNone) return false;
  ObjectEntry& entry = slots[slot];
  MINIRAY_SOUND(entry.current_state() == ObjectState::kReclaiming, "objects: the reclaim list holds an object that is in use");
  std::uint32_t left = entry.contained_count.get();
  const std::byte* end = contained_end(entry);
  const Index next = entry.next_free.get();
  // Off the list while its references go: those may put other objects on it.
  transaction.set(header_->reclaim_head, next);
  const std::uint32_t first_left = left;
  std::uint32_t done = 0;
  while (left > 0 && done < kReclaimBatch && transaction.room() > 256) {
    drop_reference(transaction, pair_before(end, left - 1).slot);
    --left;
    ++done;
  }
  if (left != first_left) transaction.set(entry.contained_count, left);
  if (left > 0) {
    transaction.set(entry.next_free, header_->reclaim_head.get());
    transaction.set(header_->reclaim_head, slot);
  } else {
    release_row(transaction, slot);
  }
  return header_->reclaim_head.get() != kNone;
}

void ObjectTable::discard_payload(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  if (entry.current_state() != ObjectState::kPending && entry.current_state() != ObjectState::kWriting) return;
  for (std::uint32_t left = entry.contained_count.get(); left > 0; --left) {
    if (transaction.room() < 256) transaction.commit();
    const Index target = pair_before(contained_end(entry), left - 1).slot;
    transaction.set(entry.contained_count, left - 1);
    drop_reference(transaction, target);
  }
  release_payload(transaction, slot);
  transaction.set(entry.size_bytes, 0);
}

// --- reading -------------------------------------------------------------------------------------------------------

PayloadView ObjectTable::view(Index slot) const {
  PayloadView view;
  std::uint64_t offset = 0;
  MINIRAY_SOUND(read_view(slots[slot], view, offset), "objects: a payload lies outside");
  return view;
}

bool ObjectTable::read_view(const ObjectEntry& entry, PayloadView& view, std::uint64_t& offset) const noexcept {
  offset = entry.offset.get();
  view.is_spilled = entry.has(kSpilled);
  view.in_heap = offset != 0 || view.is_spilled;
  view.size_bytes = entry.size_bytes.get();
  view.contained_count = entry.contained_count.get();
  view.is_error = entry.current_state() == ObjectState::kError;
  view.data = nullptr;
  if (8ULL * view.contained_count > view.size_bytes) return false;
  if (view.is_spilled) {
    const std::uint64_t place = entry.spill_place().offset.get();
    if (spill_read_ == nullptr || !spill_->is_valid_range(place, view.value_bytes())) return false;
    view.data = spill_read_ + place;
  } else {
    if (!has_sound_place(offset, view.size_bytes)) return false;
    view.data = offset == 0 ? entry.inline_bytes : heap_read_ + offset;
  }
  return true;
}

bool ObjectTable::try_copy(ObjectKey key, const PayloadView& view, std::byte* destination) const {
  const ObjectEntry& entry = slots[key.slot];
  std::memcpy(destination, view.data, view.value_bytes());
  std::atomic_thread_fence(std::memory_order_acquire);
  // A sealed payload leaves its place only for the spill file, and with the object's end. [X4]
  return !view.is_spilled && entry.generation.get() == key.generation && !entry.has(kSpilled);
}

ObjectTable::ReadResult ObjectTable::try_read(shm::Lock& lock, ObjectKey key, PayloadView& result) const {
  if (key.slot == kNone || key.slot > slots.capacity()) return ReadResult::kGone;
  const ObjectEntry& entry = slots[key.slot];
  const std::uint32_t state = entry.state.get();
  if (entry.generation.get() != key.generation || state == as_word(ObjectState::kFree)) return ReadResult::kGone;
  if (state != as_word(ObjectState::kSealed) && state != as_word(ObjectState::kError)) return ReadResult::kNotReady;
  if (lock.block().committed.load_acquire() < entry.seal_sequence.get()) return ReadResult::kNotReady;  // [L6]
  if (entry.state.get() != state) return ReadResult::kNotReady;                                         // undone in between
  bool is_sound = false;
  std::uint64_t offset = 0;
  do {
    is_sound = read_view(entry, result, offset);
  } while (entry.has(kSpilled) != result.is_spilled || entry.offset.get() != offset);  // spill.cpp [X4]
  if (is_sound) [[likely]]
    return ReadResult::kReady;
  const shm::Transaction transaction(lock);
  if (!is_current(key)) return ReadResult::kGone;
  if (entry.state.get() != state) return ReadResult::kNotReady;
  result = view(key.slot);
  return ReadResult::kReady;
}

ObjectKey ObjectTable::contained(Index slot, std::uint32_t position) const {
  return pair_before(contained_end(slots[slot]), position);
}

// --- objects that may go -------------------------------------------------------------------------------------------

bool ObjectTable::may_go(const ObjectEntry& entry) const {
  if (entry.current_state() != ObjectState::kSealed) return false;
  if (entry.has(kCached)) return true;
  if (entry.offset.get() == 0 || entry.pins.get() != 0 || (entry.flags.get() & (kOutsideId | kSpilled)) != 0) return false;
  const std::uint64_t pair_bytes = 8ULL * entry.contained_count.get();
  return pair_bytes <= kLargestSpilledPairs && 2 * pair_bytes <= entry.size_bytes.get();
}

void ObjectTable::list_if_may_go(Transaction& transaction, Index slot) {
  const ObjectEntry& entry = slots[slot];
  if (!entry.has(kListed) && may_go(entry)) list_append(transaction, slot);
}

void ObjectTable::list_append(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  const Index newest = header_->newest.get();
  transaction.set(entry.flags, entry.flags.get() | kListed);
  transaction.set(entry.older, newest);
  transaction.set(entry.newer, kNone);
  transaction.set(newest != kNone ? slots[newest].newer : header_->oldest, slot);
  transaction.set(header_->newest, slot);
  transaction.add(header_->listed_count, 1);
}

void ObjectTable::list_remove(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  const Index older = entry.older.get();
  const Index newer = entry.newer.get();
  Cell<Index>& from_older = older != kNone ? slots[older].newer : header_->oldest;
  Cell<Index>& from_newer = newer != kNone ? slots[newer].older : header_->newest;
  MINIRAY_SOUND(from_older.get() == slot && from_newer.get() == slot, "objects: the list of those that may go is torn");
  transaction.set(entry.flags, entry.flags.get() & ~std::uint32_t{kListed});
  transaction.set(from_older, newer);
  transaction.set(from_newer, older);
  transaction.add(header_->listed_count, static_cast<std::uint32_t>(-1));
}

void ObjectTable::touch(Transaction& transaction, Index slot) {
  if (!slots[slot].has(kCached) || !slots[slot].has(kListed) || header_->newest.get() == slot) return;
  list_remove(transaction, slot);
  list_append(transaction, slot);
}

bool ObjectTable::evict_one(Transaction& transaction) {
  debug::WalkLimit limit(slots.capacity(), "objects: the list of those that may go has a cycle");
  for (Index slot = header_->oldest.get(); slot != kNone; slot = slots[slot].newer.get()) {
    limit.step();
    if (slots[slot].pins.get() != 0 || slots[slot].references.get() != 0) continue;
    free(transaction, slot);
    return true;
  }
  return false;
}

}  // namespace miniray::store
