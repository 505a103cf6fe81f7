// python/actor_calls.hpp - the calls of the actor that this process hosts: begun one by one, or several at once by Python's loops and threads.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Begins up to `room` calls. `is_over`: nobody has a handle and none is left, so the actor has ended.
std::size_t begin_calls(Index* calls, std::size_t room, bool& is_over);
// Gives back what this process let go: nobody may come by for long, and it may keep an actor.
void flush_before_sleep();

// An event loop that sleeps next spins first: its caller may call again at once.
void note_call_ended();

bool add_actor_call_functions(PyObject* module);

}  // namespace miniray::python
