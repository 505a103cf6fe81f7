#include "bindings/object_id.hpp"

#include <nanobind/operators.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <new>
#include <string>
#include <utility>

#include "platform/platform.hpp"
#include "python/object_ref.hpp"

namespace miniray::bindings {

namespace nb = nanobind;
using store::ObjectId;

store::ObjectId id_of(nb::handle ref) {
  if (python::is_object_ref(ref.ptr())) return reinterpret_cast<python::ObjectRefObject*>(ref.ptr())->id;
  const ObjectId* id = nullptr;
  if (nb::try_cast(ref, id) && id != nullptr) return *id;
  throw nb::type_error((std::string("expected an ObjectRef or an ObjectID, got ") + Py_TYPE(ref.ptr())->tp_name).c_str());
}

void add_object_id(nb::module_& module) {
  nb::class_<ObjectId>(module, "ObjectID", "The name of an object: 128 bits. Made without arguments it is nil.")
      .def(nb::init<>())
      .def_static(
          "from_random",
          [] {
            ObjectId id;
            platform::fill_random(&id, sizeof(id));
            return id;
          },
          "Return a new id that no other will equal.")
      .def_static(
          "from_hex",
          [](const std::string& text) {
            ObjectId id;
            if (python::parse_object_id(text.data(), static_cast<Py_ssize_t>(text.size()), id)) return id;
            throw nb::value_error(("an object id has 32 hexadecimal digits, got '" + text.substr(0, 64) + "'").c_str());
          },
          nb::arg("hex"), "Return the id of 32 hexadecimal digits.\n\nRaises:\n    ValueError: Not 32 hexadecimal digits.")
      .def(
          "to_hex", [](const ObjectId& id) { return python::object_id_hex(id); }, "Return 32 hexadecimal digits.")
      .def("is_nil", &ObjectId::is_nil, "Return whether all bits are zero.")
      .def("__repr__", [](const ObjectId& id) { return "ObjectID(" + python::object_id_hex(id) + ")"; })
      .def("__hash__", [](const ObjectId& id) { return static_cast<Py_hash_t>(id.hash() >> 1); })
      .def(
          "__eq__",
          [](const ObjectId& id, nb::handle other) -> nb::object {
            const ObjectId* same = nullptr;
            if (!nb::try_cast(other, same) || same == nullptr) return nb::borrow(Py_NotImplemented);
            return nb::bool_(id == *same);
          },
          nb::arg("other").none(), nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__getstate__", [](const ObjectId& id) { return std::pair(id.high, id.low); })
      .def("__setstate__", [](ObjectId& id, const std::pair<std::uint64_t, std::uint64_t>& words) {
        new (&id) ObjectId{words.first, words.second};
      });
}

}  // namespace miniray::bindings
