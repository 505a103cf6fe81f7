#include "shm/lock.hpp"

#include <cstring>

#include "platform/fault_point.hpp"
#include "platform/platform.hpp"

namespace miniray::shm {

namespace {
constexpr int kSpins = 100;  // a few microseconds: longer than several critical sections
constexpr std::int64_t kFirstTimeoutNs = 2'000'000;
constexpr std::int64_t kLastTimeoutNs = 50'000'000;
constexpr std::int64_t kReasonTimeoutNs = 100'000'000;
constexpr std::uint64_t kStallNs = 1'000'000'000;
}  // namespace

bool Lock::acquire_slow() noexcept {
  for (int spin = 0; spin < kSpins; ++spin) {
    platform::cpu_relax();
    if (block_->word.load_relaxed() != 0) continue;
    std::uint32_t expected = 0;
    if (block_->word.compare_exchange(expected, holder_)) return true;
  }
  block_->contended_count.fetch_add_ordered(1);
  std::int64_t timeout_ns = kFirstTimeoutNs;
  Stall stall;
  while (!is_poisoned()) {
    std::uint32_t found = 0;
    // A woken waiter keeps WAITERS set: others may sleep behind it.
    if (block_->word.compare_exchange(found, holder_ | LockWord::kWaiters)) return true;
    if ((found & LockWord::kWaiters) == 0) {
      if (!block_->word.compare_exchange(found, found | LockWord::kWaiters)) continue;
      found |= LockWord::kWaiters;
    }
    const auto result = platform::wait_on_word(block_->word.address(), found, timeout_ns);
    if (result != platform::WaitResult::kTimedOut) continue;
    if (try_steal(found)) {
      probe_->after_repair();
      return true;
    }
    watch_holder(found, timeout_ns, stall);
    timeout_ns = timeout_ns * 2 < kLastTimeoutNs ? timeout_ns * 2 : kLastTimeoutNs;
  }
  return false;
}

void Lock::poison(const char* why) noexcept {
  std::uint32_t sound = 0;
  if (!block_->poisoned.compare_exchange(sound, kPoisonUntold)) return;
  std::memcpy(block_->poison_text, why, strnlen(why, sizeof(block_->poison_text) - 1));
  block_->poisoned.store_release(kPoisonTold);
  platform::wake_word(block_->poisoned.address(), 1 << 30);
}

debug::Damage Lock::damage() const noexcept {
  // Whoever poisons says why a moment later, unless it dies in between.
  if (block_->poisoned.load_acquire() == kPoisonUntold)
    (void)platform::wait_on_word(block_->poisoned.address(), kPoisonUntold, kReasonTimeoutNs);
  // Damage may be all there is, to these very words.
  if (block_->poisoned.load_acquire() != kPoisonTold || block_->poison_text[0] == '\0')
    return debug::Damage("lock: it is poisoned, and nobody said why");
  return debug::Damage(block_->poison_text);
}

void Lock::wake_one() noexcept { platform::wake_word(block_->word.address(), 1); }

void Lock::watch_holder(std::uint32_t found, std::int64_t waited_ns, Stall& stall) noexcept {
  const std::uint32_t holder = found & LockWord::kHolderMask;
  const std::uint64_t section = block_->active.load_acquire();
  if (holder != stall.holder || section != stall.section) stall = {holder, section, 0};
  stall.waited_ns += static_cast<std::uint64_t>(waited_ns);
  const auto patience_ns = static_cast<std::uint64_t>(debug::patience_ns);
  if (stall.waited_ns < (patience_ns < kStallNs ? patience_ns : kStallNs)) return;
  if (holder != holder_ && probe_->holder_stalls(stall, *block_)) {
    stall.stopped_ns = stall.waited_ns;
  } else if (stall.waited_ns - stall.stopped_ns >= patience_ns) {
    poison("lock: its word names a living process that does not let it go");
  }
}

bool Lock::try_steal(std::uint32_t found) noexcept {
  const std::uint32_t owner = found & LockWord::kHolderMask;
  const std::uint32_t slot = (owner & 0xFFFF) - 1;
  if (!probe_->holder_is_dead(slot, owner >> 16)) return false;
  if (!block_->word.compare_exchange(found, holder_ | LockWord::kRepair | LockWord::kWaiters)) return false;
  MINIRAY_FAULT_POINT("lock.stolen");
  roll_back();
  block_->word.store_release(holder_ | LockWord::kWaiters);
  return true;
}

bool Lock::recover_from(std::uint32_t holder) noexcept {
  std::uint32_t found = block_->word.load_acquire();
  while ((found & LockWord::kHolderMask) == holder) {
    if (!block_->word.compare_exchange(found, holder_ | LockWord::kRepair | LockWord::kWaiters)) continue;
    MINIRAY_FAULT_POINT("lock.stolen");
    roll_back();
    release();
    return true;
  }
  return false;
}

void Lock::roll_back() noexcept {
  const std::uint64_t active = block_->active.load_acquire();
  if (active != block_->committed.load_acquire()) {
    const auto lock_begin = static_cast<std::uint64_t>(reinterpret_cast<std::byte*>(block_) - region_);
    std::uint32_t count = block_->journal_count.load_acquire();
    if (count > kJournalCapacity) {
      poison("lock: the journal has more entries than room");
      count = 0;
    }
    while (count > 0) {
      const JournalEntry entry = block_->journal[--count];
      const std::uint64_t offset = entry.location >> 1;
      const std::uint64_t size = (entry.location & 1) != 0 ? 8 : 4;
      const bool is_in_lock = offset >= lock_begin && offset < lock_begin + sizeof(LockBlock);
      if (offset % size != 0 || offset > region_bytes_ - size || is_in_lock) {
        poison("lock: an entry of the journal names no cell");
        break;
      }
      std::byte* target = region_ + offset;
      if (size == 8) {
        std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(target))
            .store(entry.old_value, std::memory_order_release);
      } else {
        std::atomic_ref<std::uint32_t>(*reinterpret_cast<std::uint32_t*>(target))
            .store(static_cast<std::uint32_t>(entry.old_value), std::memory_order_release);
      }
    }
    // Ends the undone section. Its number is spent, not reused: a reader that
    // saw it will not take it for committed.
    block_->active.store_release(active + 1);
    block_->committed.store_release(active + 1);
  }
  block_->repair_count.fetch_add_ordered(1);
}

}  // namespace miniray::shm
