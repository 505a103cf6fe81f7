// python/demands.hpp - amounts of resources that Python names, and the shapes of the scheduler that stand for them.
#pragma once

#include <string>
#include <vector>

#include "python/session.hpp"

namespace miniray::python {

struct NamedAmount {
  std::string resource;
  std::int64_t units = 0;
};

// Reads {name: units}. False with a Python error.
bool read_amounts(PyObject* dict, std::vector<NamedAmount>& amounts);
// Under the lock: the amounts by the numbers of their resources, new ones added; there is room for kShapeDemands. False: too many kinds
// of resources, in the session or here; raise_too_many_kinds() says so after the section.
[[nodiscard]] bool number_amounts(const std::vector<NamedAmount>& amounts, scheduler::Demand* demands);
bool raise_too_many_kinds(const char* where);

bool add_demand_functions(PyObject* module);

}  // namespace miniray::python
