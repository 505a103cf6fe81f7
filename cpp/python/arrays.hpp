// python/arrays.hpp - numpy arrays without numpy's own pickling, which costs several microseconds and a hundred cold cache lines.
//
// Only what needs no more words than this: exactly numpy.ndarray, contiguous, of a built-in type without Python objects or of a date or
// time. Everything else is pickled. numpy is never imported for this: an array can only come where numpy is.
#pragma once

#include <string>

#include "python/session.hpp"

namespace miniray::python {

struct ArrayShape {
  static constexpr int kDimensions = 8;
  char type[16] = {};  // numpy's dtype.str, zero-filled: "<f8"
  bool is_fortran = false;
  bool is_time = false;  // dates or spans
  int dimensions = 0;
  std::uint64_t lengths[kDimensions] = {};
};

// Fills `shape` and `exporter`, whose buffer is the array's memory; false, without an error, when the value is no such array.
bool describe_array(PyObject* value, ArrayShape& shape, Owned& exporter);
// A read-only array over `memory`, an object with a buffer of the right size.
PyObject* make_array(const ArrayShape& shape, PyObject* memory);

}  // namespace miniray::python
