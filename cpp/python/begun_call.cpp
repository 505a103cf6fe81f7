// python/begun_call.cpp - see begun_call.hpp.
//
// Invariants  V5 answer() finds the call in its row until it is answered, also when the actor ended before: then it does nothing.
#include "python/begun_call.hpp"

#include <structmember.h>

#include "python/actor_calls.hpp"
#include "python/call_coroutine.hpp"
#include "python/guard.hpp"
#include "python/raised.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

using begun::BegunCall;
using begun::cast;
using begun::row;
using begun::Stage;

PyTypeObject* call_type = nullptr;
// The current Python error becomes the result of the call; of one that streams, with a `generator`, one more.
bool fail(Index task, Function* function, bool is_dependency, PyObject* generator = nullptr) {
  bool leave = false;
  if (!finish_run(task, function, generator, is_dependency, leave)) return false;
  session->domain.processes.ring(session->domain.self().slot);  // it may be tried again
  return true;
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
  if (call->knows_of_cancel || call->stage == Stage::kOver || !begun::is_cancelled(call)) Py_RETURN_FALSE;
  call->knows_of_cancel = true;
  Py_RETURN_TRUE;
}

// What is shown of a coroutine: names are those of the method; the rest is of its coroutine, while there is one.
PyObject* of_method(PyObject* self, void* name) {
  return PyObject_GetAttrString(cast(self)->method, static_cast<const char*>(name));
}

PyObject* of_coroutine(PyObject* self, void* name) {
  if (cast(self)->coroutine != nullptr) return PyObject_GetAttrString(cast(self)->coroutine, static_cast<const char*>(name));
  PyErr_SetString(PyExc_AttributeError, static_cast<const char*>(name));
  return nullptr;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const BegunCall* call = cast(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(call->method);
  Py_VISIT(call->values);
  Py_VISIT(call->names);
  Py_VISIT(call->owner);
  Py_VISIT(call->coroutine);
  return 0;
}

int clear(PyObject* self) {
  begun::forget_arguments(cast(self));
  Py_CLEAR(cast(self)->owner);
  Py_CLEAR(cast(self)->method);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  (void)clear(self);
  Py_CLEAR(cast(self)->name);
  Py_CLEAR(cast(self)->group);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError, "a BegunCall is made by _begin_calls()");
}

PyMethodDef call_methods[] = {
    {"send", begun::send_method, METH_O, nullptr},
    {"throw", guarded<begun::throw_method>, METH_VARARGS, nullptr},
    {"close", guarded<begun::close>, METH_NOARGS, nullptr},
    {"answer", guarded<answer>, METH_O, nullptr},
    {"hears_of_cancel", guarded<hears_of_cancel>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef call_members[] = {
    {"number", T_UINT, offsetof(BegunCall, task), READONLY, "Of its row."},
    {"owner", T_OBJECT_EX, offsetof(BegunCall, owner), 0, "Who hears when it is over."},
    {"streams", T_BOOL, offsetof(BegunCall, streams), 0, "Whether what it yields are results, and what it raises one more."},
    {"__name__", T_OBJECT_EX, offsetof(BegunCall, name), READONLY, nullptr},
    {"group", T_OBJECT_EX, offsetof(BegunCall, group), READONLY, "Its concurrency group."},
    {"exits", T_BOOL, offsetof(BegunCall, exits), 0, "Whether the actor is to end with it."},
    {},
};
void* named(const char* name) { return const_cast<char*>(name); }
PyGetSetDef call_properties[] = {
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
    {Py_tp_iternext, reinterpret_cast<void*>(begun::iternext)},
    {Py_am_await, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_am_send, reinterpret_cast<void*>(begun::send)},
    {Py_tp_methods, call_methods},
    {Py_tp_members, call_members},
    {Py_tp_getset, call_properties},
    {0, nullptr},
};
PyType_Spec call_spec = {"miniray._miniray_core.BegunCall", sizeof(BegunCall), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                         call_slots};

// False with a Python error.
bool read_runnable(Function& function) {
  PyObject* const runnable = function.callable.get();
  Method method;
  method.function.reset(PyObject_GetAttrString(runnable, "function"));
  method.group.reset(PyObject_GetAttrString(runnable, "group"));
  const Owned is_async(PyObject_GetAttrString(runnable, "is_async"));
  if (!method.function || !method.group || !is_async) return false;
  method.name.reset(PyObject_GetAttrString(method.function.get(), "__name__"));
  if (!method.name) {  // not every callable has one
    PyErr_Clear();
    method.name.reset(Py_NewRef(function.name.get()));
  }
  method.is_async = is_async.get() == Py_True;
  function.method = std::move(method);
  return true;
}

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
  if (begun::running == nullptr || PyContextVar_Get(begun::running, nullptr, &found) != 0) PyErr_Clear();
  return Owned(found);
}

// _running_call(): the BegunCall that this thread or coroutine runs, None without one.
PyObject* get_running_call(PyObject*, PyObject*) {
  Owned call(current());
  return call ? call.release() : Py_NewRef(Py_None);
}

// _refuse_calls(): those that have not begun to run are dropped.
PyObject* refuse_calls(PyObject*, PyObject*) {
  begun::refuses.store(true);
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
  if (!function->method.function && !read_runnable(*function)) return nullptr;
  const Method& method = function->method;
  Owned values(as_tuple(given.values));
  Owned self(values ? call_type->tp_alloc(call_type, 0) : nullptr);
  if (!self) return nullptr;
  BegunCall* call = cast(self.get());
  call->method = Py_NewRef(method.function.get());
  call->name = Py_NewRef(method.name.get());
  call->group = Py_NewRef(method.group.get());
  call->is_async = method.is_async;
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
  if (begun::refuse_stage(cast(self)) || begun::start(self, &result) == PYGEN_ERROR) return false;
  Py_DECREF(result);
  return true;
}

PyObject* begun_call_owner(PyObject* self) noexcept { return cast(self)->owner; }

void set_begun_call_owner(PyObject* self, PyObject* owner) noexcept { Py_XSETREF(cast(self)->owner, Py_XNewRef(owner)); }

bool are_calls_refused() noexcept { return begun::refuses.load(); }

RunningCall running_call() {
  const Owned found(current());
  if (!found) return {};
  const BegunCall* call = cast(found.get());
  return {call->stage == Stage::kOver ? shm::kNone : call->task, call->sequence};
}

bool add_begun_call_type(PyObject* module) {
  call_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&call_spec));
  return call_type != nullptr && begun::set_up_coroutines() && PyModule_AddFunctions(module, methods) == 0 &&
         PyModule_AddObjectRef(module, "BegunCall", reinterpret_cast<PyObject*>(call_type)) == 0;
}

}  // namespace miniray::python
