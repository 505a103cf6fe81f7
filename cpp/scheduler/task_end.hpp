// scheduler/task_end.hpp - why a task has no result, and what its callers find in the place of one.
//
// Invariants  E1 the first byte of each record tells it from a value, which Python has encoded (python/codec.hpp), and
//                from a function.
#pragma once

#include <cstdint>

namespace miniray::scheduler {

enum class DeathCause : std::uint8_t {
  kDied = 0,           // a note may say more
  kNoWorker = 1,       // the task never ran: no worker could be started
  kMemory = 2,         // ended by the memory monitor; tried again out of a budget of its own
  kMemoryForGood = 3,  // the same, not tried again
  kCancelled = 4,      // cancel(): nothing died
  kEnvironment = 5,    // the task never ran: its environment could not be set up; a note says why
  kGroupRemoved = 6,   // its placement group was removed; the same
  kNoSuchNode = 7,     // it was to run on another machine; the same
};

// How a process ended, for the error that its task's callers get.
struct ProcessEnd {
  std::int32_t pid;
  std::int32_t status;  // exit code, or minus the signal; kUnknownEnd when nobody could reap it
  DeathCause cause = DeathCause::kDied;
  std::uint32_t note = 0;  // of DeathNotes
};
inline constexpr std::int32_t kUnknownEnd = 0x7FFFFFFF;

// Payload of an object that is in error because its worker died; the name follows.
struct CrashRecord {
  std::uint8_t format;  // kCrashFormat
  DeathCause cause;
  std::uint8_t padding[2];
  std::int32_t pid;
  std::int32_t status;
  std::uint32_t attempts;
  std::uint32_t name_bytes;
  std::uint32_t note;
};
inline constexpr std::uint8_t kCrashFormat = 3;
// Payload of an object in error because no memory, in the store or on disk, was left for it; lies inline.
struct NoRoomRecord {
  std::uint8_t format;  // kNoRoomFormat
  std::uint8_t padding[7];
  std::uint64_t needed_bytes;
};
inline constexpr std::uint8_t kNoRoomFormat = 5;
// A function object's payload starts with this format byte, then the length of the task's name, and the name at byte 8.
inline constexpr std::uint8_t kFunctionFormat = 4;

}  // namespace miniray::scheduler
