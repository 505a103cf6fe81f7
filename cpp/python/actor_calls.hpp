// python/actor_calls.hpp - the calls of the actor that this process hosts: begun one by one, or several at once by Python's loops and threads.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Begins up to `room` calls. `is_over`: nobody has a handle and none is left, so the actor has ended.
std::size_t begin_calls(Index* calls, std::size_t room, bool& is_over);
// Gives back what this process let go: nobody may come by for long, and it may keep an actor.
void flush_before_sleep();

// Sequence of the call that this thread or coroutine runs, of an actor that runs several; 0 without one.
[[nodiscard]] std::uint64_t sequence_in_context();

bool add_actor_call_functions(PyObject* module);

}  // namespace miniray::python
