// python/codec_layout.hpp - what writer and reader of a payload agree on; the format is in codec.hpp.
#pragma once

#include "python/codec.hpp"

namespace miniray::python {

inline constexpr std::uint64_t kReleaseGilBytes = 1 << 20;  // more is copied without the GIL
inline constexpr std::uint64_t kFarPickle = ~0ULL;          // in the place of the pickle's size

}  // namespace miniray::python
