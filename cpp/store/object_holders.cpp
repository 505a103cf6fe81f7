// store/object_holders.cpp - which processes keep and pin which objects: their rows of bits; and truth against derived.
//
// Invariants  object_table.hpp O2, O3, O7p, O8.
// Crash       drop_rows() takes a dead process's rows apart, a few bits a section.
#include <bit>

#include "store/object_table.hpp"

namespace miniray::store {

// --- processes -----------------------------------------------------------------------------------------------------

bool ObjectTable::hold(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, Index slot) {
  Cell<std::uint64_t>& word = row_word(hold_rows_offset_, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if (word.get() & bit) return false;
  if (slot >= entry.hold_high_water.get()) transaction.set(entry.hold_high_water, slot + 1);
  transaction.set(word, word.get() | bit);
  add_reference(transaction, slot);
  return true;
}

bool ObjectTable::unhold(Transaction& transaction, ProcessId process, Index slot) {
  Cell<std::uint64_t>& word = row_word(hold_rows_offset_, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if ((word.get() & bit) == 0) return false;
  transaction.set(word, word.get() & ~bit);
  drop_reference(transaction, slot);
  return true;
}

bool ObjectTable::pin(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, Index slot) {
  Cell<std::uint64_t>& word = row_word(pin_rows_offset_, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if (word.get() & bit) return false;
  if (slot >= entry.pin_high_water.get()) transaction.set(entry.pin_high_water, slot + 1);
  transaction.set(word, word.get() | bit);
  ObjectEntry& object = slots[slot];
  transaction.add(object.pins, 1);
  if (object.has(kListed) && !object.has(kCached)) list_remove(transaction, slot);
  return true;
}

void ObjectTable::drop_pin(Transaction& transaction, Index slot) {
  ObjectEntry& entry = slots[slot];
  MINIRAY_SOUND(entry.pins.get() != 0, "objects: a pin count below zero");
  transaction.add(entry.pins, static_cast<std::uint32_t>(-1));
  if (entry.pins.get() != 0) return;
  if (entry.current_state() == ObjectState::kOrphaned) {
    release_row(transaction, slot);
  } else {
    list_if_may_go(transaction, slot);
  }
}

bool ObjectTable::unpin(Transaction& transaction, ProcessId process, Index slot) {
  Cell<std::uint64_t>& word = row_word(pin_rows_offset_, process.slot, slot);
  const std::uint64_t bit = 1ULL << (slot % 64);
  if ((word.get() & bit) == 0) return false;
  transaction.set(word, word.get() & ~bit);
  drop_pin(transaction, slot);
  return true;
}

int ObjectTable::back_rows(ProcessId process) {
  for (const std::uint64_t rows : {hold_rows_offset_, pin_rows_offset_}) {
    const int error = platform::reserve_pages(file_, file_offset_ + rows + process.slot * row_bytes_, row_bytes_);
    if (error != 0) return error;
  }
  return 0;
}

bool ObjectTable::drop_rows(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, std::uint32_t limit) {
  // From the top down, lowering the high water, so that the scan goes on where it stopped, whoever goes on.
  for (const bool pins : {true, false}) {
    Cell<std::uint32_t>& high_water = pins ? entry.pin_high_water : entry.hold_high_water;
    const std::uint64_t rows = pins ? pin_rows_offset_ : hold_rows_offset_;
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

// --- truth and derived ---------------------------------------------------------------------------------------------

void ObjectTable::count_bits(std::uint64_t rows_offset, Index process, std::uint32_t high_water, std::uint32_t* counts) const {
  for (Index base = 0; base < high_water; base += 64) {
    for (std::uint64_t word = row_word(rows_offset, process, base).get(); word != 0; word &= word - 1) {
      const Index slot = base + static_cast<Index>(std::countr_zero(word));
      MINIRAY_SOUND(slot <= slots.capacity(), "objects: a process keeps what is not there");
      ++counts[slot];
    }
  }
}

// Adds to `pins` what processes that spill pin.
const char* ObjectTable::validate_list(process::ProcessTable& processes, std::uint32_t* pins) const {
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

const char* ObjectTable::validate(process::ProcessTable& processes, std::uint32_t* references, std::uint32_t* pins) const {
  if (const char* fault = slots.validate(); fault != nullptr) return fault;
  for (Index process = 1; process < processes.high_water(); ++process) {
    count_bits(hold_rows_offset_, process, processes[process].hold_high_water.get(), references);
    count_bits(pin_rows_offset_, process, processes[process].pin_high_water.get(), pins);
  }
  if (const char* fault = validate_list(processes, pins); fault != nullptr) return fault;
  slots.for_each_used([&](Index slot) {
    const std::uint32_t count = slots[slot].contained_count.get();
    for (std::uint32_t i = 0; i < count; ++i) {
      const Index target = contained(slot, i).slot;
      MINIRAY_SOUND(target <= slots.capacity(), "objects: a reference to what is not there");
      ++references[target];
    }
  });
  const char* fault = nullptr;
  std::uint32_t reclaiming = 0;
  std::uint64_t offset = 0;
  slots.for_each_used([&](Index slot) {
    const ObjectEntry& entry = slots[slot];
    const ObjectState state = entry.current_state();
    reclaiming += state == ObjectState::kReclaiming ? 1U : 0U;
    if (pins[slot] != entry.pins.get()) {
      fault = "objects: a pin count differs from the rows";
    } else if (PayloadView payload;
               (state == ObjectState::kSealed || state == ObjectState::kError) && !read_view(entry, payload, offset)) {
      fault = "objects: a payload lies outside";
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
