// testing.hpp - the few words a C++ test needs; a failed EXPECT ends the test
// with its place.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EXPECT(condition)                                                           \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                 \
    }                                                                               \
  } while (false)
#define EXPECT_VALID(structure)                                         \
  do {                                                                  \
    if (const char* fault = (structure).validate(); fault != nullptr) { \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, fault);   \
      std::exit(1);                                                     \
    }                                                                   \
  } while (false)
