// python/begun_call.hpp - miniray._miniray_core.BegunCall: one call of an actor that runs several at once, from its beginning to its answer.
//
// Invariants  V1 it is a coroutine, so that an event loop's Task runs it; or a thread runs it as a whole. Either once.
//             V2 a method that returned is answered here. What else may become of it its owner hears, in the thread that ran it, once:
//                owner.end(call, value or None, error or None), when it raised, was cancelled before it ran, or is to end the actor;
//                owner.fail(error), when what it returned could not be answered. Of a coroutine the owner hears
//                owner.forget(call) at last, also when it was dropped because calls are refused.
//             V3 the arguments are let go before the answer.
//             V4 who ran it is told by a context variable, which tasks and threads of asyncio inherit: what they start are its children.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Function and arguments of a call that begin_calls() gave. nullptr without a Python error: it has ended with an error instead.
PyObject* load_begun_call(Index task);

[[nodiscard]] bool is_begun_call(PyObject* object) noexcept;
[[nodiscard]] PyObject* begun_call_owner(PyObject* call) noexcept;  // borrowed, null without one
void set_begun_call_owner(PyObject* call, PyObject* owner) noexcept;
// All of it, in this thread, which `takes` its next call from the mailbox. False with a Python error.
bool run_begun_call(PyObject* call, bool takes);
// Those that have not begun to run are dropped.
[[nodiscard]] bool are_calls_refused() noexcept;

// The call that this thread or coroutine runs: its row and sequence; kNone and 0 without one.
struct RunningCall {
  Index task = shm::kNone;
  std::uint64_t sequence = 0;
};
[[nodiscard]] RunningCall running_call();

bool add_begun_call_type(PyObject* module);

}  // namespace miniray::python
