// python/context.hpp - what a program may know of the session it runs in: its resources, and the task that runs here.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_context_functions(PyObject* module);

}  // namespace miniray::python
