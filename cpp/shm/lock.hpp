// shm/lock.hpp - the lock that survives its holder, and the undo journal that makes every critical section all-or-nothing.
//
// Invariants  L1 the word names the holder: process slot + 1 (16 bits), generation (14), REPAIR (bit 30), WAITERS (bit 31); 0
//                is free.
//             L2 only a process whose death is proved (process/process_table.hpp) loses the lock, by one compare-and-swap.
//             L3 a cell changes only after its old value is in the journal; the store to `committed` ends the section.
//             L4 active == committed: nothing to undo. Otherwise writing back the journal, last entry first, gives exactly the
//                state before the section; doing it twice, or half and then again, gives the same.
//             L7 poisoned, once not 0, stays: nobody gets the lock from then on, so nobody builds on what was found damaged.
// Order       one lock per domain, so there is none to get wrong. Under it: bounded work, no system call, no allocation, no
//             Python.
// Crash       the next waiter that times out, or the supervisor at once, steals the word and rolls the journal back.
// Stop        a holder that is stopped (SIGSTOP) is not dead and keeps the lock: waiters tell the probe of it, who may end it. Time is
//             what a waiter has slept for one section, so that a machine or a program that is stopped as a whole adds nothing.
// Damage      a journal that would write outside of the tables is not undone, and a word that names a living process which does not run
//             a section (it would never be free again) is noticed after debug::patience_ns: both poison.
// Threads     the word names a process, not a thread: two threads of one process exclude each other by the same word.
// Source      the undo journal is the textbook one (Gray & Reuter, "Transaction Processing", ch. 10), kept in program order by
//             compiler fences alone, because a killed process's retired stores all become visible [L5].
#pragma once

#include <cstddef>
#include <cstdint>

#include "debug/damage.hpp"
#include "shm/atomic.hpp"

namespace miniray::shm {

struct LockWord {
  static constexpr std::uint32_t kWaiters = 1U << 31;
  static constexpr std::uint32_t kRepair = 1U << 30;
  static constexpr std::uint32_t kGenerationMask = 0x3FFF;
  static constexpr std::uint32_t kHolderMask = kRepair - 1;
  static constexpr std::uint32_t holder(std::uint32_t process_slot, std::uint32_t generation) noexcept {
    return ((generation & kGenerationMask) << 16) | ((process_slot + 1) & 0xFFFF);
  }
};

struct JournalEntry {
  std::uint64_t location;  // offset from the region's start, times two, plus one
                           // for a cell of eight bytes
  std::uint64_t old_value;
};

inline constexpr std::uint32_t kJournalCapacity = 8192;

struct LockBlock {
  Atomic<std::uint32_t> word;
  Atomic<std::uint32_t> poisoned;   // not 0: damage was found, every operation fails at once; kPoisonTold: the text says what
  Atomic<std::uint64_t> active;     // number of the section that is running, or ran last
  Atomic<std::uint64_t> committed;  // [L6] commit: release -> committed_after(): acquire; number
                                    // of the last one that is whole
  Atomic<std::uint32_t> journal_count;  // entries of section `active`
  Atomic<std::uint32_t> repair_count;   // statistics: how often a dead holder was repaired
  Atomic<std::uint64_t> contended_count;
  Atomic<std::uint64_t> stall_told;     // 2 * section + stage of the last stall that somebody has told of
  Atomic<std::uint32_t> stop_limit_ms;  // how long a stopped process may keep the lock, 0 for ever
  std::uint32_t unused;
  std::uint64_t padding;
  JournalEntry journal[kJournalCapacity];
  char poison_text[debug::kDamageTextBytes];
};
inline constexpr std::uint32_t kPoisonUntold = 1;
inline constexpr std::uint32_t kPoisonTold = 2;
static_assert(kShareable<LockBlock> && offsetof(LockBlock, journal) == 64);

// One section of a holder that lives, and how long a waiter has waited for it.
struct Stall {
  std::uint32_t holder = 0;  // L1, without its bits
  std::uint64_t section = 0;
  std::uint64_t waited_ns = 0;
  std::uint64_t stopped_ns = 0;  // how much of it had passed when the holder was last seen stopped
};

// Tells the lock whether a holder is dead; process::ProcessTable implements it.
class HolderProbe {
 public:
  virtual bool holder_is_dead(std::uint32_t process_slot, std::uint32_t generation) noexcept = 0;
  // Another process freed or stole something on our behalf: wake whoever may
  // have missed a call.
  virtual void after_repair() noexcept = 0;
  // Called again and again while it lasts, by each waiter. Whether the holder is kept from running (stopped, traced) and may go on later.
  virtual bool holder_stalls(const Stall& stall, LockBlock& block) noexcept = 0;

 protected:
  ~HolderProbe() = default;
};

// This process's handle of a lock in shared memory. Cheap to copy; holds no
// state besides who "I" am.
class Lock {
 public:
  Lock() = default;
  Lock(std::byte* region, std::uint64_t region_bytes, LockBlock* block, HolderProbe* probe) noexcept
      : region_(region), region_bytes_(region_bytes), block_(block), probe_(probe) {}
  void set_holder(std::uint32_t holder) noexcept { holder_ = holder; }

  // False: poisoned, and not taken.
  [[nodiscard]] bool acquire() noexcept {
    std::uint32_t expected = 0;
    if (!block_->word.compare_exchange(expected, holder_)) [[unlikely]] {
      if (!acquire_slow()) return false;
    }
    if (!is_poisoned()) [[likely]]
      return true;
    release();
    return false;
  }
  void release() noexcept {
    if (block_->word.exchange_ordered(0) & LockWord::kWaiters) [[unlikely]]
      wake_one();
  }
  // Takes the lock from `holder` at once if it has it; the caller has proof
  // that this process is dead. Repairs and releases. Returns whether there was
  // anything to take.
  bool recover_from(std::uint32_t holder) noexcept;

  // The first who poisons says why; with or without the lock.
  void poison(const char* why) noexcept;
  [[nodiscard]] bool is_poisoned() const noexcept { return block_->poisoned.load_relaxed() != 0; }
  [[nodiscard]] debug::Damage damage() const noexcept;  // of a poisoned lock

  [[nodiscard]] LockBlock& block() const noexcept { return *block_; }
  [[nodiscard]] std::byte* region() const noexcept { return region_; }

 private:
  [[nodiscard]] bool acquire_slow() noexcept;
  void wake_one() noexcept;
  bool try_steal(std::uint32_t found) noexcept;
  void watch_holder(std::uint32_t found, std::int64_t waited_ns, Stall& stall) noexcept;
  void roll_back() noexcept;

  std::byte* region_ = nullptr;
  std::uint64_t region_bytes_ = 0;
  LockBlock* block_ = nullptr;
  HolderProbe* probe_ = nullptr;
  std::uint32_t holder_ = 0;
};

}  // namespace miniray::shm
