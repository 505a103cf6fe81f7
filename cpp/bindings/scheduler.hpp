// bindings/scheduler.hpp - the Python class Scheduler of the low-level module.
#pragma once

#include <nanobind/nanobind.h>

namespace miniray::bindings {

void add_scheduler(nanobind::module_& module);

}  // namespace miniray::bindings
