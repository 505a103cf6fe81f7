// python/table_functions.hpp - the tables of this process's session, for tests and tools: counters, places, whether all is valid.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_table_functions(PyObject* module);

}  // namespace miniray::python
