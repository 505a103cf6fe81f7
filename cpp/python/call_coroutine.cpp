// python/call_coroutine.cpp - see call_coroutine.hpp.
//
// Source      The coroutine protocol: https://docs.python.org/3/reference/datamodel.html#coroutine-objects
#include "python/call_coroutine.hpp"

#include "python/actor_calls.hpp"
#include "python/call_threads.hpp"
#include "python/guard.hpp"
#include "python/raised.hpp"
#include "python/task_run.hpp"

namespace miniray::python::begun {

PyObject* running = nullptr;
std::atomic<bool> refuses = false;

namespace {

PyObject *end_name = nullptr, *fail_name = nullptr, *forget_name = nullptr, *throw_name = nullptr;

void set_cancelled() {
  const Owned module(PyImport_ImportModule("miniray.exceptions"));
  const Owned error(module ? PyObject_CallMethod(module.get(), "TaskCancelledError", nullptr) : nullptr);
  raise_object(error.get());
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
  return PyObject_Vectorcall(call->method, reinterpret_cast<PyTupleObject*>(call->values)->ob_item,
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

// As an iterator tells it: a return is StopIteration.
PyObject* as_iterator(PySendResult sending, PyObject* result) {
  if (sending != PYGEN_RETURN) return result;
  Py_DECREF(result);
  PyErr_SetNone(PyExc_StopIteration);
  return nullptr;
}

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

}  // namespace

void forget_arguments(BegunCall* call) {
  Py_CLEAR(call->coroutine);
  Py_CLEAR(call->values);
  Py_CLEAR(call->names);
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
  if (!token) return PYGEN_ERROR;
  call->stage = Stage::kRuns;
  Owned value(call_method(call));
  if (!value || !call->is_async) return finish(self, std::move(value), result);
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

PyObject* send_method(PyObject* self, PyObject* sent) {
  PyObject* result = nullptr;
  const PySendResult sending = send(self, sent, &result);
  return as_iterator(sending, result);
}

PyObject* iternext(PyObject* self) { return send_method(self, Py_None); }

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

bool set_up_coroutines() {
  running = PyContextVar_New("miniray_running_call", nullptr);
  end_name = PyUnicode_InternFromString("end");
  fail_name = PyUnicode_InternFromString("fail");
  forget_name = PyUnicode_InternFromString("forget");
  throw_name = PyUnicode_InternFromString("throw");
  return running != nullptr && throw_name != nullptr;
}

}  // namespace miniray::python::begun
