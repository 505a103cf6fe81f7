#include "bindings/task.hpp"

#include <new>

#include "bindings/byte_string.hpp"
#include "bindings/object_id.hpp"
#include "python/object_ref.hpp"

namespace miniray::bindings {

namespace nb = nanobind;

namespace {

nb::object make_ref(store::ObjectId id) {
  PyObject* ref = python::make_bare_object_ref(id);
  if (ref == nullptr) nb::raise_python_error();
  return nb::steal(ref);
}

}  // namespace

void add_task(nb::module_& module) {
  nb::class_<Task>(module, "Task",
                   "A call as bytes: what to run, with what, and the ref that its result will have. Never changes.")
      .def(
          "__init__",
          [](Task* self, nb::handle return_ref, nb::handle function, nb::handle arguments) {
            const store::ObjectId id = id_of(return_ref);
            new (self) Task{id, to_bytes(function, "serialized_function"), to_bytes(arguments, "serialized_args")};
          },
          nb::arg("return_ref"), nb::arg("serialized_function"), nb::arg("serialized_args"),
          nb::sig("def __init__(self, return_ref: ObjectRef[Any] | ObjectID, serialized_function: object, serialized_args: "
                  "object) -> None"),
          "Make a task.\n\n"
          "Args:\n    return_ref: ObjectRef or ObjectID of the result.\n"
          "    serialized_function: Bytes-like, or a list of integers 0 to 255.\n    serialized_args: Likewise.")
      .def_prop_ro(
          "return_ref", [](const Task& task) { return make_ref(task.return_id); },
          nb::sig("def return_ref(self) -> ObjectRef[Any]"), "Ref of the result.")
      .def_ro("serialized_function", &Task::function, "Bytes of the function.")
      .def_ro("serialized_args", &Task::arguments, "Bytes of the arguments.")
      .def(
          "__eq__",
          [](const Task& task, nb::handle other) -> nb::object {
            const Task* same = nullptr;
            if (!nb::try_cast(other, same) || same == nullptr) return nb::borrow(Py_NotImplemented);
            return nb::bool_(task.return_id == same->return_id && task.function.equal(same->function) &&
                             task.arguments.equal(same->arguments));
          },
          nb::arg("other").none(), nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__hash__", [](const Task& task) { return static_cast<Py_hash_t>(task.return_id.hash() >> 1); })
      .def("__repr__",
           [](const Task& task) {
             return nb::str("Task({}, {} bytes of function, {} bytes of arguments)")
                 .format(make_ref(task.return_id), task.function.size(), task.arguments.size());
           })
      .def(
          "__getstate__",
          [](const Task& task) { return nb::make_tuple(make_ref(task.return_id), task.function, task.arguments); },
          nb::sig("def __getstate__(self) -> tuple[Any, ...]"))
      .def(
          "__setstate__",
          [](Task& task, const nb::tuple& state) {
            new (&task) Task{id_of(state[0]), nb::cast<nb::bytes>(state[1]), nb::cast<nb::bytes>(state[2])};
          },
          nb::sig("def __setstate__(self, state: tuple[Any, ...], /) -> None"));
}

}  // namespace miniray::bindings
