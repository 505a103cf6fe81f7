// python/streams.hpp - tasks that yield: what they yield becomes items of their stream.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// What came of running a generator to its end. kFailed: a Python error is set. kGone: its actor has ended, and the call with it.
enum class Streamed : std::uint8_t { kDone, kFailed, kGone };

// Runs the generator that a task or call returned; user code runs in it. Ends when nobody reads on.
Streamed run_stream(Index task, PyObject* generator);
bool add_stream_functions(PyObject* module);

}  // namespace miniray::python
