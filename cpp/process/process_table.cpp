#include "process/process_table.hpp"

namespace miniray::process {

ProcessId ProcessTable::claim(ProcessKind kind) {
  const platform::ProcessNumber number = platform::current_process();
  for (Index slot = 1; slot < end_; ++slot) {
    ProcessEntry& entry = entries_[slot];
    std::uint64_t found = entry.identity.load_acquire();
    const Identity old = Identity::unpack(found);
    if (old.state != ProcessState::kFree) continue;
    const Identity mine{number, old.generation, ProcessState::kLive, kind};
    if (!entry.identity.compare_exchange(found, mine.packed())) continue;
    entry.sleeping.store_ordered(0);
    entry.spinning.store_ordered(0);
    entry.life.store_ordered(0);
    entry.start_time.store_release(platform::process_start_time(number));
    std::uint32_t high_water = header_->high_water.load_acquire();
    while (high_water <= slot && !header_->high_water.compare_exchange(high_water, slot + 1)) {
    }
    return {slot, old.generation};
  }
  return {};
}

bool ProcessTable::begin_death(ProcessId process) {
  ProcessEntry& entry = (*this)[process.slot];
  std::uint64_t found = entry.identity.load_acquire();
  for (;;) {
    Identity identity = Identity::unpack(found);
    if (identity.state == ProcessState::kFree || identity.generation != process.generation) return false;
    // A row found dying was left by a rescuer that died itself, or is being
    // rescued now: every step may run twice.
    identity.state = ProcessState::kDying;
    if (entry.identity.compare_exchange(found, identity.packed())) return true;
  }
}

void ProcessTable::free(ProcessId process) {
  ProcessEntry& entry = (*this)[process.slot];
  std::uint64_t found = entry.identity.load_acquire();
  const Identity identity = Identity::unpack(found);
  if (identity.state == ProcessState::kFree || identity.generation != process.generation) return;
  entry.start_time.store_release(0);
  const Identity freed{0, (process.generation + 1) & shm::LockWord::kGenerationMask, ProcessState::kFree, ProcessKind::kNobody};
  (void)entry.identity.compare_exchange(found, freed.packed());
}

bool ProcessTable::is_current(ProcessId process) const {
  if (process.slot == kNone || process.slot >= end_) return false;
  const Identity found = identity(process.slot);
  return found.state != ProcessState::kFree && found.generation == process.generation;
}

bool ProcessTable::is_dead(Index slot) {
  const Identity found = identity(slot);
  if (found.state == ProcessState::kFree) return false;
  return platform::process_is_dead(found.number, entries_[slot].start_time.load_acquire());
}

void ProcessTable::ring(Index slot) {
  ProcessEntry& entry = (*this)[slot];
  entry.wake.fetch_add_ordered(1);  // [W1]
  if (entry.sleeping.load_ordered() != 0) platform::wake_word(entry.wake.address(), 1 << 30);
}

void ProcessTable::ring_all() noexcept {
  for (Index slot = 1; slot < high_water(); ++slot) {
    ProcessEntry& entry = entries_[slot];
    if (Identity::unpack(entry.identity.load_acquire()).state != ProcessState::kLive) continue;
    entry.wake.fetch_add_ordered(1);  // [W1], but not believing `sleeping`: this is rare, and follows a death or damage
    platform::wake_word(entry.wake.address(), 1 << 30);
  }
}

bool ProcessTable::holder_is_stopped(std::uint32_t process_slot) noexcept {
  if (process_slot >= end_) return false;
  return platform::process_is_stopped(Identity::unpack(entries_[process_slot].identity.load_acquire()).number);
}

bool ProcessTable::holder_is_dead(std::uint32_t process_slot, std::uint32_t generation) noexcept {
  if (process_slot == kNone || process_slot >= end_) return true;  // no process ever had this row
  const Identity found = Identity::unpack(entries_[process_slot].identity.load_acquire());
  if (found.state == ProcessState::kFree || (found.generation & shm::LockWord::kGenerationMask) != generation) return true;
  return platform::process_is_dead(found.number, entries_[process_slot].start_time.load_acquire());
}

}  // namespace miniray::process
