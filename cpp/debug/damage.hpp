// debug/damage.hpp - what shared memory says cannot be true: the operation ends here, before a word of it is used as an address.
//
// Invariants  G1 an index, offset or length that was read from shared memory is compared with its bounds (MINIRAY_SOUND) between the one
//                read and the use: it is read into a local variable once.
//             G2 a walk through a list in shared memory is bounded (WalkLimit), or changes what it has passed so that a second visit is
//                seen: a cycle made by damage ends.
//             G3 the bounds themselves never come from shared memory: each handle keeps those of the layout (runtime/domain.cpp wire()).
// Way out     Damage is thrown. The open Transaction poisons the lock on its way (shm/transaction.hpp), so that nobody builds on a
//             half-done section; whoever called the core tells the user (python/guard.hpp, bindings/module.cpp). Nothing else is thrown
//             by the core, and functions that look into the tables are not noexcept; destructors catch it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>

#include "platform/platform.hpp"

namespace miniray::debug {

inline constexpr std::size_t kDamageTextBytes = 120;

// What was found, in words; copied, because it may come out of another process's memory.
class Damage final : public std::exception {
 public:
  // At most kDamageTextBytes of `text` are read.
  explicit Damage(const char* text) noexcept { std::memcpy(text_, text, strnlen(text, sizeof(text_) - 1)); }
  [[nodiscard]] const char* text() const noexcept { return text_; }
  [[nodiscard]] const char* what() const noexcept override { return text_; }

 private:
  char text_[kDamageTextBytes] = {};
};

// How long something may last that another living process ends in microseconds, until it is damage: a lock's holder in one section, a
// chunk on its way back. Far longer than any machine takes; tests shorten it.
inline constinit std::int64_t patience_ns = 30'000'000'000;

[[noreturn, gnu::cold]] void found_damage(const char* what);
[[noreturn, gnu::cold]] void tell_damage(const Damage& damage);  // that another process has found

// How often this thread has thrown Damage: by it a section sees that it is being left (std::uncaught_exceptions() costs ten times as much).
MINIRAY_STATIC_TLS extern thread_local constinit std::uint32_t damage_count;

// What this thread found last: for the Transaction that is left by it.
[[nodiscard]] const char* last_damage() noexcept;

// Bounds a walk through a list whose length only shared memory knows.
class WalkLimit {
 public:
  WalkLimit(std::uint64_t limit, const char* what) noexcept : left_(limit), what_(what) {}
  void step() {
    if (left_-- == 0) [[unlikely]]
      found_damage(what_);
  }

 private:
  std::uint64_t left_;
  const char* what_;
};

}  // namespace miniray::debug

#define MINIRAY_SOUND(condition, what) (__builtin_expect(!!(condition), 1) ? (void)0 : ::miniray::debug::found_damage(what))
