// python/awaits.hpp - refs that are awaited, by event loops and futures, without a thread for each.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_await_functions(PyObject* module);

}  // namespace miniray::python
