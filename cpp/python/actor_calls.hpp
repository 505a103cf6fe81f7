// python/actor_calls.hpp - the calls of the actor that this process hosts: begun one by one, or several at once by Python's loops and threads.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// That an idle worker or host waits awake before it sleeps.
inline constexpr std::uint64_t kIdleSpinNs = 100'000;

[[nodiscard]] bool has_actor();
// Whether there is something for who begins calls: a call, a cancellation, or the actor's end. Needs neither lock nor GIL.
[[nodiscard]] bool has_calls();
// Whether calls were cancelled since the last time.
bool take_cancels();
// Begins up to `room` calls. `is_over`: nobody has a handle and none is left, so the actor has ended.
std::size_t begin_calls(Index* calls, std::size_t room, bool& is_over);
// Gives back what this process let go: nobody may come by for long, and it may keep an actor.
void flush_before_sleep();

// All threads that are on the wake word of this process, whether they count as sleepers or not.
void wake_own_threads();
// The main thread is to look at what Python says.
void nudge_main();
[[nodiscard]] bool is_main_nudged();
void forget_nudge();
// An event loop that sleeps next spins first: its caller may call again at once.
void note_call_ended();

bool add_actor_call_functions(PyObject* module);

}  // namespace miniray::python
