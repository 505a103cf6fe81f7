// python/waiting.hpp - waiting for objects, without the GIL.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

enum class Waited { kReady, kTimedOut, kError };
// Until `needed` more of `keys` are sealed (or one is in error, with fail_fast). A task's main thread gives its CPU back meanwhile.
Waited wait_for_objects(const std::vector<ObjectKey>& keys, std::size_t needed, bool fail_fast, std::int64_t deadline_ns);
// Called once, without arguments, before a thread of this process blocks in get; null: nobody wants to know.
extern PyObject* blocking_get_hook;

// Sealed, in error, or gone: a get would not wait.
[[nodiscard]] bool is_ready(ObjectKey key);
// Of seconds, or of None: for ever. False with a Python error.
bool parse_deadline(PyObject* timeout, std::int64_t& deadline_ns);

bool add_waiting_functions(PyObject* module);

}  // namespace miniray::python
