// python/supervision.hpp - what the supervisor (or who stands in for it) asks the session about processes, and tells it.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_supervision_functions(PyObject* module);

}  // namespace miniray::python
