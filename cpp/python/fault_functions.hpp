// python/fault_functions.hpp - fault points of the Python code of miniray (platform/fault_point.hpp), in test builds alone.
#pragma once

#include <Python.h>

namespace miniray::python {

// _fault_point(name), _fault_role(role), _fault_points(); nothing in other builds.
bool add_fault_functions(PyObject* module);

}  // namespace miniray::python
