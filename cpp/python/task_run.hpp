// python/task_run.hpp - one task, creation or call: function and arguments out of shared memory, results into it.
//
// Invariants  E1 results are sealed, the task ended and the next lease taken in one section: a worker killed before it leaves a lease
//                to repeat, killed after it leaves a finished task.
//             E2 user code runs only between sections, with the lease written.
//             E3 a Function stays while a task that names it is in the tables: its slot is not used again before.
#pragma once

#include "python/codec.hpp"
#include "python/session.hpp"

namespace miniray::python {

// What a Runnable of _runtime/concurrency.py says, read once; of actors that run several calls at once.
struct Method {
  Owned function;
  Owned name;
  Owned group;
  bool is_async = false;
};

struct Function {
  std::uint32_t generation = 0;
  Owned callable;  // what runs; a Runnable, of which `method` has the parts when one of its calls has begun
  Method method;
  Owned name;      // str
  Owned retry_on;  // None, True, or a tuple of exception types
  Owned threads;   // OMP_NUM_THREADS for it, a str
  std::uint64_t max_calls = 0;
  std::uint64_t calls = 0;
};

struct WorkerHooks {
  Owned load_function;  // (bytes-like) -> (callable, retry_on, max_calls, OMP_NUM_THREADS)
  Owned on_error;       // (name, exception, whether an argument was the error) -> exception to store
  Owned before_task;    // (OMP_NUM_THREADS, GPUs that it holds, a bit each) -> None; only when one of them changes
  Owned after_task;     // () -> None: flush output; SystemExit: the worker is to end; only when is_called_after_task()
  Owned unread_error;   // (exception) -> None: nobody waits for this error
  Owned serve;          // () -> None: runs the calls of an actor that runs several at once, until it has ended
};
extern WorkerHooks& worker_hooks;  // of this worker

// Begun by the section that ended this thread's call before; kNone.
MINIRAY_STATIC_TLS extern thread_local constinit Index next_call;
// Whether the actor that this process hosts runs several calls at once: who ends one begins no other, but for call_threads.hpp.
extern bool runs_several;

// Sequence of the task or call that this thread or coroutine runs; 0: of the driver, or of none.
[[nodiscard]] std::uint64_t parent_sequence();

struct Arguments {
  std::vector<Owned> values;  // named ones last
  Owned names;                // tuple, or null
  Py_ssize_t positional = 0;
};

// The task's function, and the threads it may use told to numeric libraries; nullptr with a Python error.
Function* begin_function(const scheduler::TaskEntry& task);
void forget_functions();
// Its name when its function is loaded, else None.
PyObject* task_name(const scheduler::TaskEntry& task);
PyObject* task_callable(const scheduler::TaskEntry& task);  // the same of what runs
// A dependency in error raises it. The task keeps its arguments alive, and views of them are looks of this process at the payload: no
// hold bit is needed.
bool decode_arguments(const scheduler::TaskEntry& task, Arguments& arguments, bool& is_dependency);
// Runs a task, a creation or a call. False: the worker must end (a Python error is set, or it asked to leave).
bool run_task(Index task, bool& leave);
// The second half: what came of it is `result`, or the Python error that is set. Keeps `result` until its bytes are in place: it may
// hold the only ref to an object.
bool finish_run(Index task, Function* function, PyObject* result, bool is_dependency, bool& leave);
// The actor that this process hosts ends; `record` tells why, for kInitFailed with the current Python error.
bool end_own_actor(Function* function, bool is_dependency, scheduler::ActorEndRecord record);

}  // namespace miniray::python
