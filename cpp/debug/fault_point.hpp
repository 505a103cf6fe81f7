// debug/fault_point.hpp - named places where a test build kills its own process, to show that the others recover.
//
// Only builds with -DMINIRAY_FAULTS have them; a test proves that a release module carries none of the names.
//   MINIRAY_CRASH_AT=point[:nth][@role]   SIGKILL at the nth pass (first by default) of that point in a process of that role
//                                         (driver, supervisor, worker; any role when absent)
//   MINIRAY_CRASH_TOKEN=file              only the process that can remove that file: one crash in all
//   MINIRAY_FAULT_TRACE=file              each process adds a line `point@role` for each point that it passes, once
#pragma once

#if defined(MINIRAY_FAULTS) && MINIRAY_FAULTS
namespace miniray::debug {
void set_fault_role(const char* role) noexcept;  // keeps the pointer
void fault_point(const char* name) noexcept;
}  // namespace miniray::debug
#define MINIRAY_FAULT_POINT(name) ::miniray::debug::fault_point(name)
#define MINIRAY_FAULT_ROLE(role) ::miniray::debug::set_fault_role(role)
#else
#define MINIRAY_FAULT_POINT(name) ((void)0)
#define MINIRAY_FAULT_ROLE(role) ((void)0)
#endif
