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

ObjectId ObjectTable::id(Index slot) const noexcept {
  const ObjectEntry& entry = slots[slot];
  if (entry.flags.get() & kOutsideId) return {entry.id_high.get(), entry.id_low.get()};
  return key(slot).id(header_->nonce);
}

ObjectKey ObjectTable::find(ObjectId id) const noexcept {
  if (id.high == header_->nonce) {
    const ObjectKey key{static_cast<Index>(id.low), static_cast<std::uint32_t>(id.low >> 32)};
    return is_current(key) ? key : ObjectKey{};
  }
  for (Index slot = buckets_[id.hash() & (header_->bucket_count - 1)].get(); slot != kNone;
       slot = slots[slot].hash_next.get()) {
    const ObjectEntry& entry = slots[slot];
    if (entry.id_high.get() == id.high && entry.id_low.get() == id.low) return key(slot);
  }
  return {};
}

// --- life ----------------------------------------------------------------------------------------------------------

Index ObjectTable::create(Transaction& transaction, ObjectState state, std::uint32_t flags) noexcept {
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
  Transaction::init(entry.offset, 0);
  Transaction::init(entry.size_bytes, 0);
  return slot;
}

void ObjectTable::set_outside_id(Transaction& transaction, Index slot, ObjectId id) noexcept {
  ObjectEntry& entry = slots[slot];
  transaction.set(entry.flags, entry.flags.get() | kOutsideId);
  transaction.set(entry.id_high, id.high);
  transaction.set(entry.id_low, id.low);
  Cell<Index>& bucket = buckets_[id.hash() & (header_->bucket_count - 1)];
  transaction.set(entry.hash_next, bucket.get());
  transaction.set(bucket, slot);
}

void ObjectTable::hash_remove(Transaction& transaction, Index slot) noexcept {
  const ObjectEntry& entry = slots[slot];
  const ObjectId id{entry.id_high.get(), entry.id_low.get()};
  Cell<Index>* link = &buckets_[id.hash() & (header_->bucket_count - 1)];
  while (link->get() != kNone && link->get() != slot) link = &slots[link->get()].hash_next;
  if (link->get() == slot) transaction.set(*link, entry.hash_next.get());
}

AllocateResult ObjectTable::reserve(Transaction& transaction, Index slot, std::uint64_t size_bytes, bool fresh,
                                    bool may_grow) noexcept {
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

void ObjectTable::add_contained(Transaction& transaction, Index slot, ObjectKey target) noexcept {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t count = entry.contained_count.get();
  auto* pair = reinterpret_cast<std::uint32_t*>(payload_for_write(slot) + heap_bytes(entry) - 8ULL * (count + 1));
  pair[0] = target.slot;
  pair[1] = target.generation;
  transaction.set(entry.contained_count, count + 1);
  add_reference(transaction, target.slot);
}

const std::byte* ObjectTable::contained_end(const ObjectEntry& entry) const noexcept {
  const std::uint64_t offset = entry.offset.get();
  return (offset == 0 ? entry.inline_bytes : heap_read_ + offset) + heap_bytes(entry);
}

// Of a spilled object: the block of its contained references.
std::byte* ObjectTable::payload_for_write(Index slot) const noexcept {
  ObjectEntry& entry = slots[slot];
  const std::uint64_t offset = entry.offset.get();
  return offset == 0 ? entry.inline_bytes : heap_write_ + offset;
}

Index ObjectTable::seal(Transaction& transaction, Index slot, ObjectState state) noexcept {
  ObjectEntry& entry = slots[slot];
  transaction.set(entry.seal_sequence, transaction.sequence());
  transaction.set(entry.state, as_word(state));  // [O7]
  if (entry.producer.get() != kNone) transaction.set(entry.producer, kNone);
  const Index waiters = entry.waiters.get();
  if (waiters != kNone) transaction.set(entry.waiters, kNone);
  list_if_may_go(transaction, slot);
  return waiters;
}

void ObjectTable::drop_reference(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t references = entry.references.get();
  MINIRAY_REQUIRE(references > 0);
  transaction.set(entry.references, references - 1);
  if (references > 1) return;
  const ObjectState state = entry.current_state();
  if (state == ObjectState::kPending || entry.producer.get() != kNone) return;  // O4
  if (state == ObjectState::kSealed && entry.has(kCached)) return;              // O3
  free(transaction, slot);
}

void ObjectTable::free(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
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
void ObjectTable::release_payload(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
  if (entry.offset.get() != 0) heap_->free(transaction, entry.offset.get(), heap_bytes(entry));
  if (entry.has(kSpilled)) {
    spill_->free(transaction, entry.spill_place().offset.get(), entry.spill_place().value_bytes.get());
    transaction.set(entry.flags, entry.flags.get() & ~std::uint32_t{kSpilled});
  }
  transaction.set(entry.offset, 0);
}

// Nothing refers to it; with the last pin it goes.
void ObjectTable::release_row(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
  if (entry.pins.get() != 0) {
    transaction.set(entry.state, as_word(ObjectState::kOrphaned));
    return;
  }
  release_payload(transaction, slot);
  transaction.set(entry.state, as_word(ObjectState::kFree));
  slots.put(transaction, slot);
}

bool ObjectTable::reclaim_step(Transaction& transaction) noexcept {
  const Index slot = header_->reclaim_head.get();
  if (slot == kNone) return false;
  ObjectEntry& entry = slots[slot];
  std::uint32_t left = entry.contained_count.get();
  const std::byte* end = contained_end(entry);
  const Index next = entry.next_free.get();
  // Off the list while its references go: those may put other objects on it.
  transaction.set(header_->reclaim_head, next);
  const std::uint32_t first_left = left;
  std::uint32_t done = 0;
  while (left > 0 && done < kReclaimBatch && transaction.room() > 256) {
    const auto* pair = reinterpret_cast<const std::uint32_t*>(end - 8ULL * left);
    drop_reference(transaction, pair[0]);
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

void ObjectTable::discard_payload(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
  if (entry.current_state() != ObjectState::kPending && entry.current_state() != ObjectState::kWriting) return;
  for (std::uint32_t left = entry.contained_count.get(); left > 0; --left) {
    if (transaction.room() < 256) transaction.commit();
    const auto* pair = reinterpret_cast<const std::uint32_t*>(contained_end(entry) - 8ULL * left);
    const Index target = pair[0];
    transaction.set(entry.contained_count, left - 1);
    drop_reference(transaction, target);
  }
  release_payload(transaction, slot);
  transaction.set(entry.size_bytes, 0);
}

// --- processes -----------------------------------------------------------------------------------------------------

bool ObjectTable::hold(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, Index slot) noexcept {
  Cell<std::uint64_t>& word = row_word(header_->hold_rows_offset, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if (word.get() & bit) return false;
  if (slot >= entry.hold_high_water.get()) transaction.set(entry.hold_high_water, slot + 1);
  transaction.set(word, word.get() | bit);
  add_reference(transaction, slot);
  return true;
}

bool ObjectTable::unhold(Transaction& transaction, ProcessId process, Index slot) noexcept {
  Cell<std::uint64_t>& word = row_word(header_->hold_rows_offset, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if ((word.get() & bit) == 0) return false;
  transaction.set(word, word.get() & ~bit);
  drop_reference(transaction, slot);
  return true;
}

bool ObjectTable::pin(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, Index slot) noexcept {
  Cell<std::uint64_t>& word = row_word(header_->pin_rows_offset, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if (word.get() & bit) return false;
  if (slot >= entry.pin_high_water.get()) transaction.set(entry.pin_high_water, slot + 1);
  transaction.set(word, word.get() | bit);
  transaction.add(slots[slot].pins, 1);
  if (slots[slot].has(kListed) && !slots[slot].has(kCached)) list_remove(transaction, slot);
  return true;
}

void ObjectTable::drop_pin(Transaction& transaction, Index slot) noexcept {
  ObjectEntry& entry = slots[slot];
  transaction.add(entry.pins, static_cast<std::uint32_t>(-1));
  if (entry.pins.get() != 0) return;
  if (entry.current_state() == ObjectState::kOrphaned) {
    release_row(transaction, slot);
  } else {
    list_if_may_go(transaction, slot);
  }
}

bool ObjectTable::unpin(Transaction& transaction, ProcessId process, Index slot) noexcept {
  Cell<std::uint64_t>& word = row_word(header_->pin_rows_offset, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if ((word.get() & bit) == 0) return false;
  transaction.set(word, word.get() & ~bit);
  drop_pin(transaction, slot);
  return true;
}

int ObjectTable::back_rows(ProcessId process) noexcept {
  for (const std::uint64_t rows : {header_->hold_rows_offset, header_->pin_rows_offset}) {
    const int error =
        platform::reserve_pages(file_, file_offset_ + rows + process.slot * header_->row_bytes, header_->row_bytes);
    if (error != 0) return error;
  }
  return 0;
}

bool ObjectTable::drop_rows(Transaction& transaction, process::ProcessEntry& entry, ProcessId process,
                            std::uint32_t limit) noexcept {
  // From the top down, lowering the high water, so that the scan goes on where it stopped, whoever goes on.
  for (const bool pins : {true, false}) {
    Cell<std::uint32_t>& high_water = pins ? entry.pin_high_water : entry.hold_high_water;
    const std::uint64_t rows = pins ? header_->pin_rows_offset : header_->hold_rows_offset;
    while (high_water.get() > 0) {
      const Index slot = high_water.get() - 1;
      Cell<std::uint64_t>& word = row_word(rows, process.slot, slot);
      const std::uint64_t below = word.get() & (~0ULL >> (63 - slot % 64));
      if (below == 0) {
        transaction.set(high_water, slot - slot % 64);
        if (transaction.room() < 256) return true;
        continue;
      }
      const auto found = slot - slot % 64 + static_cast<Index>(63 - std::countl_zero(below));
      if (limit-- == 0 || transaction.room() < 256) return true;
      if (pins) {
        (void)unpin(transaction, process, found);
      } else {
        (void)unhold(transaction, process, found);
      }
    }
  }
  return false;
}

// --- reading -------------------------------------------------------------------------------------------------------

PayloadView ObjectTable::view(Index slot) const noexcept {
  const ObjectEntry& entry = slots[slot];
  PayloadView view;
  const std::uint64_t offset = entry.offset.get();
  view.is_spilled = entry.has(kSpilled);
  view.in_heap = offset != 0 || view.is_spilled;
  if (view.is_spilled) {
    view.data = spill_read_ + entry.spill_place().offset.get();
  } else {
    view.data = offset == 0 ? entry.inline_bytes : heap_read_ + offset;
  }
  view.size_bytes = entry.size_bytes.get();
  view.contained_count = entry.contained_count.get();
  view.is_error = entry.current_state() == ObjectState::kError;
  return view;
}

bool ObjectTable::try_copy(ObjectKey key, const PayloadView& view, std::byte* destination) const noexcept {
  const ObjectEntry& entry = slots[key.slot];
  std::memcpy(destination, view.data, view.value_bytes());
  std::atomic_thread_fence(std::memory_order_acquire);
  // A sealed payload leaves its place only for the spill file, and with the object's end. [X4]
  return !view.is_spilled && entry.generation.get() == key.generation && !entry.has(kSpilled);
}

ObjectTable::ReadResult ObjectTable::try_read(const shm::LockBlock& lock, ObjectKey key, PayloadView& result) const noexcept {
  if (key.slot == kNone || key.slot > slots.capacity()) return ReadResult::kGone;
  const ObjectEntry& entry = slots[key.slot];
  const std::uint32_t state = entry.state.get();
  if (entry.generation.get() != key.generation || state == as_word(ObjectState::kFree)) return ReadResult::kGone;
  if (state != as_word(ObjectState::kSealed) && state != as_word(ObjectState::kError)) return ReadResult::kNotReady;
  if (lock.committed.load_acquire() < entry.seal_sequence.get()) return ReadResult::kNotReady;  // [L6]
  if (entry.state.get() != state) return ReadResult::kNotReady;                                 // undone in between
  const auto data = [&] {
    const std::uint64_t offset = entry.offset.get();
    return offset == 0 ? entry.inline_bytes : heap_read_ + offset;
  };
  do {
    result = view(key.slot);
  } while (entry.has(kSpilled) != result.is_spilled || (!result.is_spilled && data() != result.data));  // spill.cpp [X4]
  return ReadResult::kReady;
}

ObjectKey ObjectTable::contained(Index slot, std::uint32_t position) const noexcept {
  const auto* pair = reinterpret_cast<const std::uint32_t*>(contained_end(slots[slot]) - 8ULL * (position + 1));
  return {pair[0], pair[1]};
}

// --- objects that may go -------------------------------------------------------------------------------------------

bool ObjectTable::may_go(const ObjectEntry& entry) const noexcept {
  if (entry.current_state() != ObjectState::kSealed) return false;
  if (entry.has(kCached)) return true;
  if (entry.offset.get() == 0 || entry.pins.get() != 0 || (entry.flags.get() & (kOutsideId | kSpilled)) != 0) return false;
  const std::uint64_t pair_bytes = 8ULL * entry.contained_count.get();
  return pair_bytes <= kLargestSpilledPairs && 2 * pair_bytes <= entry.size_bytes.get();
}

void ObjectTable::list_if_may_go(Transaction& transaction, Index slot) noexcept {
  if (!slots[slot].has(kListed) && may_go(slots[slot])) list_append(transaction, slot);
}

void ObjectTable::list_append(Transaction& transaction, Index slot) noexcept {
  const Index newest = header_->newest.get();
  transaction.set(slots[slot].flags, slots[slot].flags.get() | kListed);
  transaction.set(slots[slot].older, newest);
  transaction.set(slots[slot].newer, kNone);
  transaction.set(newest != kNone ? slots[newest].newer : header_->oldest, slot);
  transaction.set(header_->newest, slot);
  transaction.add(header_->listed_count, 1);
}

void ObjectTable::list_remove(Transaction& transaction, Index slot) noexcept {
  const Index older = slots[slot].older.get();
  const Index newer = slots[slot].newer.get();
  transaction.set(slots[slot].flags, slots[slot].flags.get() & ~std::uint32_t{kListed});
  transaction.set(older != kNone ? slots[older].newer : header_->oldest, newer);
  transaction.set(newer != kNone ? slots[newer].older : header_->newest, older);
  transaction.add(header_->listed_count, static_cast<std::uint32_t>(-1));
}

void ObjectTable::touch(Transaction& transaction, Index slot) noexcept {
  if (!slots[slot].has(kCached) || !slots[slot].has(kListed) || header_->newest.get() == slot) return;
  list_remove(transaction, slot);
  list_append(transaction, slot);
}

bool ObjectTable::evict_one(Transaction& transaction) noexcept {
  for (Index slot = header_->oldest.get(); slot != kNone; slot = slots[slot].newer.get()) {
    if (slots[slot].pins.get() != 0 || slots[slot].references.get() != 0) continue;
    free(transaction, slot);
    return true;
  }
  return false;
}

// --- truth and derived ---------------------------------------------------------------------------------------------

void ObjectTable::count_bits(std::uint64_t rows_offset, Index process, std::uint32_t high_water,
                             std::uint32_t* counts) const noexcept {
  for (Index base = 0; base < high_water; base += 64) {
    for (std::uint64_t word = row_word(rows_offset, process, base).get(); word != 0; word &= word - 1) {
      ++counts[base + static_cast<Index>(std::countr_zero(word))];
    }
  }
}

// Adds to `pins` what processes that spill pin.
const char* ObjectTable::validate_list(process::ProcessTable& processes, std::uint32_t* pins) const noexcept {
  std::uint32_t listed = 0;
  for (Index slot = header_->oldest.get(); slot != kNone; slot = slots[slot].newer.get()) {
    if (!slots[slot].has(kListed) || !may_go(slots[slot])) return "objects: the list of those that may go holds another";
    if (++listed > header_->listed_count.get()) return "objects: the list of those that may go has a cycle";
  }
  if (listed != header_->listed_count.get()) return "objects: the count of those that may go differs from the list";
  std::uint32_t spilling = 0;
  std::uint32_t flagged = 0;
  const char* fault = nullptr;
  slots.for_each_used([&](Index slot) {
    const ObjectEntry& entry = slots[slot];
    flagged += entry.has(kSpilling) ? 1U : 0U;
    if (may_go(entry) && !entry.has(kListed)) fault = "objects: one that may go is not in the list";
  });
  for (Index process = 1; process < processes.high_water(); ++process) {
    for (Index slot = processes[process].spilling.get(); slot != kNone; slot = slots[slot].newer.get()) {
      if (!slots[slot].has(kSpilling)) return "objects: a chain of those being spilled holds another";
      if (++spilling > flagged) return "objects: a chain of those being spilled has a cycle";
      ++pins[slot];
    }
  }
  return fault != nullptr || spilling == flagged ? fault : "objects: one that is being spilled is in no chain";
}

const char* ObjectTable::validate(process::ProcessTable& processes, std::uint32_t* references,
                                  std::uint32_t* pins) const noexcept {
  if (const char* fault = slots.validate(); fault != nullptr) return fault;
  for (Index process = 1; process < processes.high_water(); ++process) {
    count_bits(header_->hold_rows_offset, process, processes[process].hold_high_water.get(), references);
    count_bits(header_->pin_rows_offset, process, processes[process].pin_high_water.get(), pins);
  }
  if (const char* fault = validate_list(processes, pins); fault != nullptr) return fault;
  slots.for_each_used([&](Index slot) {
    const std::uint32_t count = slots[slot].contained_count.get();
    for (std::uint32_t i = 0; i < count; ++i) ++references[contained(slot, i).slot];
  });
  const char* fault = nullptr;
  std::uint32_t reclaiming = 0;
  slots.for_each_used([&](Index slot) {
    const ObjectEntry& entry = slots[slot];
    const ObjectState state = entry.current_state();
    reclaiming += state == ObjectState::kReclaiming ? 1U : 0U;
    if (pins[slot] != entry.pins.get()) {
      fault = "objects: a pin count differs from the rows";
    } else if (state == ObjectState::kOrphaned && entry.pins.get() == 0) {
      fault = "objects: one that nobody looks at was not freed";
    } else if (references[slot] != entry.references.get()) {
      fault = "objects: a reference count differs from its holders";
    } else if (entry.has(kOutsideId) && find({entry.id_high.get(), entry.id_low.get()}).slot != slot) {
      fault = "objects: an outside id is missing from the index";
    }
  });
  for (Index slot = header_->reclaim_head.get(); slot != kNone; slot = slots[slot].next_free.get()) {
    if (slots[slot].current_state() != ObjectState::kReclaiming)
      return "objects: the reclaim list holds an object that is in use";
    if (reclaiming-- == 0) return "objects: the reclaim list has a cycle";
  }
  return fault != nullptr || reclaiming == 0 ? fault : "objects: an object to reclaim is not in the list";
}

}  // namespace miniray::store
