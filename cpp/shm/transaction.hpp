// shm/transaction.hpp - one critical section: takes the lock, journals each cell it changes, commits with one store.
//
// Invariants  T1 set() is the only way to change a Cell of a record that others can reach; a new critical section cannot forget
//                the journal, because Cell has no other public setter.
//             T2 init() skips the journal and is only for a record that is unreachable until this section commits: taken from a
//                free list in this section. Undoing the section makes it unreachable again, whatever it holds.
//             T3 at most kJournalCapacity sets between two commits; work that may need more is cut into steps by commit().
//             T4 wakes are collected and done after the lock is free: a system call never happens inside.
//             T5 a section that is left by Damage (debug/damage.hpp; nothing else is thrown in one) poisons before the lock is free; in a
//                poisoned domain none begins. A destructor that may run while an exception is under way catches what a section in it
//                throws.
// Crash       before commit: undone by the next holder. After commit, before the wakes: recovery of the dead process wakes all.
#pragma once

#include <atomic>

#include "platform/fault_point.hpp"
#include "shm/lock.hpp"

namespace miniray::shm {

class Transaction {
 public:
  explicit Transaction(Lock& lock) : lock_(lock), block_(lock.block()), region_(lock.region()) {
    if (!lock_.acquire()) [[unlikely]]
      debug::tell_damage(lock_.damage());
    begin();
  }
  ~Transaction() {
    if (!open_) return;
    if (debug::damage_count != damage_count_) [[unlikely]] {
      lock_.poison(debug::last_damage());
      lock_.release();
    } else {
      close();
    }
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  template <class T>
  void set(Cell<T>& cell, std::type_identity_t<T> value) {
    const std::uint32_t count = block_.journal_count.load_relaxed();
    MINIRAY_SOUND(count < kJournalCapacity, "lock: the journal is full");
    JournalEntry& entry = block_.journal[count];
    const auto offset = static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(&cell) - region_);
    entry.location = (offset << 1) | (sizeof(T) == 8 ? 1U : 0U);
    entry.old_value = static_cast<std::uint64_t>(cell.value_);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // [L5] entry, then count, then cell
    block_.journal_count.store_release(count + 1);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    cell.put(value);
  }
  template <class T>
  void add(Cell<T>& cell, std::type_identity_t<T> difference) {
    using Word = std::make_unsigned_t<T>;  // wraps, whatever was found
    set(cell, static_cast<T>(static_cast<Word>(cell.get()) + static_cast<Word>(difference)));
  }
  template <class T>
  static void init(Cell<T>& cell, std::type_identity_t<T> value) noexcept {
    cell.value_ = value;
  }

  // Ends a step: what was set so far is permanent. The lock stays held.
  void commit() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    MINIRAY_FAULT_POINT("transaction.before_commit");
    block_.committed.store_release(sequence_);  // [L6]
    std::atomic_signal_fence(std::memory_order_seq_cst);
    MINIRAY_FAULT_POINT("transaction.after_commit");
    begin();
  }
  // Commits and frees the lock; nothing may be set afterwards.
  void close() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    MINIRAY_FAULT_POINT("transaction.before_commit");
    block_.committed.store_release(sequence_);  // [L6]
    std::atomic_signal_fence(std::memory_order_seq_cst);
    MINIRAY_FAULT_POINT("transaction.after_commit");
    open_ = false;
    lock_.release();
  }

  [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
  [[nodiscard]] std::uint32_t room() const noexcept {
    const std::uint32_t count = block_.journal_count.load_relaxed();
    return count < kJournalCapacity ? kJournalCapacity - count : 0;
  }
  [[nodiscard]] bool is_open() const noexcept { return open_; }

 private:
  void begin() noexcept {
    sequence_ = block_.committed.load_relaxed() + 1;
    block_.journal_count.store_release(0);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // [L5] an empty journal, then the section
                                                          // that owns it
    block_.active.store_release(sequence_);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  Lock& lock_;
  LockBlock& block_;
  std::byte* region_;
  std::uint64_t sequence_ = 0;
  std::uint32_t damage_count_ = debug::damage_count;  // at its begin
  bool open_ = true;
};

}  // namespace miniray::shm
