// platform/linux.cpp - primitives that differ between systems, for Linux 5.3
// and later. Liveness follows this order of proof: pidfd readable, then ESRCH,
// then a start time that differs. A zombie whose leader alone has ended, or any
// unexpected error, counts as alive.
#ifndef __linux__
#error "this file is for Linux; other systems get a file of their own in platform/"
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "platform/fault_point.hpp"
#include "platform/platform.hpp"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace miniray::platform {

std::uint32_t processor_count() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<std::uint32_t>(count);
  }
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<std::uint32_t>(online) : 1;
}

WaitResult wait_on_word(const std::uint32_t* word, std::uint32_t expected, std::int64_t timeout_ns) noexcept {
  timespec timeout{};
  timespec* limit = nullptr;
  if (timeout_ns >= 0) {
    timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000);
    timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000);
    limit = &timeout;
  }
  const long result =
      MINIRAY_SYSTEM_CALL("system.futex_wait", syscall(SYS_futex, word, FUTEX_WAIT, expected, limit, nullptr, 0));
  if (result == 0 || errno == EAGAIN) return WaitResult::kWoken;
  if (errno == ETIMEDOUT) return WaitResult::kTimedOut;
  return WaitResult::kInterrupted;
}

void wake_word(const std::uint32_t* word, int how_many) noexcept {
  syscall(SYS_futex, word, FUTEX_WAKE, how_many, nullptr, nullptr, 0);
}

namespace {

// /proc/<pid>/stat from the end of the program's name on, which may hold spaces and parentheses: ") S 1 ...", the third field and those
// behind it. nullptr when there is no such process.
const char* read_status(ProcessNumber process, char (&text)[1024]) noexcept {
  char path[32] = "/proc/";
  char digits[12];
  int count = 0;
  for (ProcessNumber rest = process; rest > 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
  if (count == 0) return nullptr;
  char* end = path + 6;
  while (count > 0) *end++ = digits[--count];
  memcpy(end, "/stat", 6);
  const int file = MINIRAY_SYSTEM_CALL("system.open_status", open(path, O_RDONLY | O_CLOEXEC));
  if (file < 0) return nullptr;
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  if (length <= 0) return nullptr;
  text[length] = '\0';
  return strrchr(text, ')');
}

}  // namespace

std::uint64_t process_start_time(ProcessNumber process) noexcept {
  char text[1024];
  const char* position = read_status(process, text);
  for (int field = 2; position != nullptr && field < 22; ++field) position = strchr(position + 1, ' ');
  return position == nullptr ? 0 : strtoull(position + 1, nullptr, 10);
}

RunState run_state(ProcessNumber process) noexcept {
  char text[1024];
  const char* position = read_status(process, text);
  if (position == nullptr || position[1] != ' ') return RunState::kOther;
  if (position[2] == 'T') return RunState::kStopped;
  if (position[2] == 'R') return RunState::kRunnable;
  return position[2] == 't' ? RunState::kTraced : RunState::kOther;
}

namespace {

bool has_ended(Descriptor process) noexcept {
  pollfd query{process, POLLIN, 0};
  return MINIRAY_SYSTEM_CALL("system.poll", poll(&query, 1, 0)) == 1 && (query.revents & POLLIN) != 0;
}

int send_signal(ProcessNumber process, std::uint64_t start_time, int number) noexcept {
  const Descriptor file = open_process(process);
  if (file < 0) return file == -ESRCH ? 0 : file;
  const std::uint64_t found = process_start_time(process);
  const int error = found == 0 ? -errno : 0;
  if (error != 0 && has_ended(file)) {
    close(file);
    return 0;
  }
  if (start_time != 0 && found == start_time) (void)syscall(SYS_pidfd_send_signal, file, number, nullptr, 0);
  close(file);
  return error;
}

}  // namespace

int end_process(ProcessNumber process, std::uint64_t start_time) noexcept { return send_signal(process, start_time, SIGKILL); }

int interrupt_signal() noexcept { return SIGRTMIN + 11; }

namespace {

constexpr long kRepeatNs = 20'000'000;
struct sigaction noted = {};  // the handler that is repeated
timer_t repeats = nullptr;
std::atomic<bool> is_unsettled = false;

void note_and_repeat(int signal, siginfo_t* info, void*) {
  if (info->si_code == SI_TIMER && !is_unsettled.load()) return;  // settled while it was on its way
  const int error = errno;
  is_unsettled.store(true);
  noted.sa_handler(signal);
  const itimerspec once = {{0, 0}, {0, kRepeatNs}};
  (void)timer_settime(repeats, 0, &once, nullptr);  // in a forked child there is no such timer
  errno = error;
}

}  // namespace

bool repeat_interrupts() noexcept {
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = interrupt_signal();
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  if (timer_create(CLOCK_MONOTONIC, &event, &repeats) != 0) return false;
  if (sigaction(interrupt_signal(), nullptr, &noted) != 0) return false;
  struct sigaction repeating = noted;
  repeating.sa_flags |= SA_SIGINFO;
  repeating.sa_sigaction = note_and_repeat;
  return sigaction(interrupt_signal(), &repeating, nullptr) == 0;
}

void settle_interrupt() noexcept {
  if (!is_unsettled.exchange(false)) return;
  const itimerspec never = {};
  (void)timer_settime(repeats, 0, &never, nullptr);
}

int interrupt_process(ProcessNumber process, std::uint64_t start_time) noexcept {
  return send_signal(process, start_time, interrupt_signal());
}

Descriptor open_process(ProcessNumber process) noexcept {
  const long file = MINIRAY_SYSTEM_CALL("system.pidfd_open", syscall(SYS_pidfd_open, process, 0));
  return file < 0 ? -errno : static_cast<Descriptor>(file);
}

bool process_is_dead(ProcessNumber process, std::uint64_t start_time) noexcept {
  if (process <= 0) return true;  // to kill() these are groups
  const Descriptor file = open_process(process);
  if (file == -ESRCH) return true;
  if (file >= 0) {
    const bool ended = has_ended(file);
    close(file);
    if (ended) return true;
  } else if (kill(process, 0) != 0 && errno == ESRCH) {
    return true;
  }
  if (start_time == 0) return false;
  const std::uint64_t found = process_start_time(process);
  return found != 0 && found != start_time;
}

bool wait_for_process_end(Descriptor process) noexcept {
  pollfd query{process, POLLIN, 0};
  while (poll(&query, 1, -1) < 1 || (query.revents & (POLLIN | POLLNVAL)) == 0) {
  }
  return (query.revents & POLLNVAL) == 0;
}

void yield_to_other_threads() noexcept {
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);  // Linux keeps it per thread
}

namespace {
std::uint64_t namespace_number(const char* path) noexcept {
  struct stat status{};
  return stat(path, &status) == 0 ? static_cast<std::uint64_t>(status.st_ino) : 0;
}
// The kernel marks it when the thread that holds it ends (robust futex list, set_robust_list(2)).
pthread_mutex_t announced;
}  // namespace

std::uint64_t process_namespace() noexcept { return namespace_number("/proc/self/ns/pid"); }

std::uint64_t time_namespace() noexcept { return namespace_number("/proc/self/ns/time"); }

bool announce_thread() noexcept {
  pthread_mutexattr_t attributes;
  if (pthread_mutexattr_init(&attributes) != 0) return false;
  const bool done = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
                    pthread_mutex_init(&announced, &attributes) == 0 && pthread_mutex_lock(&announced) == 0;
  pthread_mutexattr_destroy(&attributes);
  return done;
}

void wait_for_announced_thread() noexcept { (void)pthread_mutex_lock(&announced); }

namespace {
ssize_t read_random_device(char* destination, std::size_t size_bytes) noexcept {
  const int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  const ssize_t done = read(file, destination, size_bytes);
  close(file);
  return done;
}
}  // namespace

void fill_random(void* destination, std::size_t size_bytes) noexcept {
  auto* position = static_cast<char*>(destination);
  while (size_bytes > 0) {
    ssize_t done = getrandom(position, size_bytes, 0);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) done = read_random_device(position, size_bytes);  // a sandbox that does not know the call
    if (done <= 0) exit_immediately(1);                             // names that others can guess are no way out
    position += done;
    size_bytes -= static_cast<std::size_t>(done);
  }
}

void read_boot_id(char (&destination)[40]) noexcept {
  memset(destination, 0, sizeof(destination));
  const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t length = read(file, destination, 36);
  if (length != 36) destination[0] = '\0';
  close(file);
}

Descriptor create_anonymous_file(const char* name, std::uint64_t size_bytes) noexcept {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int file =
      static_cast<int>(MINIRAY_SYSTEM_CALL("system.memfd_create", syscall(SYS_memfd_create, name, kFlags | MFD_NOEXEC_SEAL)));
  if (file < 0 && errno == EINVAL) file = static_cast<int>(syscall(SYS_memfd_create, name, kFlags));
  if (file < 0) return -errno;
  if (fchmod(file, 0600) != 0 ||
      MINIRAY_SYSTEM_CALL("system.ftruncate", ftruncate(file, static_cast<off_t>(size_bytes))) != 0) {
    const int error = errno;
    close(file);
    return -error;
  }
  // Nobody who has it may cut it short under a mapping. Best effort: some sandboxes refuse seals.
  (void)fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return file;
}

int reserve_pages(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  // A signal interrupts fallocate and throws away what it did; pieces make
  // progress certain.
  constexpr std::uint64_t kPiece = 64ULL << 20;
  if (!is_same_file(file)) return -EBADF;
  while (size_bytes > 0) {
    const std::uint64_t piece = size_bytes < kPiece ? size_bytes : kPiece;
    if (MINIRAY_SYSTEM_CALL("system.fallocate", fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(piece))) !=
        0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    offset += piece;
    size_bytes -= piece;
  }
  return 0;
}

int discard_pages(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  if (!is_same_file(file)) return -EBADF;
  for (;;) {  // a signal interrupts it; what is done by then is done
    const int result =
        MINIRAY_SYSTEM_CALL("system.punch_hole", fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                           static_cast<off_t>(offset), static_cast<off_t>(size_bytes)));
    if (result == 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

std::uint64_t file_system_free_bytes(Descriptor file) noexcept {
  struct statvfs status{};
  if (fstatvfs(file, &status) != 0 || status.f_blocks == 0) return UINT64_MAX;
  return static_cast<std::uint64_t>(status.f_bavail) * static_cast<std::uint64_t>(status.f_frsize);
}

std::uint64_t shared_memory_available_bytes() noexcept {
  struct statvfs status{};
  if (statvfs(kSharedMemoryFolder, &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.f_bavail) * static_cast<std::uint64_t>(status.f_frsize);
}

bool populate_for_read(const std::byte* address, std::uint64_t size_bytes) noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(address) & ~(std::uintptr_t{kPageBytes} - 1);
  const std::uint64_t length = reinterpret_cast<std::uintptr_t>(address) + size_bytes - start;
  if (MINIRAY_SYSTEM_CALL("system.populate", madvise(reinterpret_cast<void*>(start), length, MADV_POPULATE_READ)) == 0)
    return true;
  // Anything else says nothing about the file: a kernel before 5.14 or a sandbox does not know the call.
  return errno != EFAULT && errno != EHWPOISON && errno != EIO && errno != ENOMEM;
}

}  // namespace miniray::platform
