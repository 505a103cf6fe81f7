// platform/fault_point.hpp - named places where a test build kills or stops its own process, lets a system call fail, or waits.
//
// Invariants  F1 only builds with -DMINIRAY_FAULTS have them; a test proves that a release module carries none of the names.
//             F2 every name stands in kFaultPoints: another one does not compile, and ends a process that reads it in MINIRAY_FAULT.
//             F3 who is stopped or killed is noted first, so that a test knows whom to continue.
//   MINIRAY_FAULT=point[:nth[+]][@role]=action[;...]   at the nth pass (first by default; `+`: and at each later one) of that point
//                                      in a process of that role (driver, supervisor, worker; any role when absent). Actions: kill,
//                                      stop (SIGSTOP), errno:NAME (the system call there fails with it), short (it transfers half),
//                                      delay:MS. At most kMostFaults.
//   MINIRAY_FAULT_COUNTS=file          counts passes over all processes together, so that a fault happens once in all, and tells
//                                      them: FaultCounts, mapped. Without it each process counts its own.
#pragma once

#if defined(MINIRAY_FAULTS) && MINIRAY_FAULTS
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace miniray::platform {

struct FaultPointFacts {
  const char* name;
  const char* errors;  // how the system call there can fail, for the tests; empty: there is none
};

inline constexpr FaultPointFacts kFaultPoints[] = {
    // The driver's Python: runtime.py, monitor.py, spill_file.py.
    {"spill_file.open", "EACCES ENOSPC EMFILE"},
    {"spill_file.truncate", "EFBIG ENOSPC"},
    {"session.created", ""},
    {"session.doorbell", "EMFILE ENOMEM"},
    {"monitor.pipe", "EMFILE"},
    {"monitor.socketpair", "EMFILE ENOBUFS"},
    {"monitor.spawn", "EAGAIN ENOMEM EMFILE"},
    {"monitor.spawned", ""},
    {"session.started", ""},
    {"session.stopping", ""},
    {"session.processes_ended", ""},
    {"session.closed", ""},
    // The supervisor's: supervisor.py.
    {"supervisor.born", ""},
    {"supervisor.driver_pidfd", "EMFILE ENOMEM"},
    {"supervisor.attached", ""},
    {"supervisor.ready", ""},
    {"supervisor.pipe", "EMFILE"},
    {"supervisor.fork", "EAGAIN ENOMEM"},
    {"supervisor.forked", ""},
    {"supervisor.pidfd", "EMFILE ENOMEM"},
    {"supervisor.send_output", "ENOBUFS EMFILE"},
    {"supervisor.burying", ""},
    {"supervisor.buried", ""},
    {"supervisor.ending", ""},
    {"supervisor.unlinking", ""},
    // The worker's: worker_main.py.
    {"worker.born", ""},
    {"worker.unwatched", ""},
    {"worker.watched", ""},
    {"worker.adopted", ""},
    {"worker.accepted", ""},
    // The core.
    {"lock.stolen", ""},
    {"transaction.before_commit", ""},
    {"transaction.after_commit", ""},
    {"slot_table.returning", ""},
    {"slot_table.returned", ""},
    {"spill.begun", ""},
    {"spill.writing", ""},
    {"spill.written", ""},
    {"spill.discarding", ""},
    {"heap.trimming", ""},
    {"task.claimed", ""},
    {"lookout.before_look", ""},
    {"lookout.after_look", ""},
    {"task.before_done", ""},
    {"task.after_done", ""},
    {"stream.before_item", ""},
    {"stream.after_item", ""},
    {"stream.after_take", ""},
    {"placement.begun", ""},
    {"placement.bundled", ""},
    {"placement.removed", ""},
    {"recovery.begin", ""},
    {"recovery.actors_orphaned", ""},
    {"recovery.lease_done", ""},
    {"recovery.groups_done", ""},
    {"recovery.rows_done", ""},
    // System calls: linux.cpp, posix.cpp. Each error is one that the manual names for that call.
    {"system.futex_wait", "EINTR"},
    {"system.open_status", "EMFILE ENOENT"},
    {"system.pidfd_open", "EMFILE ENOMEM ENOSYS"},
    {"system.poll", "EINTR ENOMEM"},
    {"system.memfd_create", "EMFILE ENOMEM"},
    {"system.shm_open", "EMFILE EACCES"},
    {"system.ftruncate", "EFBIG ENOSPC"},
    {"system.shm_unlink", "EACCES"},
    {"system.fallocate", "ENOSPC EINTR"},
    {"system.punch_hole", "ENOSPC EOPNOTSUPP EINTR"},
    {"system.pwrite", "EIO ENOSPC EDQUOT EINTR short"},
    {"system.pread", "EIO EINTR short"},
    {"system.dup", "EMFILE"},
    {"system.fstat", "EBADF"},
    {"system.mmap", "ENOMEM EAGAIN"},
    {"system.populate", "EFAULT EAGAIN"},
    {"system.ring", "EINTR EAGAIN"},
};
inline constexpr std::size_t kFaultPointCount = sizeof(kFaultPoints) / sizeof(kFaultPoints[0]);
inline constexpr std::size_t kMostFaults = 4;

enum class FaultRole : std::uint32_t { kDriver = 0, kSupervisor = 1, kWorker = 2 };
inline constexpr std::size_t kFaultRoles = 3;
inline constexpr const char* kFaultRoleNames[kFaultRoles] = {"driver", "supervisor", "worker"};

// The file of MINIRAY_FAULT_COUNTS.
struct FaultCounts {
  std::uint32_t fired_count[kMostFaults];
  std::uint32_t fired_process[kMostFaults];  // the last one
  std::uint64_t passes[kFaultRoles][kFaultPointCount];
};

// Place of a name in kFaultPoints; kFaultPointCount when it is none.
constexpr std::size_t find_fault_point(std::string_view name) noexcept {
  std::size_t number = 0;
  while (number < kFaultPointCount && name != kFaultPoints[number].name) ++number;
  return number;
}
consteval std::size_t fault_point_number(const char* name) {
  const std::size_t number = find_fault_point(name);
  // NOLINTNEXTLINE(bugprone-std-exception-baseclass): it ends the compilation, and is never thrown
  if (number == kFaultPointCount) throw "no such fault point: add it to kFaultPoints";
  return number;
}

void set_fault_role(FaultRole role) noexcept;
// Passes a point: may not return. Otherwise 0, or the error that the system call there is to fail with; `short` halves `length`.
int pass_fault_point(std::size_t number, std::size_t* length = nullptr) noexcept;
// The same for a system call: true with errno set when it is to fail.
bool fault_fails(std::size_t number, std::size_t* length = nullptr) noexcept;

}  // namespace miniray::platform
#define MINIRAY_FAULT_NUMBER(name) (::miniray::platform::fault_point_number(name))
#define MINIRAY_FAULT_POINT(name) ((void)::miniray::platform::pass_fault_point(MINIRAY_FAULT_NUMBER(name)))
// A call whose failure is -1 and errno. Of TRANSFER, `length` is a variable that the call reads.
#define MINIRAY_SYSTEM_CALL(name, ...) \
  (::miniray::platform::fault_fails(MINIRAY_FAULT_NUMBER(name)) ? (decltype(__VA_ARGS__))(-1) : (__VA_ARGS__))
#define MINIRAY_SYSTEM_TRANSFER(name, length, ...) \
  (::miniray::platform::fault_fails(MINIRAY_FAULT_NUMBER(name), &(length)) ? -1 : (__VA_ARGS__))
#else
#define MINIRAY_FAULT_POINT(name) ((void)0)
#define MINIRAY_SYSTEM_CALL(name, ...) (__VA_ARGS__)
#define MINIRAY_SYSTEM_TRANSFER(name, length, ...) (__VA_ARGS__)
#endif
