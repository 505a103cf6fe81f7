// bindings/shared_domain.hpp - a named domain of the low-level module, as this process has it open.
//
// Invariants  H1 the process that made it unlinks it: at close(), when collected, or at exit. Whoever has it open keeps its memory.
//             H2 a forked child never touches its parent's row: it takes a row of its own at its first call.
// Names       none: miniray_<kind>; one that starts with "miniray_": as it is; another: miniray_<name>_<kind>.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string>

#include "runtime/domain.hpp"

namespace miniray::bindings {

namespace nb = nanobind;

class SharedDomain {
 public:
  // Throws a Python exception.
  static std::shared_ptr<SharedDomain> open(const std::string& name, const char* kind, bool create,
                                            const runtime::DomainConfig& config, runtime::DomainUsage usage);
  ~SharedDomain();
  SharedDomain(const SharedDomain&) = delete;
  SharedDomain& operator=(const SharedDomain&) = delete;

  // The domain, ready for a call of this process; throws ValueError when closed. `forked`: this is the first use in a forked child.
  runtime::Domain& use(bool* forked = nullptr);
  [[nodiscard]] bool is_of_this_process() const noexcept;  // false in a forked child before its first use()
  [[nodiscard]] std::uint64_t process() const noexcept { return process_; }
  // No calls from now on, and no name when this process made it. Its memory stays mapped until leave() or the destructor.
  void close() noexcept;
  void leave() noexcept;
  [[nodiscard]] bool is_closed() const noexcept { return closed_; }
  [[nodiscard]] bool is_creator() const noexcept { return is_creator_ && is_of_this_process(); }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] runtime::Domain& domain() noexcept { return domain_; }

 private:
  SharedDomain() = default;

  runtime::Domain domain_;
  std::string file_;
  bool is_creator_ = false;
  bool closed_ = false;
  std::uint64_t process_ = 0;  // which process's row domain_ uses: counts the forks that led to it
};

// Throws ValueError unless 1 <= value <= most.
void require_within(const char* what, std::uint64_t value, std::uint64_t most, const char* unit = "");

// Default size of what lies in /dev/shm: 30% of what is free there.
[[nodiscard]] std::uint64_t default_capacity_bytes() noexcept;

// cleanup_shared_memory(), and what runs at exit.
std::uint32_t cleanup_shared_memory();
void add_shared_domain_functions(nb::module_& module);

}  // namespace miniray::bindings
