// python/objects.hpp - put, get and wait: what a program does with objects. Each releases the GIL while it waits.
#pragma once

#include "python/codec.hpp"

namespace miniray::python {

enum class Waited { kReady, kTimedOut, kError };
// Until `needed` more of `keys` are sealed (or one is in error, with fail_fast). A task's main thread gives its CPU back meanwhile.
Waited wait_for_objects(const std::vector<ObjectKey>& keys, std::size_t needed, bool fail_fast, std::int64_t deadline_ns);
// Value of one object that a ref of the caller keeps; waits. nullptr with a Python error.
PyObject* get_value(ObjectKey key, std::int64_t deadline_ns);

// An object in state kWriting, held by this process, with the encoded payload in place; kNone with a Python error.
Index write_object(Encoder& encoder);
// The same for an object that this process has begun; false with a Python error, and the object is the caller's to discard.
bool fill_object(Index slot, Encoder& encoder);

bool add_object_functions(PyObject* module);

}  // namespace miniray::python
