// bindings/object_id.hpp - the Python type ObjectID, and the id behind whatever names an object.
#pragma once

#include <nanobind/nanobind.h>

#include "store/object_id.hpp"

namespace miniray::bindings {

// The id of an ObjectRef or an ObjectID; TypeError for anything else.
[[nodiscard]] store::ObjectId id_of(nanobind::handle ref);
void add_object_id(nanobind::module_& module);

}  // namespace miniray::bindings
