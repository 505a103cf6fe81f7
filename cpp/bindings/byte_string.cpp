#include "bindings/byte_string.hpp"

#include <string>

namespace miniray::bindings {

namespace nb = nanobind;

namespace {

nb::object bytes_of_list(nb::handle values, const char* what) {
  if (!PyList_Check(values.ptr()) && !PyTuple_Check(values.ptr())) {
    throw nb::type_error(
        (std::string(what) + " must be bytes-like or a list of byte values, got " + Py_TYPE(values.ptr())->tp_name).c_str());
  }
  PyObject* bytes = PyBytes_FromObject(values.ptr());
  if (bytes == nullptr) nb::raise_python_error();
  return nb::steal(bytes);
}

}  // namespace

ByteString::ByteString(nb::handle value, const char* what) {
  const nb::object source = PyObject_CheckBuffer(value.ptr()) != 0 ? nb::borrow(value) : bytes_of_list(value, what);
  if (PyObject_GetBuffer(source.ptr(), &view_, PyBUF_SIMPLE) != 0) nb::raise_python_error();
}

nb::bytes to_bytes(nb::handle value, const char* what) {
  if (PyBytes_CheckExact(value.ptr()) != 0) return nb::borrow<nb::bytes>(value);
  const ByteString bytes(value, what);
  return nb::bytes(bytes.data(), bytes.size());
}

}  // namespace miniray::bindings
