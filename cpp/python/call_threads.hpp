// python/call_threads.hpp - an actor's threads: each takes call after call from the mailbox itself, without a dispatcher between.
//
// Invariants  K1 everything here is guarded by the GIL, but what is atomic, which sleepers without it read.
//             K2 a thread *looks* when it will look at the mailbox before it runs user code again. While one looks nobody else need know of
//                a call. When none does, the main thread is armed: it counts as a sleeper of the process [W1], though it is on the wake
//                word all the time, so that the next caller wakes it, and it gives the call to a thread that is free.
//             K3 a thread looks from before its answer can be seen: a caller who calls again at once wakes nobody. Nothing of the user's
//                runs between the answer and the look; a result whose end may run code is let go before the thread looks.
//             K4 one thread at most waits for calls; others that find none are free again.
//             K5 busy is how many threads run calls, look, or have been given a call; the main thread begins calls only for those that
//                are free: none is given to a thread that sleeps on the mailbox.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// Whether this thread, which is ending a call, begins the next in the same section.
MINIRAY_STATIC_TLS extern thread_local constinit bool takes_next;
// This thread looks from now on.
void will_look();
// So many calls are on their way to threads.
void occupy_threads(std::size_t count);

bool add_call_thread_functions(PyObject* module);

}  // namespace miniray::python
