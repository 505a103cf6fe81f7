// budget.hpp - how many instructions the operations may take that every task is made of, in the core as it is shipped.
//
// Times differ from machine to machine and run to run; instructions do not: a change that adds some is seen here. The figures are of one
// compiler, others have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace single_step {

// Nothing for a scenario without a budget; else empty, or what is wrong: more than 5% off, either way. A smaller figure is a new budget.
[[nodiscard]] std::optional<std::string> off_budget(const char* scenario, std::uint64_t instructions);
[[nodiscard]] std::size_t budget_count() noexcept;

}  // namespace single_step
