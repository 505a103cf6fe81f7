// shm/atomic.hpp - words of shared memory.
//
// Atomic<T>   a word that any process changes without the lock: futex words, flags, statistics. The order is in the method name.
// Cell<T>     a word that only a Transaction changes (under the lock, with its old value kept in the journal), and anyone may read.
// Invariants  A1 both hold a plain T, so records stay trivial and a futex finds its word.
//             A2 both are always lock-free, hence address-free: they work between processes that map them at different addresses.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace miniray::shm {

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  static_assert(std::atomic_ref<T>::is_always_lock_free);

 public:
  [[nodiscard]] T load_relaxed() const noexcept { return reference().load(std::memory_order_relaxed); }
  [[nodiscard]] T load_acquire() const noexcept { return reference().load(std::memory_order_acquire); }
  [[nodiscard]] T load_ordered() const noexcept { return reference().load(std::memory_order_seq_cst); }
  void store_relaxed(T value) noexcept { reference().store(value, std::memory_order_relaxed); }
  void store_release(T value) noexcept { reference().store(value, std::memory_order_release); }
  void store_ordered(T value) noexcept { reference().store(value, std::memory_order_seq_cst); }
  T exchange_ordered(T value) noexcept { return reference().exchange(value, std::memory_order_seq_cst); }
  T fetch_add_ordered(T value) noexcept { return reference().fetch_add(value, std::memory_order_seq_cst); }
  T fetch_sub_ordered(T value) noexcept { return reference().fetch_sub(value, std::memory_order_seq_cst); }
  // Like std::atomic: `expected` receives the value found.
  bool compare_exchange(T& expected, T desired) noexcept {
    return reference().compare_exchange_strong(expected, desired, std::memory_order_seq_cst, std::memory_order_relaxed);
  }
  [[nodiscard]] const T* address() const noexcept { return &value_; }

 private:
  [[nodiscard]] std::atomic_ref<T> reference() const noexcept { return std::atomic_ref<T>(const_cast<T&>(value_)); }
  alignas(sizeof(T)) T value_;
};

class Transaction;
class Journal;

template <class T>
class Cell {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  static_assert(std::atomic_ref<T>::is_always_lock_free);

 public:
  // [C1] Transaction::set(): release -> get(): acquire; a reader without the
  // lock sees what was written before the cell.
  [[nodiscard]] T get() const noexcept { return std::atomic_ref<T>(const_cast<T&>(value_)).load(std::memory_order_acquire); }

 private:
  friend class Transaction;
  void put(T value) noexcept { std::atomic_ref<T>(value_).store(value, std::memory_order_release); }  // [C1]
  alignas(sizeof(T)) T value_;
};

template <class T>
inline constexpr bool kShareable =
    std::is_standard_layout_v<T> && std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>;

// Index of a record in a table, or of a page in the store; 0 is "none" and no
// table hands it out.
using Index = std::uint32_t;
inline constexpr Index kNone = 0;

}  // namespace miniray::shm
