// python/actors.hpp - what Python asks of actors beside calling them: kill, names, facts.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_actor_functions(PyObject* module);

}  // namespace miniray::python
