// python/objects.hpp - put and get: what a program does with objects.
#pragma once

#include "python/codec.hpp"

namespace miniray::python {

// Value of one object that a ref of the caller keeps; waits. nullptr with a Python error.
PyObject* get_value(ObjectKey key, std::int64_t deadline_ns);

// An object in state kWriting, held by this process, with the encoded payload in place; kNone with a Python error.
Index write_object(Encoder& encoder);
// The same for an object that this process has begun; false with a Python error, and the object is the caller's to discard.
bool fill_object(Index slot, Encoder& encoder);

bool add_object_functions(PyObject* module);

}  // namespace miniray::python
