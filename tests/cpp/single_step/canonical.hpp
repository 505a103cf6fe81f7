// canonical.hpp - what the shared memory says, without what nobody may read: rows behind a table's end, the insides of free rows, payloads
// that are not sealed, counters that change outside of sections.
#pragma once

#include "image.hpp"

namespace single_step {

struct Word {
  const char* what;
  std::uint64_t place;
  std::uint64_t value;
  [[nodiscard]] bool operator==(const Word&) const noexcept = default;
};

[[nodiscard]] std::vector<Word> canonical(const Image& image);

}  // namespace single_step
