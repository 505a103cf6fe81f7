// process/process_table.hpp - one row per attached process: who is here, and is it alive.
//
// Invariants  P1 identity is slot + generation; the generation grows each time a slot is freed, so an old pair never comes back
//                within 16,384 reuses, and a slot is freed only after recovery has removed every word that names it.
//             P2 `identity` (state, kind, generation, pid in one word) is truth and changes by compare-and-swap, without the
//                lock: a process needs a row before it can take the lock.
//             P3 cells belong to the scheduler and the store, under the lock.
// Wake words  a process sleeps on its own `wake` word. [W1] ring(): add to wake, then read sleeping -> sleeper: set sleeping,
//             then compare wake; all sequentially consistent, so one of the two sees the other.
// Stop        a process that is stopped with the lock in its hand is told of, once; after the limit a worker or a supervisor is killed
//             (another takes its place), anybody else is waited for: nobody takes the lock from a living process.
// Crash       a row whose process is dead is found by whoever looks (holder_is_dead) and freed by recovery/dead_process.cpp.
#pragma once

#include "platform/platform.hpp"
#include "shm/lock.hpp"

namespace miniray::process {

using shm::Atomic;
using shm::Cell;
using shm::Index;
using shm::kNone;

enum class ProcessState : std::uint32_t { kFree = 0, kLive = 1, kDying = 2 };
enum class ProcessKind : std::uint32_t { kNobody = 0, kDriver = 1, kSupervisor = 2, kWorker = 3, kObserver = 4, kClient = 5 };
enum class WorkerState : std::uint32_t { kNoWorker = 0, kIdle = 1, kRunning = 2, kBlocked = 3, kExiting = 4, kHost = 5 };
// kHost: it belongs to an actor, and to no pool.

struct ProcessId {
  Index slot = kNone;
  std::uint32_t generation = 0;
  [[nodiscard]] bool operator==(const ProcessId&) const noexcept = default;
  [[nodiscard]] std::uint32_t packed() const noexcept { return (generation << 16) | slot; }  // for one word of a record
  [[nodiscard]] static ProcessId unpack(std::uint32_t word) noexcept { return {word & 0xFFFF, word >> 16}; }
};

struct Identity {
  platform::ProcessNumber number;
  std::uint32_t generation;
  ProcessState state;
  ProcessKind kind;
  [[nodiscard]] std::uint64_t packed() const noexcept {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(number)) << 32) | (std::uint64_t{generation & 0xFFFF} << 16) |
           (static_cast<std::uint64_t>(kind) << 8) | static_cast<std::uint64_t>(state);
  }
  [[nodiscard]] static Identity unpack(std::uint64_t word) noexcept {
    return {static_cast<platform::ProcessNumber>(word >> 32), static_cast<std::uint32_t>(word >> 16) & 0xFFFF,
            static_cast<ProcessState>(word & 0xFF), static_cast<ProcessKind>((word >> 8) & 0xFF)};
  }
};

// Units of ProcessEntry::spinning.
inline constexpr std::uint32_t kSpinsForResult = 1;
inline constexpr std::uint32_t kSpinsForLease = 1U << 16;

struct alignas(64) ProcessEntry {
  Atomic<std::uint64_t> identity;
  Atomic<std::uint64_t> start_time;  // 0 until the process wrote it
  Atomic<std::uint32_t> wake;        // futex word, counts calls [W1]
  Atomic<std::uint32_t> sleeping;    // number of threads that sleep or are about to [W1]
  Atomic<std::uint32_t> spinning;    // this process's share in the scheduler's counts of spinners
  Cell<std::uint32_t> worker_state;  // WorkerState
  Cell<Index> lease;                 // task this worker runs or is to run; a worker polls it
  Cell<Index> idle_next;             // newest idle worker first
  Cell<Index> idle_previous;
  Cell<std::uint32_t> blocked_depth;    // threads of the running task inside get or wait
  Cell<std::uint32_t> hold_high_water;  // 1 + largest object index ever held;
                                        // bounds the scan of a dead row
  Cell<std::uint32_t> pin_high_water;
  Atomic<std::uint64_t> tasks_run;  // statistics
  Cell<Index> spilling;             // objects that this process writes to the spill file, a chain
  Atomic<std::uint32_t> life;  // 1 + the worker's descriptor of a pipe that exec closes: by it a new supervisor finds the pipe
  Cell<Index> actor;           // that this process hosts, or whose constructor it runs
  Cell<Index> bundle;          // of a placement group, that its lease or its actor takes from; kNone: the machine
  Atomic<std::uint32_t> environment;  // a worker's, of resources.hpp; written by itself, before it is one
  Cell<std::uint64_t> gpus;           // that its lease or its actor holds, a bit each
  std::uint8_t padding[24];
};
static_assert(shm::kShareable<ProcessEntry> && sizeof(ProcessEntry) == 128);

struct ProcessTableHeader {
  Atomic<std::uint32_t> high_water;  // 1 + largest slot ever used
  std::uint32_t capacity;            // largest slot + 1
  std::uint64_t offset;
};

class ProcessTable final : public shm::HolderProbe {
 public:
  ProcessTable() = default;
  ProcessTable(std::byte* region, ProcessTableHeader* header, const ProcessTableHeader& layout) noexcept
      : header_(header), entries_(reinterpret_cast<ProcessEntry*>(region + layout.offset)), end_(layout.capacity) {}

  [[nodiscard]] ProcessEntry& operator[](Index slot) const {
    MINIRAY_SOUND(slot < end_, "processes: a number of a row that is not there");
    return entries_[slot];
  }
  [[nodiscard]] Index high_water() const noexcept {
    const Index found = header_->high_water.load_acquire();
    return found < end_ ? found : end_;
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return end_ - 1; }

  // A free row for this process; slot kNone when all are taken.
  [[nodiscard]] ProcessId claim(ProcessKind kind, std::uint64_t start_time);
  // Only recovery and a process that leaves in good order call these, in this
  // sequence.
  [[nodiscard]] bool begin_death(ProcessId process);  // false: not live any more, or
                                                      // another rescuer was first
  void free(ProcessId process);

  [[nodiscard]] Identity identity(Index slot) const { return Identity::unpack((*this)[slot].identity.load_acquire()); }
  [[nodiscard]] bool is_current(ProcessId process) const;  // this generation, live or dying
  [[nodiscard]] bool is_dead(Index slot);                  // occupied by a process that is proved dead

  // Kills the process of that row, whatever it does; nobody when it has gone and its number is another's by now.
  int end(Index slot) { return platform::end_process(identity(slot).number, (*this)[slot].start_time.load_acquire()); }
  // Interrupts the main thread of that process.
  int interrupt(Index slot) {
    return platform::interrupt_process(identity(slot).number, (*this)[slot].start_time.load_acquire());
  }

  void ring(Index slot);
  void ring_all() noexcept;

  bool holder_is_dead(std::uint32_t process_slot, std::uint32_t generation) noexcept override;
  void after_repair() noexcept override { ring_all(); }
  bool holder_stalls(const shm::Stall& stall, shm::LockBlock& block) noexcept override;

 private:
  ProcessTableHeader* header_ = nullptr;
  ProcessEntry* entries_ = nullptr;
  Index end_ = 0;  // largest slot + 1
};

}  // namespace miniray::process
