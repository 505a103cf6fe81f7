// debug/check.hpp - assertions by level: 0 release, 1 cheap, 2 internal, 3 validate after every step.
//
// A failed check is a bug of ours: the process ends with a message, the segment's lock is repaired by whoever waits next.
#pragma once

#include <cstdio>
#include <cstdlib>

#ifndef MINIRAY_CHECK_LEVEL
#define MINIRAY_CHECK_LEVEL 0
#endif

namespace miniray::debug {

[[noreturn, gnu::cold, gnu::noinline]] inline void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr,
               "miniray: internal check failed: %s (%s:%d). This is a bug in "
               "miniray: please report it.\n",
               condition, file, line);
  std::abort();
}

}  // namespace miniray::debug

// Always on: conditions whose failure would corrupt shared memory.
#define MINIRAY_REQUIRE(condition) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::miniray::debug::check_failed(#condition, __FILE__, __LINE__))

#if MINIRAY_CHECK_LEVEL >= 1
#define MINIRAY_CHECK(condition) MINIRAY_REQUIRE(condition)
#else
#define MINIRAY_CHECK(condition) ((void)0)
#endif
