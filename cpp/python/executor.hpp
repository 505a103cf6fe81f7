// python/executor.hpp - a worker's loop: take a lease, run the function, seal the results, go on.
#pragma once

#include "python/codec.hpp"

namespace miniray::python {

bool add_executor_functions(PyObject* module);

}  // namespace miniray::python
