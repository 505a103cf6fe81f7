// python/session_functions.hpp - creating, attaching, ending a session; its housekeeping and statistics.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_session_functions(PyObject* module);

}  // namespace miniray::python
