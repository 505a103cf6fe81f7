// python/call_coroutine.hpp - how a BegunCall runs and ends; see begun_call.hpp for what it is.
#pragma once

#include "python/session.hpp"

namespace miniray::python::begun {

enum class Stage : std::uint8_t { kNew, kWaits, kRuns, kOver };

struct BegunCall {
  PyObject_HEAD PyObject* method;  // bound
  PyObject* name;                  // its
  PyObject* group;                 // of calls, a name
  PyObject* values;                // a tuple, named arguments last
  PyObject* names;                 // of those, or null
  PyObject* owner;
  PyObject* coroutine;  // of the method, while it waits
  Py_ssize_t positional;
  std::uint64_t sequence;
  Index task;
  Stage stage;
  bool is_async;  // the method gives what is to be awaited
  bool knows_of_cancel;
  bool in_thread;   // run_begun_call(), not as a coroutine
  bool takes_next;  // its thread takes the next call
  char exits;       // exit_actor() was called in it
  char streams;     // what it yields are results, and what it raises is one more
};

extern PyObject* running;          // a context variable: the BegunCall that a thread or coroutine runs
extern std::atomic<bool> refuses;  // calls that have not begun to run are dropped

inline BegunCall* cast(PyObject* self) noexcept { return reinterpret_cast<BegunCall*>(self); }
inline const scheduler::TaskEntry& row(const BegunCall* call) { return session->domain.scheduler.tasks[call->task]; }
inline bool is_cancelled(const BegunCall* call) { return session != nullptr && row(call).has(scheduler::kCancelled); }

void forget_arguments(BegunCall* call);

// A call that runs or is over cannot be run: true with a Python error.
[[nodiscard]] bool refuse_stage(const BegunCall* call);
// From its beginning to its end, or to what it awaits.
[[nodiscard]] PySendResult start(PyObject* self, PyObject** result);

// The coroutine protocol.
PySendResult send(PyObject* self, PyObject* sent, PyObject** result);
PyObject* send_method(PyObject* self, PyObject* sent);
PyObject* iternext(PyObject* self);
PyObject* throw_method(PyObject* self, PyObject* args);
PyObject* close(PyObject* self, PyObject*);

[[nodiscard]] bool set_up_coroutines();

}  // namespace miniray::python::begun
