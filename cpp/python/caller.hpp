// python/caller.hpp - the type of `f.remote`.
#pragma once

#include "python/codec.hpp"

namespace miniray::python {

inline constexpr std::uint64_t kArgumentsFormat = 1;  // then u24 positional count << 8, u32 keyword count << 32

bool add_caller_type(PyObject* module);

}  // namespace miniray::python
