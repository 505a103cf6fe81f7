// python/domain_errors.hpp - why a domain could not be opened, as a Python exception that says what to do.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "runtime/domain.hpp"

namespace miniray::python {

// Sets the Python error; always returns nullptr. `name` is what the user opened.
PyObject* raise_domain_failure(const runtime::DomainFailure& failure, const char* name);

}  // namespace miniray::python
