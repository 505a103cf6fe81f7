// bindings/task.hpp - the Python class Task: a call on its way through a Scheduler.
#pragma once

#include <nanobind/nanobind.h>

#include "store/object_id.hpp"

namespace miniray::bindings {

struct Task {
  store::ObjectId return_id;
  nanobind::bytes function;
  nanobind::bytes arguments;
};

void add_task(nanobind::module_& module);

}  // namespace miniray::bindings
