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
  using namespace miniray::python;
  if (!add_object_ref_type(module.ptr()) || !add_view_type(module.ptr()) || !add_caller_type(module.ptr()) ||
      !add_object_functions(module.ptr()) || !add_executor_functions(module.ptr()) || !add_session_functions(module.ptr())) {
    throw nanobind::python_error();
  }
}
