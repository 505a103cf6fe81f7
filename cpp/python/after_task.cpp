#include "python/after_task.hpp"

#include "python/guard.hpp"
#include "python/session.hpp"

namespace miniray::python {

namespace {

struct Stream {
  Owned name;
  Owned own;
};

PyObject* sys_names = nullptr;  // the dictionary of the module, which lives as long as the interpreter
Stream streams[2];
bool is_wanted = true;

bool note(Stream& stream, const char* name) {
  stream.name.reset(PyUnicode_InternFromString(name));
  if (!stream.name) return false;
  stream.own.reset(Py_XNewRef(PyDict_GetItemWithError(sys_names, stream.name.get())));
  return PyErr_Occurred() == nullptr;
}

// _call_after_task(): the running task has written, or wants its worker to end.
PyObject* call_after_task(PyObject*, PyObject*) {
  is_wanted = true;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_call_after_task", guarded<call_after_task>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool note_own_streams() {
  const Owned sys(PyImport_ImportModule("sys"));
  if (!sys) return false;
  sys_names = PyModule_GetDict(sys.get());
  is_wanted = true;
  return note(streams[0], "stdout") && note(streams[1], "stderr");
}

bool is_called_after_task() {
  bool is_called = is_wanted;
  is_wanted = false;
  for (const Stream& stream : streams) {
    is_called = is_called || PyDict_GetItemWithError(sys_names, stream.name.get()) != stream.own.get();
  }
  return is_called;
}

bool add_after_task_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
