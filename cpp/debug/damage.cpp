#include "debug/damage.hpp"

namespace miniray::debug {

namespace {
thread_local const char* found = "a check failed";
}  // namespace

MINIRAY_STATIC_TLS thread_local constinit std::uint32_t damage_count = 0;

void found_damage(const char* what) {
  found = what;
  tell_damage(Damage(what));
}

void tell_damage(const Damage& damage) {
  ++damage_count;
  throw damage;
}

const char* last_damage() noexcept { return found; }

}  // namespace miniray::debug
