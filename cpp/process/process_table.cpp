#include "process/process_table.hpp"

#include <cstdio>

namespace miniray::process {

namespace {

constexpr std::uint64_t kSlowNs = 10'000'000'000;  // of a holder that is not stopped: the machine is short of something
constexpr std::uint64_t kNsPerMs = 1'000'000;

const char* kind_name(ProcessKind kind) noexcept {
  switch (kind) {
    case ProcessKind::kDriver:
      return "the driver";
    case ProcessKind::kSupervisor:
      return "the supervisor";
    case ProcessKind::kWorker:
      return "a worker";
    default:
      return "a program";
  }
}

// Whether this stage of this section had not been told of, by anybody.
bool is_first_to_tell(shm::LockBlock& block, std::uint64_t section, std::uint32_t stage) noexcept {
  const std::uint64_t mark = 2 * section + stage;
  std::uint64_t told = block.stall_told.load_acquire();
  return told < mark && block.stall_told.compare_exchange(told, mark);
}

template <class... Values>
void tell(const char* format, Values... values) noexcept {
  char text[400];
  if (std::snprintf(text, sizeof(text), format, values...) > 0) platform::tell_user(text);
}

}  // namespace

ProcessId ProcessTable::claim(ProcessKind kind, std::uint64_t start_time) {
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
    entry.environment.store_ordered(0);
    entry.start_time.store_release(start_time);
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

bool ProcessTable::holder_stalls(const shm::Stall& stall, shm::LockBlock& block) noexcept {
  const Index slot = (stall.holder & 0xFFFF) - 1;
  if (slot >= end_) return false;
  const Identity found = Identity::unpack(entries_[slot].identity.load_acquire());
  if (found.state == ProcessState::kFree || (found.generation & shm::LockWord::kGenerationMask) != stall.holder >> 16)
    return false;
  const platform::RunState state = platform::run_state(found.number);
  const bool is_stopped = state != platform::RunState::kOther;
  const std::uint64_t limit_ns = block.stop_limit_ms.load_relaxed() * kNsPerMs;
  const bool may_end = state == platform::RunState::kStopped && limit_ns != 0 &&
                       (found.kind == ProcessKind::kWorker || found.kind == ProcessKind::kSupervisor);
  const char* who = kind_name(found.kind);
  if (may_end && stall.waited_ns >= limit_ns) {
    if (is_first_to_tell(block, stall.section, 1)) {
      tell("miniray: process %d (%s) was stopped for %.1f s while others waited for it: it is killed.\n", found.number, who,
           static_cast<double>(stall.waited_ns) / 1e9);
    }
    end(slot);
  } else if (is_stopped || stall.waited_ns >= kSlowNs) {
    if (!is_first_to_tell(block, stall.section, 0)) return is_stopped;
    if (!is_stopped) {
      tell(
          "miniray: process %d (%s) has not finished a change of the session's tables for %.0f s, and others wait for it. "
          "The machine may be short of memory or processors.\n",
          found.number, who, static_cast<double>(stall.waited_ns) / 1e9);
    } else if (may_end) {
      tell(
          "miniray: process %d (%s) was stopped (SIGSTOP) in a change of the session's tables, and others wait for it. "
          "Let it go on: kill -CONT %d. After %.1f s it is killed; its task is then tried again as after a crash.\n",
          found.number, who, found.number, static_cast<double>(limit_ns) / 1e9);
    } else {
      tell(
          "miniray: process %d (%s) was stopped (SIGSTOP, Ctrl-Z or a debugger) in a change of the session's tables, and "
          "others wait for it. Let it go on: kill -CONT %d.\n",
          found.number, who, found.number);
    }
  }
  return is_stopped;
}

bool ProcessTable::holder_is_dead(std::uint32_t process_slot, std::uint32_t generation) noexcept {
  if (process_slot == kNone || process_slot >= end_) return true;  // no process ever had this row
  const Identity found = Identity::unpack(entries_[process_slot].identity.load_acquire());
  if (found.state == ProcessState::kFree || (found.generation & shm::LockWord::kGenerationMask) != generation) return true;
  return platform::process_is_dead(found.number, entries_[process_slot].start_time.load_acquire());
}

}  // namespace miniray::process
