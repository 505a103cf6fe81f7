// python/cancellation.hpp - cancel(): of a task or a call, and of what it has started.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_cancellation_functions(PyObject* module);

}  // namespace miniray::python
