// python/begun_call.hpp - miniray._miniray_core.BegunCall: one call of an actor that runs several at once, from its beginning to its answer.
//
// Invariants  V1 it is a coroutine, so that an event loop's Task runs it; a thread runs it with run(). Either once.
//             V2 its owner hears of it once, in the thread that ran it: owner.end(call, value or None, error or None) when the method is
//                over, also when it was cancelled before it ran; or owner.drop(call) when calls are refused.
//             V3 the arguments are let go before the owner hears.
//             V4 who ran it is told by a context variable, which tasks and threads of asyncio inherit: what they start are its children.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Function and arguments of a call that begin_calls() gave. nullptr without a Python error: it has ended with an error instead.
PyObject* load_begun_call(Index task);

// The call that this thread or coroutine runs: its row and sequence; kNone and 0 without one.
struct RunningCall {
  Index task = shm::kNone;
  std::uint64_t sequence = 0;
};
[[nodiscard]] RunningCall running_call();

bool add_begun_call_type(PyObject* module);

}  // namespace miniray::python
