// python/raised.hpp - Python errors as objects: taking the current one, raising one that is there.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// The current Python error, as `except` gives it, with its traceback; it is not set any more. null: there was none.
[[nodiscard]] Owned take_raised();
// As `raise exception`; null: a Python error is set already.
void raise_object(PyObject* exception);

}  // namespace miniray::python
