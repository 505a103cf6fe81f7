#include "platform/fault_point.hpp"

#if defined(MINIRAY_FAULTS) && MINIRAY_FAULTS
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <charconv>

namespace miniray::platform {
namespace {

enum class Action { kNone, kKill, kStop, kError, kShort, kDelay };

struct Fault {
  std::size_t point = kFaultPointCount;
  std::size_t role = kFaultRoles;  // any
  std::uint64_t nth = 1;
  bool repeats = false;
  Action action = Action::kNone;
  int value = 0;  // the error, or milliseconds
};

struct ErrorName {
  std::string_view name;
  int number;
};
constexpr ErrorName kErrors[] = {
    {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBADF", EBADF},   {"EDQUOT", EDQUOT}, {"EFAULT", EFAULT},
    {"EFBIG", EFBIG},   {"EINTR", EINTR},   {"EIO", EIO},       {"EMFILE", EMFILE}, {"ENOBUFS", ENOBUFS},
    {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"ENOSYS", ENOSYS}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"EPERM", EPERM},   {"ESRCH", ESRCH},
};

[[noreturn]] void refuse(std::string_view what, std::string_view why) noexcept {
  (void)fprintf(stderr, "miniray: MINIRAY_FAULT: '%.*s' is %.*s.\n", static_cast<int>(what.size()), what.data(),
                static_cast<int>(why.size()), why.data());
  _exit(2);
}

// The part before the last `mark`, which is cut off together with the mark; `tail` is what was behind it.
bool split(std::string_view& text, char mark, std::string_view& tail) noexcept {
  const std::size_t at = text.rfind(mark);
  if (at == std::string_view::npos) return false;
  tail = text.substr(at + 1);
  text = text.substr(0, at);
  return true;
}

template <class Number>
Number to_number(std::string_view text) noexcept {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse(text, "no number");
  return value;
}

void parse_action(std::string_view text, Fault& fault) noexcept {
  std::string_view argument;
  const bool has_argument = split(text, ':', argument);
  if (text == "kill" && !has_argument) {
    fault.action = Action::kKill;
  } else if (text == "stop" && !has_argument) {
    fault.action = Action::kStop;
  } else if (text == "short" && !has_argument) {
    fault.action = Action::kShort;
  } else if (text == "delay" && has_argument) {
    fault.action = Action::kDelay;
    fault.value = to_number<int>(argument);
  } else if (text == "errno" && has_argument) {
    fault.action = Action::kError;
    for (const ErrorName& error : kErrors) {
      if (error.name == argument) fault.value = error.number;
    }
    if (fault.value == 0) refuse(argument, "no error that faults know");
  } else {
    refuse(text, "no action: kill, stop, short, errno:NAME or delay:MS");
  }
  const bool is_call = fault.action == Action::kError || fault.action == Action::kShort;
  if (is_call && kFaultPoints[fault.point].errors[0] == '\0') refuse(kFaultPoints[fault.point].name, "no system call");
}

Fault parse_fault(std::string_view text) noexcept {
  Fault fault;
  std::string_view action;
  std::string_view tail;
  if (!split(text, '=', action)) refuse(text, "without an action");
  if (split(text, '@', tail)) {
    for (fault.role = 0; fault.role < kFaultRoles && tail != kFaultRoleNames[fault.role]; ++fault.role) {
    }
    if (fault.role == kFaultRoles) refuse(tail, "no role");
  }
  if (split(text, ':', tail)) {
    if (tail.ends_with('+')) {
      fault.repeats = true;
      tail.remove_suffix(1);
    }
    fault.nth = to_number<std::uint64_t>(tail);
  }
  fault.point = find_fault_point(text);
  if (fault.point == kFaultPointCount) refuse(text, "no fault point");
  parse_action(action, fault);
  return fault;
}

FaultCounts own_counts;

FaultCounts* open_counts() noexcept {
  const char* path = getenv("MINIRAY_FAULT_COUNTS");
  if (path == nullptr) return &own_counts;
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  void* address = MAP_FAILED;
  if (file >= 0 && ftruncate(file, sizeof(FaultCounts)) == 0)
    address = mmap(nullptr, sizeof(FaultCounts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (address == MAP_FAILED) refuse(path, "no file for counts");
  close(file);
  return static_cast<FaultCounts*>(address);
}

struct Plan {
  Fault faults[kMostFaults];
  FaultCounts* counts = open_counts();
  Plan() noexcept {
    const char* given = getenv("MINIRAY_FAULT");
    std::string_view text = given == nullptr ? "" : given;
    for (Fault& fault : faults) {
      if (text.empty()) return;
      const std::size_t end = text.find(';');
      fault = parse_fault(text.substr(0, end));
      text = end == std::string_view::npos ? "" : text.substr(end + 1);
    }
    if (!text.empty()) refuse(text, "one fault too many");
  }
};
const Plan plan;
std::size_t own_role = static_cast<std::size_t>(FaultRole::kDriver);

int act(const Fault& fault, std::size_t* length) noexcept {
  switch (fault.action) {
    case Action::kKill:
      (void)raise(SIGKILL);
      break;
    case Action::kStop:
      (void)raise(SIGSTOP);
      break;
    case Action::kDelay: {
      const timespec time{fault.value / 1000, fault.value % 1000 * 1'000'000L};
      (void)nanosleep(&time, nullptr);
      break;
    }
    case Action::kShort:
      if (length != nullptr && *length > 1) *length /= 2;
      break;
    case Action::kError:
      return fault.value;
    case Action::kNone:
      break;
  }
  return 0;
}

}  // namespace

void set_fault_role(FaultRole role) noexcept { own_role = static_cast<std::size_t>(role); }

int pass_fault_point(std::size_t number, std::size_t* length) noexcept {
  FaultCounts& counts = *plan.counts;
  const std::uint64_t pass = std::atomic_ref(counts.passes[own_role][number]).fetch_add(1) + 1;
  std::uint64_t any_role = 0;
  int error = 0;
  for (std::size_t i = 0; i < kMostFaults; ++i) {
    const Fault& fault = plan.faults[i];
    if (fault.point != number || (fault.role != kFaultRoles && fault.role != own_role)) continue;
    if (fault.role == kFaultRoles && any_role == 0) {
      for (auto& role : counts.passes) any_role += std::atomic_ref(role[number]).load();
    }
    const std::uint64_t found = fault.role == kFaultRoles ? any_role : pass;
    if (fault.repeats ? found < fault.nth : found != fault.nth) continue;
    std::atomic_ref(counts.fired_process[i]).store(static_cast<std::uint32_t>(getpid()));
    std::atomic_ref(counts.fired_count[i]).fetch_add(1);
    if (const int wanted = act(fault, length); wanted != 0) error = wanted;
  }
  return error;
}

bool fault_fails(std::size_t number, std::size_t* length) noexcept {
  const int error = pass_fault_point(number, length);
  if (error != 0) errno = error;
  return error != 0;
}

}  // namespace miniray::platform
#endif
