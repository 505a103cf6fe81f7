// python/streams.hpp - tasks that yield: what they yield becomes items of their stream, which a StreamReader gives out.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// What came of running a generator to its end. kFailed: a Python error is set. kGone: its actor has ended, and the call with it.
enum class Streamed : std::uint8_t { kDone, kFailed, kGone };

// Runs the generator that a task or call returned; user code runs in it. Ends when nobody reads on.
Streamed run_stream(Index task, PyObject* generator);

// A new reader, of the given subtype of StreamReader; the objects are held already.
PyObject* make_stream_reader(PyTypeObject* type, ObjectKey completed, ObjectKey stream);
[[nodiscard]] bool is_stream_reader(PyObject* object) noexcept;
bool add_stream_functions(PyObject* module);

}  // namespace miniray::python
