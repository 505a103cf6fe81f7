// bindings/object_store.hpp - the Python class ObjectStore of the low-level module.
#pragma once

#include <nanobind/nanobind.h>

namespace miniray::bindings {

void add_object_store(nanobind::module_& module);

}  // namespace miniray::bindings
