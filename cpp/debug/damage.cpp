#include "debug/damage.hpp"

namespace miniray::debug {

namespace {
thread_local const char* found = "a check failed";
}  // namespace

void found_damage(const char* what) {
  found = what;
  throw Damage(what);
}

const char* last_damage() noexcept { return found; }

}  // namespace miniray::debug
