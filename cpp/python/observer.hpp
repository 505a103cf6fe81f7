// python/observer.hpp - a session seen from outside, as Python values: for diagnostics and the command line.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_observer_functions(PyObject* module);

}  // namespace miniray::python
