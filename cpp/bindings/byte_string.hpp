// bindings/byte_string.hpp - what the low-level module takes as bytes: bytes-like objects, and lists of byte values.
#pragma once

#include <nanobind/nanobind.h>

namespace miniray::bindings {

// Read-only memory of a Python value for as long as this lives.
class ByteString {
 public:
  // Takes bytes, bytearray, memoryview, arrays that are contiguous: no copy. A list or tuple of integers 0 to 255: one.
  // TypeError or ValueError otherwise; `what` names the value in the message.
  ByteString(nanobind::handle value, const char* what);
  ~ByteString() { PyBuffer_Release(&view_); }
  ByteString(const ByteString&) = delete;
  ByteString& operator=(const ByteString&) = delete;
  [[nodiscard]] const void* data() const noexcept { return view_.buf; }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_{};
};

// The same as a Python bytes object; one copy unless it is one already.
nanobind::bytes to_bytes(nanobind::handle value, const char* what);

}  // namespace miniray::bindings
