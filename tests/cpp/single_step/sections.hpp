// sections.hpp - which sections the core has, read from the sources, and which of them were stepped through, read from the addresses of
// the instructions.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

namespace single_step {

// Function, file and line of an instruction of this program; the address counts from the start of its image.
[[nodiscard]] std::string place_of(std::uint64_t address);

// Prints what is missing: a section or an operation that no scenario steps through and nobody excuses, and an excuse for what is not there.
[[nodiscard]] bool all_sections_stepped(const std::unordered_set<std::uint64_t>& addresses);

}  // namespace single_step
