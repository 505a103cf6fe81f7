// python/stream_reader.hpp - the Python type StreamReader, of which ObjectRefGenerator is made: gives out the items of a stream.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

// A new reader, of the given subtype of StreamReader; the objects are held already.
PyObject* make_stream_reader(PyTypeObject* type, ObjectKey completed, ObjectKey stream);
[[nodiscard]] bool is_stream_reader(PyObject* object) noexcept;
bool add_stream_reader_type(PyObject* module);

}  // namespace miniray::python
