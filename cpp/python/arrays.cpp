#include "python/arrays.hpp"

#include <cstring>
#include <map>

namespace miniray::python {

namespace {

struct Numpy {
  PyTypeObject* array_type = nullptr;
  PyObject* make_type = nullptr;           // numpy.dtype
  std::map<PyObject*, std::string> names;  // of built-in types; strong
  std::map<std::string, PyObject*> types;  // by name; strong
  PyObject* call_names = nullptr;          // keyword names of numpy.ndarray(...)
};
Numpy& numpy = never_destroyed<Numpy>();
PyObject* word(const char* text) { return PyUnicode_InternFromString(text); }

bool find_numpy(PyTypeObject* type) {
  if (numpy.array_type != nullptr) return type == numpy.array_type;
  if (std::strcmp(type->tp_name, "numpy.ndarray") != 0) return false;
  PyObject* module = PyImport_GetModule(word("numpy"));
  Owned owned(module);
  Owned array(module != nullptr ? PyObject_GetAttrString(module, "ndarray") : nullptr);
  Owned make(module != nullptr ? PyObject_GetAttrString(module, "dtype") : nullptr);
  PyErr_Clear();
  if (!array || !make || array.get() != reinterpret_cast<PyObject*>(type)) return false;
  numpy.array_type = reinterpret_cast<PyTypeObject*>(array.release());
  numpy.make_type = make.release();
  numpy.call_names = Py_BuildValue("(ssss)", "shape", "dtype", "buffer", "order");
  return true;
}

bool has_value(PyObject* object, const char* attribute, PyObject* wanted) {
  Owned found(PyObject_GetAttrString(object, attribute));
  return found && PyObject_RichCompareBool(found.get(), wanted, Py_EQ) == 1;
}

// Its name when the type is one that is taken; else empty. Dates and times have a type object for each array, and no buffer.
std::string name_of(PyObject* type, bool& is_time) {
  const auto known = numpy.names.find(type);
  is_time = false;
  if (known != numpy.names.end()) return known->second;
  static PyObject* const kOne = PyLong_FromLong(1);
  static PyObject* const kDate = word("M");
  static PyObject* const kSpan = word("m");
  is_time = has_value(type, "kind", kDate) || has_value(type, "kind", kSpan);
  const bool is_plain = (is_time || has_value(type, "isbuiltin", kOne)) && has_value(type, "hasobject", Py_False) &&
                        has_value(type, "metadata", Py_None);
  Owned text(is_plain ? PyObject_GetAttrString(type, "str") : nullptr);
  const char* name = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  PyErr_Clear();
  if (name == nullptr || std::strlen(name) >= sizeof(ArrayShape::type)) return {};
  if (is_time) return name;
  // A type that compares equal to the built-in one but is another object would come back as the built-in one: not taken.
  Owned again(PyObject_CallFunction(numpy.make_type, "s", name));
  PyErr_Clear();
  if (!again || again.get() != type) return {};
  Py_INCREF(type);
  numpy.types.emplace(name, Py_NewRef(type));
  return numpy.names.emplace(type, name).first->second;
}

PyObject* type_of(const char* name) {
  const auto known = numpy.types.find(name);
  if (known != numpy.types.end()) return known->second;
  if (numpy.make_type == nullptr) {
    Owned module(PyImport_ImportModule("numpy"));
    Owned array(module ? PyObject_GetAttrString(module.get(), "ndarray") : nullptr);
    if (!array || !find_numpy(reinterpret_cast<PyTypeObject*>(array.get()))) return nullptr;
  }
  PyObject* type = PyObject_CallFunction(numpy.make_type, "s", name);
  if (type != nullptr) numpy.types.emplace(name, type);
  return type;
}

}  // namespace

bool describe_array(PyObject* value, ArrayShape& shape, Owned& exporter) {
  if (!find_numpy(Py_TYPE(value))) return false;
  static PyObject* const kType = word("dtype");
  Owned type(PyObject_GetAttr(value, kType));
  bool is_time = false;
  const std::string name = type ? name_of(type.get(), is_time) : std::string();
  exporter.reset(is_time ? PyObject_CallMethod(value, "view", "s", "i8") : Py_NewRef(value));
  Py_buffer buffer;
  if (name.empty() || !exporter || PyObject_GetBuffer(exporter.get(), &buffer, PyBUF_STRIDES) != 0) {
    PyErr_Clear();
    return false;
  }
  const bool is_c = PyBuffer_IsContiguous(&buffer, 'C') != 0;
  const bool is_taken = buffer.ndim <= ArrayShape::kDimensions && (is_c || PyBuffer_IsContiguous(&buffer, 'F') != 0);
  if (is_taken) {
    std::memcpy(shape.type, name.c_str(), name.size() + 1);
    shape.is_fortran = !is_c;
    shape.is_time = is_time;
    shape.dimensions = buffer.ndim;
    for (int i = 0; i < buffer.ndim; ++i) shape.lengths[i] = static_cast<std::uint64_t>(buffer.shape[i]);
  }
  PyBuffer_Release(&buffer);
  return is_taken;
}

PyObject* make_array(const ArrayShape& shape, PyObject* memory) {
  PyObject* type = type_of(shape.type);
  if (type == nullptr) return nullptr;
  Owned lengths(PyTuple_New(shape.dimensions));
  if (!lengths) return nullptr;
  for (int i = 0; i < shape.dimensions; ++i) {
    PyTuple_SET_ITEM(lengths.get(), i, PyLong_FromUnsignedLongLong(shape.lengths[i]));
  }
  static PyObject* const kOrders[] = {word("C"), word("F")};
  PyObject* arguments[] = {lengths.get(), type, memory, kOrders[shape.is_fortran ? 1 : 0]};
  return PyObject_Vectorcall(reinterpret_cast<PyObject*>(numpy.array_type), arguments, 0, numpy.call_names);
}

}  // namespace miniray::python
