// store/spill.cpp - objects on their way to the spill file: begin (under the lock), write (outside), end (under the lock).
//
// Invariants  X1 an object being spilled is pinned by that alone, so neither its payload nor its place in the file can be given to
//                others while a process writes; readers go on in memory.
//             X2 it moves when it is whole in the file and its own pin is the last; then memory is freed in the same section.
//             X3 the place belongs to the row from begin to end: SpillPlace is truth, whoever dies.
// Readers     [X4] end_spill(): kSpilled, then offset -> try_read(): offset, flags, flags again, offset again. Who has read the new offset
//             finds the flag, or when the move was undone meanwhile the old offset, and takes the row anew. The old memory is handed out
//             again only after the section, so a copy made of it is right if the flag is not there afterwards.
// Crash       abort_spill_step() takes a dead process's chain apart; the objects stay in memory.
#include <cstring>

#include "store/object_table.hpp"

namespace miniray::store {

namespace {
constexpr std::uint32_t kRoom = 512;  // journal entries that one object may need
}  // namespace

void ObjectTable::chain_remove(Transaction& transaction, process::ProcessEntry& entry, Index slot) {
  const Index older = slots[slot].older.get();
  const Index newer = slots[slot].newer.get();
  MINIRAY_SOUND((older != kNone ? slots[older].newer : entry.spilling).get() == slot && slots[slot].has(kSpilling),
                "objects: a chain of those being spilled is torn");
  transaction.set(older != kNone ? slots[older].newer : entry.spilling, newer);
  if (newer != kNone) transaction.set(slots[newer].older, older);
}

AllocateResult ObjectTable::begin_spill(Transaction& transaction, process::ProcessEntry& entry, std::uint64_t wanted_bytes,
                                        SpillVictim* victims, std::uint32_t capacity, std::uint32_t& count) {
  count = 0;
  std::uint64_t taken_bytes = 0;
  while (count < capacity && taken_bytes < wanted_bytes && transaction.room() > kRoom) {
    const Index slot = header_->oldest.get();
    if (slot == kNone) return AllocateResult::kDone;
    ObjectEntry& object = slots[slot];
    MINIRAY_SOUND(object.has(kListed) && may_go(object), "objects: the list of those that may go holds another");
    const PayloadView payload = view(slot);
    const std::uint64_t value_bytes = payload.value_bytes();
    std::uint64_t place = 0;
    const AllocateResult result = spill_->allocate(transaction, value_bytes, place);
    if (result != AllocateResult::kDone) return count != 0 ? AllocateResult::kDone : result;
    list_remove(transaction, slot);
    transaction.set(object.flags, object.flags.get() | kSpilling);
    transaction.add(object.pins, 1);
    transaction.set(object.spill_place().offset, place);
    transaction.set(object.spill_place().value_bytes, value_bytes);
    const Index head = entry.spilling.get();
    transaction.set(object.older, kNone);
    transaction.set(object.newer, head);
    if (head != kNone) transaction.set(slots[head].older, slot);
    transaction.set(entry.spilling, slot);
    victims[count++] = {key(slot), payload.data, value_bytes, place};
    taken_bytes += value_bytes;
  }
  return AllocateResult::kDone;
}

bool ObjectTable::end_spill(Transaction& transaction, process::ProcessEntry& entry, const SpillVictim& victim) {
  const Index slot = victim.key.slot;
  ObjectEntry& object = slots[slot];
  chain_remove(transaction, entry, slot);
  transaction.set(object.flags, object.flags.get() & ~std::uint32_t{kSpilling});
  bool moves = victim.is_written && object.pins.get() == 1 && object.current_state() == ObjectState::kSealed;
  const std::uint32_t pair_bytes = 8 * object.contained_count.get();
  std::uint64_t pairs = 0;
  if (moves && pair_bytes != 0) {
    moves = heap_->allocate(transaction, pair_bytes, pairs, false) == AllocateResult::kDone;
    if (moves && !heap_->is_backed(pairs, pair_bytes)) {
      heap_->free(transaction, pairs, pair_bytes);
      moves = false;
    }
    if (moves) std::memcpy(heap_write_ + pairs, contained_end(object) - pair_bytes, pair_bytes);
  }
  if (moves) {
    heap_->free(transaction, object.offset.get(), object.size_bytes.get());
    transaction.set(object.spill_place().pair_bytes, pair_bytes);
    transaction.set(object.spill_place().checksum, victim.checksum);
    transaction.set(object.flags, object.flags.get() | kSpilled);  // [X4]
    transaction.set(object.offset, pairs);
  } else {
    spill_->free(transaction, victim.file_offset, victim.value_bytes);
  }
  drop_pin(transaction, slot);
  return moves;
}

bool ObjectTable::abort_spill_step(Transaction& transaction, process::ProcessEntry& entry) {
  for (int step = 0; step < 16; ++step) {
    const Index slot = entry.spilling.get();
    if (slot == kNone) return false;
    const SpillPlace& place = slots[slot].spill_place();
    (void)end_spill(transaction, entry, {key(slot), nullptr, place.value_bytes.get(), place.offset.get()});
  }
  return true;
}

AllocateResult ObjectTable::reserve_in_file(Transaction& transaction, Index slot, std::uint64_t size_bytes,
                                            std::uint32_t contained_count) {
  ObjectEntry& entry = slots[slot];
  const std::uint32_t pair_bytes = 8 * contained_count;
  std::uint64_t place = 0;
  std::uint64_t pairs = 0;
  if (const AllocateResult result = spill_->allocate(transaction, size_bytes - pair_bytes, place);
      result != AllocateResult::kDone)
    return result;
  if (pair_bytes != 0) {
    AllocateResult result = heap_->allocate(transaction, pair_bytes, pairs, false);
    if (result == AllocateResult::kDone && !heap_->is_backed(pairs, pair_bytes)) {
      heap_->free(transaction, pairs, pair_bytes);
      result = AllocateResult::kFull;
    }
    if (result != AllocateResult::kDone) {
      spill_->free(transaction, place, size_bytes - pair_bytes);
      return AllocateResult::kFull;
    }
  }
  transaction.set(entry.spill_place().offset, place);
  transaction.set(entry.spill_place().value_bytes, size_bytes - pair_bytes);
  transaction.set(entry.spill_place().pair_bytes, pair_bytes);
  transaction.set(entry.flags, entry.flags.get() | kSpilled);
  transaction.set(entry.offset, pairs);
  transaction.set(entry.size_bytes, size_bytes);
  return AllocateResult::kDone;
}

}  // namespace miniray::store
