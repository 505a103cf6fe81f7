// scheduler/task_entry.hpp - one row per call that has not ended.
//
// Invariants  T1 truth: state, worker, dependencies, sequence, retries, function, arguments, results. Derived: the ready
//                queues.
//             T2 a task holds one reference on its function, its argument object, each reference in its inline arguments, until
//                it ends.
//             T3 kLeased names the worker (slot + generation), and that worker's row names the task.
//             T4 the chain from first_result holds the results that are still to be made: one that is sealed has left it, in the same
//                section. None left and a result_count: the task has done its work.
//             T5 a call of an actor, or its creation, names the actor and holds one reference on its handle object. Calls that have not
//                begun stand in a lane, those that run in the actor's list (actor_entry.hpp); a waiting call whose actor is dead stands
//                nowhere: it ends when its last dependency is there.
//             T6 a cancelled task that has not begun has no results left to make; one that waits for arguments keeps its row until they
//                are there, a call until its host comes by.
// Moves       free -> waiting -> queued -> leased -> free; leased -> queued when the worker died or the call is to be tried
//             again.
#pragma once

#include "shm/slot_table.hpp"

namespace miniray::scheduler {

using shm::Atomic;
using shm::Cell;
using shm::Index;
using shm::kNone;
using shm::Transaction;

enum class TaskState : std::uint32_t { kFree = 0, kWaiting = 1, kQueued = 2, kLeased = 3, kParked = 4 };
// kParked: the creation of an actor that lives, kept to start it again.

inline constexpr std::uint32_t kInlineArgumentBytes = 144;

// Of TaskEntry::flags.
inline constexpr std::uint32_t kRetriable = 1;  // it was submitted with retries
inline constexpr std::uint32_t kCreation = 2;   // of an actor
inline constexpr std::uint32_t kCancelled = 4;  // it is not run, or (a call) its value is not wanted; never tried again
inline constexpr std::uint32_t kStreams = 8;    // it yields: tag_low is its stream (stream_entry.hpp)
inline constexpr std::uint32_t kMemoryEnd = 16;

struct alignas(64) TaskEntry {
  static constexpr const char* kDamagedIndex = "tasks: a number of a row that is not there";
  Cell<std::uint32_t> state;
  Cell<Index> next_free;  // free list
  Cell<Index> next;       // ready queue
  Cell<std::uint32_t> dependencies;
  Cell<Index> function;  // object
  Cell<std::uint32_t> function_generation;
  Cell<Index> arguments;     // object; kNone: inline
  Cell<Index> first_result;  // of those not sealed yet (T4)
  Cell<std::uint32_t> result_count;
  Cell<Index> shape;
  Cell<std::uint32_t> retries_left;  // kRetryForever: no limit
  Cell<std::uint32_t> attempt;       // 0 for the first run
  Cell<std::uint32_t> worker;        // ProcessId, packed
  Cell<std::uint32_t> inline_bytes_used;
  Cell<std::uint32_t> inline_references;  // pairs (slot, generation) at the start of the inline bytes
  Cell<std::uint32_t> flags;              // kRetriable; from kMemoryEnd upwards how often it was ended for memory
  Cell<std::uint64_t> sequence;           // order of submission
  Cell<std::uint64_t> tag_high;  // low-level module: id of the return reference. Else: sequence of the task that made it
  Cell<std::uint64_t> tag_low;   // Else: its stream, with kStreams
  Cell<Index> actor;             // kNone: a task
  Cell<std::uint32_t> caller;    // ProcessId, packed; 0: a call that is tried again
  Cell<Index> lane_next;         // of the head of a lane: other lanes of the actor; of one that runs: others that run
  Cell<Index> lane_previous;     // of a task in a ready queue: the one before it, unless it is the first
  Cell<Index> lane_tail;         // of the head of a lane: its last call; else kNone
  Cell<Index> ready_next;        // of the head of a lane that is queued
  std::byte inline_bytes[kInlineArgumentBytes];

  [[nodiscard]] bool is_free() const noexcept { return state.get() == static_cast<std::uint32_t>(TaskState::kFree); }
  [[nodiscard]] bool has(std::uint32_t flag) const noexcept { return (flags.get() & flag) != 0; }
  [[nodiscard]] bool is_call() const noexcept { return actor.get() != kNone && (flags.get() & kCreation) == 0; }
  [[nodiscard]] std::uint32_t memory_ends() const noexcept { return flags.get() / kMemoryEnd; }
};
static_assert(shm::kShareable<TaskEntry> && sizeof(TaskEntry) == 256);

inline constexpr std::uint32_t kRetryForever = 0xFFFFFFFF;

}  // namespace miniray::scheduler
