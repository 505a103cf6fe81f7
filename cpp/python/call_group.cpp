// python/call_group.cpp - see call_group.hpp.
#include "python/call_group.hpp"

#include <structmember.h>

#include "python/begun_call.hpp"

namespace miniray::python {

namespace {

struct CallGroup {
  PyObject_HEAD PyObject* loop;
  PyObject* tasks;  // a dictionary
  Py_ssize_t limit;
  char delays;
};

PyObject* task_type = nullptr;  // asyncio.Task
PyObject* task_names = nullptr;
PyObject *name_name = nullptr, *factory_name = nullptr, *create_name = nullptr, *delay_name = nullptr, *resume_name = nullptr,
         *over_name = nullptr;

CallGroup* cast(PyObject* self) noexcept { return reinterpret_cast<CallGroup*>(self); }

// As loop.create_task() does, but sooner.
PyObject* make_task(const CallGroup* group, PyObject* call) {
  const Owned name(PyObject_GetAttr(call, name_name));
  PyObject* const arguments[] = {nullptr, call, group->loop, name.get()};
  return name ? PyObject_Vectorcall(task_type, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, task_names) : nullptr;
}

// By a factory of the user's. Of an eager one the call may be over when it returns.
bool run_by_factory(const CallGroup* group, PyObject* call) {
  if (PyDict_SetItem(group->tasks, call, Py_None) != 0) return false;
  const Owned task(PyObject_CallMethodOneArg(group->loop, create_name, call));
  if (!task) return false;
  const int is_here = PyDict_Contains(group->tasks, call);
  return is_here == 1 ? PyDict_SetItem(group->tasks, call, task.get()) == 0 : is_here == 0;
}

bool put_one(PyObject* self, PyObject* call) {
  const CallGroup* group = cast(self);
  if (PyDict_GET_SIZE(group->tasks) >= group->limit) {
    const Owned delayed(PyObject_CallMethodOneArg(self, delay_name, call));
    return delayed != nullptr;
  }
  if (!is_begun_call(call)) {
    PyErr_SetString(PyExc_TypeError, "a CallGroup runs what _begin_calls() gives");
    return false;
  }
  set_begun_call_owner(call, self);
  const Owned factory(PyObject_CallMethodNoArgs(group->loop, factory_name));
  if (!factory) return false;
  if (factory.get() != Py_None) return run_by_factory(group, call);
  const Owned task(make_task(group, call));
  return task && PyDict_SetItem(group->tasks, call, task.get()) == 0;
}

// put(call): runs it, or delays it.
PyObject* put(PyObject* self, PyObject* call) {
  if (!put_one(self, call)) return nullptr;
  Py_RETURN_NONE;
}

// put_all(list of calls)
PyObject* put_all(PyObject* self, PyObject* calls) {
  if (!PyList_Check(calls)) return PyErr_Format(PyExc_TypeError, "put_all() takes a list");
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(calls); ++i) {
    const Owned call(Py_NewRef(PyList_GET_ITEM(calls, i)));
    if (!put_one(self, call.get())) return nullptr;
  }
  Py_RETURN_NONE;
}

// forget(call): it is over; what was delayed may run, and who ends the actor hears that calls are over.
PyObject* forget(PyObject* self, PyObject* call) {
  const CallGroup* group = cast(self);
  if (PyDict_DelItem(group->tasks, call) != 0) return nullptr;
  if (group->delays != 0) {
    const Owned resumed(PyObject_CallMethodNoArgs(self, resume_name));
    if (!resumed) return nullptr;
  }
  if (!are_calls_refused()) Py_RETURN_NONE;
  return PyObject_CallMethodNoArgs(self, over_name);
}

Py_ssize_t length(PyObject* self) { return PyDict_GET_SIZE(cast(self)->tasks); }

// CallGroup(loop, limit)
int init(PyObject* self, PyObject* args, PyObject*) {
  CallGroup* group = cast(self);
  PyObject* loop = nullptr;
  if (!PyArg_ParseTuple(args, "On", &loop, &group->limit)) return -1;
  if (task_type == nullptr) {
    const Owned asyncio(PyImport_ImportModule("asyncio"));
    task_type = asyncio ? PyObject_GetAttrString(asyncio.get(), "Task") : nullptr;
    if (task_type == nullptr) return -1;
  }
  Py_XSETREF(group->loop, Py_NewRef(loop));
  return 0;
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  Owned self(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  cast(self.get())->tasks = PyDict_New();  // the limit is 0: nothing runs before init()
  return cast(self.get())->tasks == nullptr ? nullptr : self.release();
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(cast(self)->loop);
  Py_VISIT(cast(self)->tasks);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(cast(self)->loop);
  if (cast(self)->tasks != nullptr) PyDict_Clear(cast(self)->tasks);
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(cast(self)->loop);
  Py_CLEAR(cast(self)->tasks);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef group_methods[] = {
    {"put", put, METH_O, nullptr},
    {"put_all", put_all, METH_O, nullptr},
    {"forget", forget, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef group_members[] = {
    {"loop", T_OBJECT_EX, offsetof(CallGroup, loop), READONLY, "The event loop."},
    {"limit", T_PYSSIZET, offsetof(CallGroup, limit), READONLY, "So many calls run at once."},
    {"tasks", T_OBJECT_EX, offsetof(CallGroup, tasks), READONLY, "The Task of each call, None while a factory makes it."},
    {"delays", T_BOOL, offsetof(CallGroup, delays), 0, "Whether resume() is to be called when a call is over."},
    {},
};
PyType_Slot group_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(make)},
    {Py_tp_init, reinterpret_cast<void*>(init)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_sq_length, reinterpret_cast<void*>(length)},
    {Py_tp_methods, group_methods},
    {Py_tp_members, group_members},
    {0, nullptr},
};
PyType_Spec group_spec = {"miniray._miniray_core.CallGroup", sizeof(CallGroup), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, group_slots};

}  // namespace

bool add_call_group_type(PyObject* module) {
  task_names = Py_BuildValue("(ss)", "loop", "name");
  name_name = PyUnicode_InternFromString("__name__");
  factory_name = PyUnicode_InternFromString("get_task_factory");
  create_name = PyUnicode_InternFromString("create_task");
  delay_name = PyUnicode_InternFromString("delay");
  resume_name = PyUnicode_InternFromString("resume");
  over_name = PyUnicode_InternFromString("over");
  const Owned type(PyType_FromSpec(&group_spec));
  return task_names != nullptr && over_name != nullptr && type && PyModule_AddObjectRef(module, "CallGroup", type.get()) == 0;
}

}  // namespace miniray::python
