#include "debug/fault_point.hpp"

#if defined(MINIRAY_FAULTS) && MINIRAY_FAULTS
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace miniray::debug {
namespace {
struct Plan {
  char point[64] = {};
  char role[16] = {};
  long nth = 1;
  const char* token = std::getenv("MINIRAY_CRASH_TOKEN");
  Plan() {
    const char* text = std::getenv("MINIRAY_CRASH_AT");
    if (text == nullptr) return;
    std::strncpy(point, text, sizeof(point) - 1);
    if (char* at = std::strchr(point, '@'); at != nullptr) {
      std::strncpy(role, at + 1, sizeof(role) - 1);
      *at = '\0';
    }
    if (char* colon = std::strchr(point, ':'); colon != nullptr) {
      nth = std::strtol(colon + 1, nullptr, 10);
      *colon = '\0';
    }
  }
};
const Plan plan;
std::atomic<long> passes{0};
const char* role = "driver";

const char* const trace = std::getenv("MINIRAY_FAULT_TRACE");
std::atomic<const char*> traced[128];  // names that this process has told, in this role

// Threads that come at once may tell a name twice.
void tell(const char* name) noexcept {
  for (auto& told : traced) {
    if (told.load() == name) return;
    const char* none = nullptr;
    if (told.load() != nullptr || !told.compare_exchange_strong(none, name)) continue;
    std::FILE* file = std::fopen(trace, "ae");
    if (file == nullptr || std::fprintf(file, "%s@%s\n", name, role) < 0 || std::fclose(file) != 0) std::abort();
    return;
  }
}
}  // namespace

void set_fault_role(const char* new_role) noexcept {
  role = new_role;
  for (auto& told : traced) told.store(nullptr);  // a worker is forked from the supervisor
}

void fault_point(const char* name) noexcept {
  if (trace != nullptr) tell(name);
  if (plan.point[0] == '\0' || std::strcmp(name, plan.point) != 0) return;
  if (plan.role[0] != '\0' && std::strcmp(role, plan.role) != 0) return;
  if (passes.fetch_add(1) + 1 != plan.nth) return;
  if (plan.token != nullptr && std::remove(plan.token) != 0) return;  // another process took it
  (void)std::raise(SIGKILL);
}

}  // namespace miniray::debug
#endif
