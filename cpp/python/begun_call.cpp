// python/begun_call.cpp - see begun_call.hpp.
//
// Invariants  V5 answer() finds the call in its row until it is answered, also when the actor ended before: then it does nothing.
// Source      The coroutine protocol: https://docs.python.org/3/reference/datamodel.html#coroutine-objects
#include "python/begun_call.hpp"

#include <structmember.h>

#include "python/actor_calls.hpp"
#include "python/call_threads.hpp"
#include "python/guard.hpp"
#include "python/raised.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

enum class Stage : std::uint8_t { kNew, kWaits, kRuns, kOver };

struct BegunCall {
  PyObject_HEAD PyObject* runnable;  // of _runtime/concurrency.py
  PyObject* values;                  // a tuple, named arguments last
  PyObject* names;                   // of those, or null
  PyObject* owner;
  PyObject* coroutine;  // of the method, while it waits
  Py_ssize_t positional;
  std::uint64_t sequence;
  Index task;
  Stage stage;
  bool knows_of_cancel;
  bool in_thread;   // run_begun_call(), not as a coroutine
  bool takes_next;  // its thread takes the next call
  char exits;       // exit_actor() was called in it
  char streams;     // what it yields are results, and what it raises is one more
};

PyTypeObject* call_type = nullptr;
PyObject* running = nullptr;        // a context variable: the BegunCall that a thread or coroutine runs
std::atomic<bool> refuses = false;  // calls that have not begun to run are dropped
PyObject *end_name = nullptr, *fail_name = nullptr, *forget_name = nullptr, *function_name = nullptr, *is_async_name = nullptr,
         *throw_name = nullptr;

BegunCall* cast(PyObject* self) noexcept { return reinterpret_cast<BegunCall*>(self); }

const scheduler::TaskEntry& row(const BegunCall* call) { return session->domain.scheduler.tasks[call->task]; }

bool is_cancelled(const BegunCall* call) { return session != nullptr && row(call).has(scheduler::kCancelled); }

// The current Python error becomes the result of the call; of one that streams, with a `generator`, one more.
bool fail(Index task, Function* function, bool is_dependency, PyObject* generator = nullptr) {
  bool leave = false;
  if (!finish_run(task, function, generator, is_dependency, leave)) return false;
  session->domain.processes.ring(session->domain.self().slot);  // it may be tried again
  return true;
}

void set_cancelled() {
  const Owned module(PyImport_ImportModule("miniray.exceptions"));
  const Owned error(module ? PyObject_CallMethod(module.get(), "TaskCancelledError", nullptr) : nullptr);
  raise_object(error.get());
}

void forget_arguments(BegunCall* call) {
  Py_CLEAR(call->coroutine);
  Py_CLEAR(call->values);
  Py_CLEAR(call->names);
}

// Seals its results. False with a Python error.
bool answer_with(const BegunCall* call, PyObject* value) {
  Function* function = begin_function(row(call));
  bool leave = false;
  return function != nullptr && finish_run(call->task, function, value, false, leave);
}

// Whether letting it go runs no code.
bool ends_quietly(PyObject* value) {
  return value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
         PyUnicode_CheckExact(value) || PyBytes_CheckExact(value);
}

// The owner of a coroutine counts its calls.
bool forget(PyObject* self) {
  if (cast(self)->in_thread) return true;
  const Owned told(PyObject_CallMethodOneArg(cast(self)->owner, forget_name, self));
  return told != nullptr;
}

// It is over; without a value the current Python error tells how. False with a Python error.
bool end(PyObject* self, Owned value) {
  BegunCall* call = cast(self);
  const Owned error(value ? nullptr : take_raised().release());
  call->stage = Stage::kOver;
  forget_arguments(call);
  if (!value || call->exits != 0) {
    const Owned told(PyObject_CallMethodObjArgs(call->owner, end_name, self, value ? value.get() : Py_None,
                                                error ? error.get() : Py_None, nullptr));
    if (!told) return false;
  } else if (has_actor()) {
    note_call_ended();
    takes_next = call->takes_next && ends_quietly(value.get());
    const bool is_answered = answer_with(call, value.get());
    takes_next = false;
    if (!is_answered) {
      const Owned told(PyObject_CallMethodOneArg(call->owner, fail_name, take_raised().get()));
      if (!told) return false;
    }
  }
  return forget(self);
}

bool drop(PyObject* self) {
  cast(self)->stage = Stage::kOver;
  forget_arguments(cast(self));
  return forget(self);
}

// What `await value` goes through.
PyObject* awaited_iterator(Owned value) {
  if (!value || PyCoro_CheckExact(value.get())) return value.release();
  const PyAsyncMethods* methods = Py_TYPE(value.get())->tp_as_async;
  if (methods != nullptr && methods->am_await != nullptr) return methods->am_await(value.get());
  return PyErr_Format(PyExc_TypeError, "object %s can't be used in 'await' expression", Py_TYPE(value.get())->tp_name);
}

PyObject* call_method(const BegunCall* call) {
  const Owned function(PyObject_GetAttr(call->runnable, function_name));
  if (!function) return nullptr;
  return PyObject_Vectorcall(function.get(), reinterpret_cast<PyTupleObject*>(call->values)->ob_item,
                             static_cast<std::size_t>(call->positional), call->names);
}

PySendResult finish(PyObject* self, Owned value, PyObject** result) {
  if (!end(self, std::move(value))) return PYGEN_ERROR;
  *result = Py_NewRef(Py_None);
  return PYGEN_RETURN;
}

PySendResult resume(PyObject* self, PyObject* sent, PyObject** result) {
  PyObject* value = nullptr;
  cast(self)->stage = Stage::kRuns;
  const PySendResult sending = PyIter_Send(cast(self)->coroutine, sent, &value);  // which nobody else runs or lets go meanwhile
  if (sending != PYGEN_NEXT) return finish(self, Owned(value), result);
  cast(self)->stage = Stage::kWaits;
  *result = value;
  return PYGEN_NEXT;
}

PySendResult start(PyObject* self, PyObject** result) {
  BegunCall* call = cast(self);
  *result = Py_None;
  if (call->owner == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "miniray: a call without an owner cannot run");
    return PYGEN_ERROR;
  }
  if (refuses.load()) {
    if (!drop(self)) return PYGEN_ERROR;
    Py_INCREF(Py_None);
    return PYGEN_RETURN;
  }
  if (is_cancelled(call)) {
    set_cancelled();
    return finish(self, nullptr, result);
  }
  const Owned token(PyContextVar_Set(running, self));
  const Owned is_async(token ? PyObject_GetAttr(call->runnable, is_async_name) : nullptr);
  if (!is_async) return PYGEN_ERROR;
  call->stage = Stage::kRuns;
  Owned value(call_method(call));
  if (!value || is_async.get() != Py_True) return finish(self, std::move(value), result);
  call->coroutine = awaited_iterator(std::move(value));
  return call->coroutine == nullptr ? finish(self, nullptr, result) : resume(self, Py_None, result);
}

bool refuse_stage(const BegunCall* call) {
  if (call->stage == Stage::kRuns) {
    PyErr_SetString(PyExc_ValueError, "coroutine already executing");
  } else if (call->stage == Stage::kOver) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  }
  return PyErr_Occurred() != nullptr;
}

PySendResult send(PyObject* self, PyObject* sent, PyObject** result) {
  try {
    *result = nullptr;
    if (refuse_stage(cast(self))) return PYGEN_ERROR;
    const PySendResult sending = cast(self)->stage == Stage::kNew ? start(self, result) : resume(self, sent, result);
    if (sending == PYGEN_ERROR) *result = nullptr;
    return sending;
  } catch (const debug::Damage& damage) {
    (void)raise_damage(damage);
  } catch (const std::bad_alloc&) {
    (void)PyErr_NoMemory();
  }
  *result = nullptr;
  return PYGEN_ERROR;
}

// As an iterator tells it: a return is StopIteration.
PyObject* as_iterator(PySendResult sending, PyObject* result) {
  if (sending != PYGEN_RETURN) return result;
  Py_DECREF(result);
  PyErr_SetNone(PyExc_StopIteration);
  return nullptr;
}

PyObject* send_method(PyObject* self, PyObject* sent) {
  PyObject* result = nullptr;
  const PySendResult sending = send(self, sent, &result);
  return as_iterator(sending, result);
}

PyObject* iternext(PyObject* self) { return send_method(self, Py_None); }

void set_thrown(PyObject* args) {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) return;
  if (PyExceptionInstance_Check(type)) {
    raise_object(type);
  } else if (PyExceptionClass_Check(type)) {
    PyErr_SetObject(type, value);
  } else {
    PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %s",
                 Py_TYPE(type)->tp_name);
  }
}

// What a raising iterator has returned; null with the Python error when it has not.
PyObject* take_returned() {
  if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_StopIteration)) return nullptr;
  const Owned stop(take_raised());
  return stop ? Py_NewRef(reinterpret_cast<PyStopIterationObject*>(stop.get())->value) : Py_NewRef(Py_None);
}

// throw(type or exception, value=None, traceback=None)
PyObject* throw_method(PyObject* self, PyObject* args) {
  BegunCall* call = cast(self);
  if (refuse_stage(call)) return nullptr;
  Owned value;
  const Owned coroutine(Py_XNewRef(call->coroutine));
  const Owned method(coroutine ? PyObject_GetAttr(coroutine.get(), throw_name) : nullptr);
  if (method) {
    call->stage = Stage::kRuns;
    if (PyObject* yielded = PyObject_CallObject(method.get(), args); yielded != nullptr) {
      call->stage = Stage::kWaits;
      return yielded;
    }
    value.reset(take_returned());
  } else {
    PyErr_Clear();
    set_thrown(args);
  }
  PyObject* result = nullptr;
  const PySendResult sending = finish(self, std::move(value), &result);
  return as_iterator(sending, result);
}

// close(): a call that is not over is answered as if it had been cancelled.
PyObject* close(PyObject* self, PyObject*) {
  BegunCall* call = cast(self);
  if (call->stage == Stage::kOver) Py_RETURN_NONE;
  if (refuse_stage(call)) return nullptr;
  if (call->coroutine != nullptr) {
    const Owned coroutine(Py_NewRef(call->coroutine));
    call->stage = Stage::kRuns;
    const Owned closed(PyObject_CallMethod(coroutine.get(), "close", nullptr));
    if (!closed) PyErr_Clear();
  }
  if (call->owner == nullptr) Py_RETURN_NONE;
  set_cancelled();
  if (!end(self, nullptr)) return nullptr;
  Py_RETURN_NONE;
}

// answer(error): that is its result. False: the actor ended before, and the call with it.
PyObject* answer(PyObject* self, PyObject* error) {
  if (!has_actor()) Py_RETURN_FALSE;
  note_call_ended();
  const BegunCall* call = cast(self);
  Function* function = begin_function(row(call));
  if (function == nullptr) return nullptr;
  raise_object(error);
  if (!fail(call->task, function, false, call->streams != 0 ? Py_None : nullptr)) return nullptr;
  Py_RETURN_TRUE;
}

// hears_of_cancel(): whether the call is cancelled; True once.
PyObject* hears_of_cancel(PyObject* self, PyObject*) {
  BegunCall* call = cast(self);
  if (call->knows_of_cancel || call->stage == Stage::kOver || !is_cancelled(call)) Py_RETURN_FALSE;
  call->knows_of_cancel = true;
  Py_RETURN_TRUE;
}

PyObject* get_group(PyObject* self, void*) { return PyObject_GetAttrString(cast(self)->runnable, "group"); }

// What is shown of a coroutine: names are those of the method; the rest is of its coroutine, while there is one.
PyObject* of_method(PyObject* self, void* name) {
  const Owned function(PyObject_GetAttr(cast(self)->runnable, function_name));
  return function ? PyObject_GetAttrString(function.get(), static_cast<const char*>(name)) : nullptr;
}

PyObject* of_coroutine(PyObject* self, void* name) {
  if (cast(self)->coroutine != nullptr) return PyObject_GetAttrString(cast(self)->coroutine, static_cast<const char*>(name));
  PyErr_SetString(PyExc_AttributeError, static_cast<const char*>(name));
  return nullptr;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const BegunCall* call = cast(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(call->runnable);
  Py_VISIT(call->values);
  Py_VISIT(call->names);
  Py_VISIT(call->owner);
  Py_VISIT(call->coroutine);
  return 0;
}

int clear(PyObject* self) {
  forget_arguments(cast(self));
  Py_CLEAR(cast(self)->owner);
  Py_CLEAR(cast(self)->runnable);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  (void)clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError, "a BegunCall is made by _begin_calls()");
}

PyMethodDef call_methods[] = {
    {"send", send_method, METH_O, nullptr},
    {"throw", guarded<throw_method>, METH_VARARGS, nullptr},
    {"close", guarded<close>, METH_NOARGS, nullptr},
    {"answer", guarded<answer>, METH_O, nullptr},
    {"hears_of_cancel", guarded<hears_of_cancel>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef call_members[] = {
    {"number", T_UINT, offsetof(BegunCall, task), READONLY, "Of its row."},
    {"owner", T_OBJECT_EX, offsetof(BegunCall, owner), 0, "Who hears when it is over."},
    {"streams", T_BOOL, offsetof(BegunCall, streams), 0, "Whether what it yields are results, and what it raises one more."},
    {"exits", T_BOOL, offsetof(BegunCall, exits), 0, "Whether the actor is to end with it."},
    {},
};
void* named(const char* name) { return const_cast<char*>(name); }
PyGetSetDef call_properties[] = {
    {"group", get_group, nullptr, "Its concurrency group.", nullptr},
    {"__name__", of_method, nullptr, nullptr, named("__name__")},
    {"__qualname__", of_method, nullptr, nullptr, named("__qualname__")},
    {"cr_await", of_coroutine, nullptr, nullptr, named("cr_await")},
    {"cr_code", of_coroutine, nullptr, nullptr, named("cr_code")},
    {"cr_frame", of_coroutine, nullptr, nullptr, named("cr_frame")},
    {"cr_running", of_coroutine, nullptr, nullptr, named("cr_running")},
    {},
};
PyType_Slot call_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(refuse_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(iternext)},
    {Py_am_await, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_am_send, reinterpret_cast<void*>(send)},
    {Py_tp_methods, call_methods},
    {Py_tp_members, call_members},
    {Py_tp_getset, call_properties},
    {0, nullptr},
};
PyType_Spec call_spec = {"miniray._miniray_core.BegunCall", sizeof(BegunCall), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                         call_slots};

PyObject* as_tuple(std::vector<Owned>& values) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(values.size()));
  for (std::size_t i = 0; tuple != nullptr && i < values.size(); ++i) {
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), values[i].release());
  }
  return tuple;
}

// The BegunCall of this context; null without one.
Owned current() {
  PyObject* found = nullptr;
  if (running == nullptr || PyContextVar_Get(running, nullptr, &found) != 0) PyErr_Clear();
  return Owned(found);
}

// _running_call(): the BegunCall that this thread or coroutine runs, None without one.
PyObject* get_running_call(PyObject*, PyObject*) {
  Owned call(current());
  return call ? call.release() : Py_NewRef(Py_None);
}

// _refuse_calls(): those that have not begun to run are dropped.
PyObject* refuse_calls(PyObject*, PyObject*) {
  refuses.store(true);
  nudge_main();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_running_call", guarded<get_running_call>, METH_NOARGS, nullptr},
    {"_refuse_calls", guarded<refuse_calls>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* load_begun_call(Index task) {
  const scheduler::TaskEntry& entry = session->domain.scheduler.tasks[task];
  MINIRAY_FAULT_POINT("task.claimed");
  Function* function = begin_function(entry);
  Arguments given;
  bool is_dependency = false;
  if (function == nullptr || !decode_arguments(entry, given, is_dependency)) {
    (void)fail(task, function, is_dependency);
    return nullptr;
  }
  Owned values(as_tuple(given.values));
  Owned self(values ? call_type->tp_alloc(call_type, 0) : nullptr);
  if (!self) return nullptr;
  BegunCall* call = cast(self.get());
  call->runnable = Py_NewRef(function->callable.get());
  call->values = values.release();
  call->names = given.names.release();
  call->positional = given.positional;
  call->sequence = entry.sequence.get();
  call->task = task;
  return self.release();
}

bool is_begun_call(PyObject* object) noexcept { return Py_TYPE(object) == call_type; }

bool run_begun_call(PyObject* self, bool takes) {
  cast(self)->in_thread = true;
  cast(self)->takes_next = takes;
  PyObject* result = nullptr;
  if (refuse_stage(cast(self)) || start(self, &result) == PYGEN_ERROR) return false;
  Py_DECREF(result);
  return true;
}

PyObject* begun_call_owner(PyObject* self) noexcept { return cast(self)->owner; }

void set_begun_call_owner(PyObject* self, PyObject* owner) noexcept { Py_XSETREF(cast(self)->owner, Py_XNewRef(owner)); }

bool are_calls_refused() noexcept { return refuses.load(); }

RunningCall running_call() {
  const Owned found(current());
  if (!found) return {};
  const BegunCall* call = cast(found.get());
  return {call->stage == Stage::kOver ? shm::kNone : call->task, call->sequence};
}

bool add_begun_call_type(PyObject* module) {
  call_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&call_spec));
  running = PyContextVar_New("miniray_running_call", nullptr);
  end_name = PyUnicode_InternFromString("end");
  fail_name = PyUnicode_InternFromString("fail");
  forget_name = PyUnicode_InternFromString("forget");
  function_name = PyUnicode_InternFromString("function");
  is_async_name = PyUnicode_InternFromString("is_async");
  throw_name = PyUnicode_InternFromString("throw");
  return call_type != nullptr && running != nullptr && throw_name != nullptr && PyModule_AddFunctions(module, methods) == 0 &&
         PyModule_AddObjectRef(module, "BegunCall", reinterpret_cast<PyObject*>(call_type)) == 0;
}

}  // namespace miniray::python
