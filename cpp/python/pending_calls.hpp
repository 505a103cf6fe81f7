// python/pending_calls.hpp - calls that this process has made and that are not finished, of actors with max_pending_calls.
//
// Invariants  M1 of one session, under the GIL. A call is finished when its row is free, or another task's.
//             M2 as in Ray, all handles of an actor in one process count together, and those of other processes do not.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Whether this process has made so many calls of the actor that are not finished.
[[nodiscard]] bool is_full_of_calls(ObjectKey actor, std::uint32_t limit);
// Counts a call that was submitted.
void note_pending_call(ObjectKey actor, Index task, std::uint64_t sequence);

}  // namespace miniray::python
