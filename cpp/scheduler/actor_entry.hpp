// scheduler/actor_entry.hpp - one row per actor: what it is, who hosts it, which calls wait for it.
//
// Invariants  A1 truth: state, host, handle, creation, flags, restarts; of its calls: the lanes and the list of those that run. Derived:
//                first_ready .. last_ready.
//             A2 the handle object lives as long as the row, pending while the actor lives and in error with the cause of death after
//                it. Its references are the handles, and one of each call until it ends. When the last goes it is put on the list of
//                dropped handles, and whoever closes that section acts on it.
//             A3 a lane holds calls of one caller that have not begun, in the order of submission; its head stands in the list of
//                lanes, and in the ready list when it is queued. Of an unordered actor each call is a lane of its own.
//             A4 host is 0 unless a process runs the constructor or the calls; that process's row names the actor.
// Moves       free -> pending -> starting -> alive -> ending -> dead -> free; starting, alive -> pending when it is started again.
// Crash       recover_worker() of the host starts it again or ends it; `ending` in the header names one whose calls are being failed.
#pragma once

#include "shm/slot_table.hpp"

namespace miniray::scheduler {

using shm::Cell;
using shm::Index;
using shm::kNone;

enum class ActorState : std::uint32_t {
  kFree = 0,
  kPending = 1,   // its constructor waits for arguments, resources or a worker
  kStarting = 2,  // its constructor runs
  kAlive = 3,
  kEnding = 4,  // dead; calls that wait are being failed
  kDead = 5
};

// Of ActorEntry::flags.
inline constexpr std::uint32_t kUnorderedCalls = 1;  // several at once: none waits for an earlier one
inline constexpr std::uint32_t kKilled = 2;          // it is not started again
inline constexpr std::uint32_t kLeaving = 4;         // nobody has a handle: its host ends in order
inline constexpr std::uint32_t kOrphaned = 8;        // with kKilled: the process that made it died

enum class ActorEnd : std::uint8_t {
  kDied = 0,         // its process died
  kKilled = 1,       // kill()
  kLeft = 2,         // exit_actor() or SystemExit
  kOutOfScope = 3,   // the last handle went
  kInitFailed = 4,   // the constructor raised: the record's contained reference is the error
  kUnavailable = 5,  // of a call: its process died, another is being started
  kCreatorDied = 6,
  kGroupRemoved = 7,  // its placement group was removed before it had started
  kGroupGone = 8,     // the same while it was alive
  kNoSuchNode = 9,    // it was to live on another machine
};

// Payload of a handle object whose actor is dead, and of calls that it will not answer; those refer to the handle object.
struct ActorEndRecord {
  std::uint8_t format;  // kActorEndFormat
  ActorEnd end;
  std::uint8_t padding[2];
  std::int32_t pid;
  std::int32_t status;
  std::uint32_t note;  // of DeathNotes
};
inline constexpr std::uint8_t kActorEndFormat = 6;

struct alignas(64) ActorEntry {
  static constexpr const char* kDamagedIndex = "actors: a number of a row that is not there";
  Cell<std::uint32_t> state;
  Cell<Index> next_free;
  Cell<std::uint32_t> host;  // ProcessId, packed
  Cell<Index> handle;        // object (A2)
  Cell<Index> creation;      // task that runs the constructor; kNone when it will not run again
  Cell<Index> hold_shape;    // charged while it has a host
  Cell<Index> name;          // object that carries its name; kNone
  Cell<std::uint32_t> flags;
  Cell<std::uint32_t> restarts_left;  // kRetryForever: no limit
  Cell<std::uint32_t> restarts;       // how often it was started again
  Cell<Index> first_lane;
  Cell<Index> last_lane;
  Cell<Index> first_ready;
  Cell<Index> last_ready;
  Cell<Index> first_running;
  Cell<std::uint32_t> waiting_count;  // calls that have not begun
  Cell<std::uint32_t> creator;        // ProcessId, packed: dies it otherwise than in good order, the actor ends
  Cell<std::uint32_t> cancels;        // counts calls that run and are cancelled: the host looks for them when it changes
  std::uint8_t padding[56];

  [[nodiscard]] bool is_free() const noexcept { return state.get() == static_cast<std::uint32_t>(ActorState::kFree); }
  [[nodiscard]] ActorState current_state() const noexcept { return static_cast<ActorState>(state.get()); }
  [[nodiscard]] bool has(std::uint32_t flag) const noexcept { return (flags.get() & flag) != 0; }
  [[nodiscard]] bool is_over() const noexcept { return current_state() >= ActorState::kEnding; }
};
static_assert(shm::kShareable<ActorEntry> && sizeof(ActorEntry) == 128);

}  // namespace miniray::scheduler
