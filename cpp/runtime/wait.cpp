#include "runtime/wait.hpp"

#include <algorithm>

namespace miniray::runtime {

namespace {

constexpr std::size_t kKeysPerSection = 512;

}  // namespace

bool ObjectWait::begin(const ObjectKey* keys, std::size_t count, std::size_t needed, bool fail_fast, bool& no_room) {
  no_room = false;
  bool satisfied = false;
  std::size_t position = 0;
  while (position < count && !satisfied) {
    if (domain_.ensure_rows(0, 0, static_cast<std::uint32_t>(kKeysPerSection)) != 0) {
      no_room = true;
      break;
    }
    Transaction transaction(domain_.lock);
    if (group_ == kNone) {
      group_ = domain_.waits.create_group(transaction, domain_.self(), fail_fast);
      if (group_ == kNone) {
        no_room = true;
        break;
      }
      // One more than needed: seals that arrive while keys are still being added must not end the wait early.
      transaction.set(domain_.waits.groups[group_].remaining, static_cast<std::uint32_t>(needed) + 1);
    }
    scheduler::WaitGroup& group = domain_.waits.groups[group_];
    for (std::size_t i = 0; i < kKeysPerSection && position < count && transaction.room() > 64; ++i, ++position) {
      const ObjectKey key = keys[position];
      const bool current = domain_.objects.is_current(key);
      const ObjectState state = current ? domain_.objects[key.slot].current_state() : ObjectState::kError;
      // Or whoever is told that it is there, and finds that it is not, would ask for ever.
      MINIRAY_SOUND(
          !current || state == ObjectState::kPending || domain_.objects[key.slot].seal_sequence.get() <= transaction.sequence(),
          "objects: one was sealed in a section that never was");
      if (current && domain_.scheduler.is_awaited(key.slot)) {
        if (!domain_.waits.add_to_group(transaction, domain_.objects, group_, key.slot)) {
          no_room = true;
          break;
        }
        continue;
      }
      const std::uint32_t remaining = group.remaining.get();
      if (remaining <= 1 || (fail_fast && state == ObjectState::kError)) {
        satisfied = true;
        break;
      }
      transaction.set(group.remaining, remaining - 1);
    }
    if (no_room) break;
  }
  if (!satisfied && !no_room && group_ != kNone) {
    Transaction transaction(domain_.lock);
    shm::Cell<std::uint32_t>& remaining = domain_.waits.groups[group_].remaining;
    if (remaining.get() > 0) transaction.set(remaining, remaining.get() - 1);  // the guard
    satisfied = remaining.get() == 0;
  }
  if (satisfied || no_room) end();
  return satisfied;
}

WaitOutcome ObjectWait::sleep(std::int64_t deadline_ns, const std::atomic<bool>& ends) {
  scheduler::WaitGroup& group = domain_.waits.groups[group_];
  for (;;) {
    const std::uint32_t wake = group.wake.load_ordered();  // [W4]
    if (domain_.is_poisoned()) debug::tell_damage(domain_.lock.damage());
    if (group.remaining.get() == 0) return WaitOutcome::kReady;
    if (ends.load()) return WaitOutcome::kInterrupted;
    const std::int64_t left = time_left(deadline_ns);
    if (left == 0) return WaitOutcome::kTimedOut;
    if (platform::wait_on_word(group.wake.address(), wake, left) == platform::WaitResult::kInterrupted) {
      return group.remaining.get() == 0 ? WaitOutcome::kReady : WaitOutcome::kInterrupted;
    }
  }
}

void ObjectWait::end() {
  if (group_ == kNone || !domain_.is_attached()) return;
  const Index group = group_;
  group_ = kNone;
  for (bool more = true; more;) {
    Transaction transaction(domain_.lock);
    more = domain_.waits.end_group_step(transaction, domain_.objects, group);
  }
}

StandingWait::Added StandingWait::add(ObjectKey key) {
  if (domain_.ensure_rows(0, 0, 1) != 0) return Added::kNoRoom;
  Transaction transaction(domain_.lock);
  if (!domain_.objects.is_current(key) || !domain_.scheduler.is_awaited(key.slot)) return Added::kSealed;
  if (group_ == kNone) group_ = domain_.waits.create_standing_group(transaction, domain_.self());
  if (group_ == kNone) return Added::kNoRoom;
  return domain_.waits.add_to_group(transaction, domain_.objects, group_, key.slot) ? Added::kWaits : Added::kNoRoom;
}

std::size_t StandingWait::collect(Index* objects, std::size_t room) {
  if (group_ == kNone || domain_.waits.groups[group_].first_done.get() == kNone) return 0;
  Transaction transaction(domain_.lock);
  return domain_.waits.collect(transaction, group_, objects, room);
}

void StandingWait::sleep(const std::atomic<bool>& ends) {
  scheduler::WaitGroup& group = domain_.waits.groups[group_];
  for (;;) {
    const std::uint32_t wake = group.wake.load_ordered();  // [W4]
    if (group.first_done.get() != kNone || ends.load()) return;
    if (domain_.is_poisoned()) debug::tell_damage(domain_.lock.damage());
    (void)platform::wait_on_word(group.wake.address(), wake, platform::kForever);
  }
}

void StandingWait::end() {
  if (group_ == kNone || !domain_.is_attached()) return;
  const Index group = group_;
  group_ = kNone;
  for (bool more = true; more;) {
    Transaction transaction(domain_.lock);
    more = domain_.waits.end_group_step(transaction, domain_.objects, group);
  }
}

ObjectWait::~ObjectWait() {
  try {
    end();
  } catch (const debug::Damage& damage) {
    domain_.poison(damage.text());
  }
}

void WaitAudit::look(Domain& domain) {
  relief_.look(domain);
  const std::uint64_t begin = platform::monotonic_ns();
  if (next_ns_ == 0) next_ns_ = begin + kFirstNs;
  if (begin < next_ns_) return;
  domain.audit(suspected_);
  const std::uint64_t end = platform::monotonic_ns();
  pause_ns_ = std::min(2 * pause_ns_, kLongestNs);
  next_ns_ = end + (suspected_ != nullptr ? 0 : std::max(pause_ns_, kShare * (end - begin)));
}

std::int64_t time_left(std::int64_t deadline_ns) noexcept {
  if (deadline_ns == platform::kForever) return platform::kForever;
  const auto now = static_cast<std::int64_t>(platform::monotonic_ns());
  return deadline_ns > now ? deadline_ns - now : 0;
}

WaitOutcome wait_for_lease(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns, std::int64_t deadline_ns) {
  const ProcessEntry& entry = domain.own_entry();
  const auto has_work = [&] {
    return entry.lease.get() != kNone || entry.worker_state.get() == static_cast<std::uint32_t>(process::WorkerState::kExiting);
  };
  Lookout lookout(domain);
  for (;;) {
    const bool looks = lookout.is_on();
    const std::int64_t next = looks ? lookout.next_look_ns() : deadline_ns;
    const bool is_last = !looks || (deadline_ns != platform::kForever && deadline_ns <= next);
    const WaitOutcome outcome = wait_for_work(domain, processors, spin_ns, is_last ? deadline_ns : next, has_work, true);
    if (is_last || outcome != WaitOutcome::kTimedOut) return outcome;
    lookout.look();
  }
}

WaitOutcome wait_for_call(Domain& domain, std::uint32_t processors, std::uint64_t spin_ns, const scheduler::ActorEntry& actor) {
  return wait_for_work(domain, processors, spin_ns, platform::kForever,
                       [&] { return actor.first_ready.get() != kNone || actor.has(scheduler::kLeaving); });
}

}  // namespace miniray::runtime
