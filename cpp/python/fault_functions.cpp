#include "python/fault_functions.hpp"

#include "platform/fault_point.hpp"

namespace miniray::python {

#if defined(MINIRAY_FAULTS) && MINIRAY_FAULTS
namespace {

using platform::kFaultPoints;

// _fault_point(name): passes it; OSError when the system call there is to fail.
PyObject* fault_point(PyObject*, PyObject* text) {
  const char* name = PyUnicode_AsUTF8(text);
  if (name == nullptr) return nullptr;
  const std::size_t number = platform::find_fault_point(name);
  if (number == platform::kFaultPointCount) return PyErr_Format(PyExc_ValueError, "no such fault point: %s", name);
  if (!platform::fault_fails(number)) Py_RETURN_NONE;
  return PyErr_SetFromErrno(PyExc_OSError);
}

// _fault_role(role): what this process is from now on.
PyObject* fault_role(PyObject*, PyObject* text) {
  const char* role = PyUnicode_AsUTF8(text);
  if (role == nullptr) return nullptr;
  for (std::size_t i = 0; i < platform::kFaultRoles; ++i) {
    if (std::string_view(role) != platform::kFaultRoleNames[i]) continue;
    platform::set_fault_role(static_cast<platform::FaultRole>(i));
    Py_RETURN_NONE;
  }
  return PyErr_Format(PyExc_ValueError, "no such role: %s", role);
}

// _fault_points(): [(name, errors)], in the order of the counts.
PyObject* fault_points(PyObject*, PyObject*) {
  PyObject* rows = PyList_New(0);
  for (const platform::FaultPointFacts& point : kFaultPoints) {
    PyObject* row = rows == nullptr ? nullptr : Py_BuildValue("(ss)", point.name, point.errors);
    if (row == nullptr || PyList_Append(rows, row) != 0) Py_CLEAR(rows);
    Py_XDECREF(row);
  }
  return rows;
}

PyMethodDef methods[] = {
    {"_fault_point", fault_point, METH_O, nullptr},
    {"_fault_role", fault_role, METH_O, nullptr},
    {"_fault_points", fault_points, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_fault_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }
#else
bool add_fault_functions(PyObject*) { return true; }
#endif

}  // namespace miniray::python
