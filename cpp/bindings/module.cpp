// bindings/module.cpp - the extension module; nothing but registration happens here.
#include <nanobind/nanobind.h>

#include "python/caller.hpp"
#include "python/codec.hpp"
#include "python/executor.hpp"
#include "python/object_ref.hpp"
#include "python/objects.hpp"
#include "python/session_functions.hpp"

NB_MODULE(_miniray_core, module) {
  module.doc() = "Shared-memory core of miniray.";
  module.attr("__version__") = MINIRAY_VERSION;
  namespace python = miniray::python;
  for (const auto add : {python::add_object_ref_type, python::add_view_type, python::add_caller_type,
                         python::add_object_functions, python::add_executor_functions, python::add_session_functions}) {
    if (!add(module.ptr())) throw nanobind::python_error();
  }
}
