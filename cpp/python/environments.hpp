// python/environments.hpp - functions of the module for runtime environments and their pools of workers.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_environment_functions(PyObject* module);

}  // namespace miniray::python
