// scheduler/stream_entry.hpp - the stream of a task that yields: its items in order, and how far both sides are.
//
// A stream is an object that is never sealed (kHandle and kStream): its row holds the record below, its references are the consumer's. The
// task's results are two: the item that it makes next, and the object of completed().
//
// Invariants  M1 items hang together from `head` (next_result of the stream's row) by next_result up to `tail`; all but the tail are
//                sealed. The stream holds one reference on each. head is kNone when the consumer took the tail, or the stream is given up.
//             M2 the tail is what the task makes next. Sealed without an error it is the end, and no item; sealed in error it is the last
//                item. In the chain of the task's results (T4) it stands before the object of completed().
//             M3 produced counts the items that were made, without the tail; consumed those that were taken. While head is there:
//                items from head to tail = produced - consumed + 1.
//             M4 task is kNone once it has ended. The stream goes when that is so and nobody refers to it.
//             M5 truth: all of it. What tells a task's row its stream is `tag_low`, with kStreams.
//             M6 who runs the task again passes over the first `produced` values: an item keeps its identity, and comes once.
// Waits       for the next item: as for any object, of the head. Of the producer: as for an object, of the stream; it waits while the
//             stream has no room (Scheduler::is_awaited), and take_item() tells it.
// Crash       a stream whose last reference went is on the list of dropped handles (actor_entry.hpp A2) until all its items are let go;
//             whoever closes a section goes on with it, item by item.
#pragma once

#include "store/object_table.hpp"

namespace miniray::scheduler {

using shm::Cell;
using shm::Index;
using shm::kNone;

// Of StreamRecord::flags.
inline constexpr std::uint32_t kGivenUp = 1;  // nobody reads on: the next yield ends the task

// In the place of the inline payload, which a stream's row has not.
struct StreamRecord {
  Cell<Index> tail;
  Cell<Index> task;
  Cell<std::uint32_t> limit;  // of items that are made and not taken; 0: none
  Cell<std::uint32_t> flags;
  Cell<std::uint64_t> produced;
  Cell<std::uint64_t> consumed;

  [[nodiscard]] bool is_given_up() const noexcept { return (flags.get() & kGivenUp) != 0; }
  [[nodiscard]] bool has_room() const noexcept {
    return limit.get() == 0 || produced.get() - consumed.get() < limit.get() || is_given_up();
  }
};
static_assert(shm::kShareable<StreamRecord> && sizeof(StreamRecord) <= store::kInlineBytes);

}  // namespace miniray::scheduler
