// python/session_functions.hpp - creating, attaching, ending a session; its housekeeping.
#pragma once

#include <string>

#include "python/session.hpp"

namespace miniray::python {

// Names of the two files of a session.
[[nodiscard]] std::string control_name(const char* name);
[[nodiscard]] std::string heap_name(const char* name);

bool add_session_functions(PyObject* module);

}  // namespace miniray::python
