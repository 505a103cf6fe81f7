// platform/posix.cpp - primitives that are the same on every POSIX system.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <initializer_list>

#include "platform/fault_point.hpp"
#include "platform/platform.hpp"

namespace miniray::platform {

std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<std::uint64_t>(now.tv_nsec);
}

ProcessNumber current_process() noexcept { return static_cast<ProcessNumber>(getpid()); }

void exit_immediately(int code) noexcept { _exit(code); }

void tell_user(const char* text) noexcept {
  pollfd query{STDERR_FILENO, POLLOUT, 0};
  if (poll(&query, 1, 1000) < 1 || (query.revents & POLLOUT) == 0) return;
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

void block_all_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  // Faults stay deliverable: a blocked SIGSEGV would end the process without
  // the report of faulthandler.
  for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, signal_number);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

std::uint32_t user_number() noexcept { return static_cast<std::uint32_t>(getuid()); }

namespace {
bool slash_name(const char* name, char (&path)[256]) noexcept {
  path[0] = '/';
  std::size_t length = 0;
  for (; name[length] != '\0'; ++length) {
    if (length + 2 >= sizeof(path) || name[length] == '/') return false;
    path[length + 1] = name[length];
  }
  path[length + 1] = '\0';
  return length > 0;
}
}  // namespace

Descriptor create_shared_file(const char* name, std::uint64_t size_bytes) noexcept {
  char path[256];
  if (!slash_name(name, path)) return -EINVAL;
  const int file = MINIRAY_SYSTEM_CALL("system.shm_open", shm_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (file < 0) return -errno;
  if (fchmod(file, 0600) != 0 ||
      MINIRAY_SYSTEM_CALL("system.ftruncate", ftruncate(file, static_cast<off_t>(size_bytes))) != 0) {
    const int error = errno;
    shm_unlink(path);
    close(file);
    return -error;
  }
  return file;
}

namespace {

Descriptor open_file_only(const char* name, int access) noexcept {
  char path[256];
  if (!slash_name(name, path)) return -EINVAL;
  // O_NONBLOCK: a pipe would wait for its other end. A folder is EINVAL to some C libraries.
  const int file = MINIRAY_SYSTEM_CALL("system.shm_open", shm_open(path, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0));
  if (file < 0) {
    const bool is_something_else = errno == ELOOP || errno == EISDIR || errno == EINVAL || errno == ENXIO || errno == ENODEV;
    return is_something_else ? kNoFile : -errno;
  }
  struct stat status{};
  if (fstat(file, &status) == 0 && S_ISREG(status.st_mode)) return file;
  close(file);
  return kNoFile;
}

}  // namespace

Descriptor open_shared_file(const char* name) noexcept { return open_file_only(name, O_RDWR); }

Descriptor open_shared_file_for_reading(const char* name) noexcept { return open_file_only(name, O_RDONLY); }

std::int64_t read_file(Descriptor file, std::uint64_t offset, void* destination, std::uint64_t size_bytes) noexcept {
  std::uint64_t done = 0;
  while (done < size_bytes) {
    std::size_t length = size_bytes - done;
    const ssize_t part = MINIRAY_SYSTEM_TRANSFER(
        "system.pread", length, pread(file, static_cast<char*>(destination) + done, length, static_cast<off_t>(offset + done)));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return -errno;
    if (part == 0) break;
    done += static_cast<std::uint64_t>(part);
  }
  return static_cast<std::int64_t>(done);
}

int unlink_shared_file(const char* name) noexcept {
  char path[256];
  if (!slash_name(name, path)) return -EINVAL;
  return MINIRAY_SYSTEM_CALL("system.shm_unlink", shm_unlink(path)) == 0 ? 0 : -errno;
}

int file_facts(Descriptor file, FileFacts& facts) noexcept {
  struct stat status{};
  if (MINIRAY_SYSTEM_CALL("system.fstat", fstat(file, &status)) != 0) return -errno;
  facts.size_bytes = static_cast<std::uint64_t>(status.st_size);
  facts.user = static_cast<std::uint32_t>(status.st_uid);
  facts.mode = static_cast<std::uint32_t>(status.st_mode) & 0777U;
  return 0;
}

std::uint64_t file_resident_bytes(Descriptor file) noexcept {
  struct stat status{};
  return fstat(file, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512U : 0;
}

int write_file(Descriptor file, std::uint64_t offset, const void* data, std::uint64_t size_bytes) noexcept {
  const auto* position = static_cast<const char*>(data);
  if (!is_same_file(file)) return -EBADF;
  while (size_bytes > 0) {
    std::size_t length = size_bytes;
    const ssize_t done =
        MINIRAY_SYSTEM_TRANSFER("system.pwrite", length, pwrite(file, position, length, static_cast<off_t>(offset)));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? -errno : -EIO;
    position += done;
    offset += static_cast<std::uint64_t>(done);
    size_bytes -= static_cast<std::uint64_t>(done);
  }
  return 0;
}

int reserve_file_space(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  const int error = reserve_pages(file, offset, size_bytes);
  if (error != -EOPNOTSUPP) return error;
  static const char kZeros[1 << 16] = {};
  while (size_bytes > 0) {
    const std::uint64_t piece = size_bytes < sizeof(kZeros) ? size_bytes : sizeof(kZeros);
    if (const int failed = write_file(file, offset, kZeros, piece); failed != 0) return failed;
    offset += piece;
    size_bytes -= piece;
  }
  return 0;
}

int duplicate_descriptor(Descriptor file) noexcept {
  const int copy = MINIRAY_SYSTEM_CALL("system.dup", fcntl(file, F_DUPFD_CLOEXEC, 3));
  return copy < 0 ? -errno : copy;
}

namespace {

struct RememberedFile {
  std::atomic<Descriptor> file{-1};
  std::atomic<std::uint64_t> device{0};
  std::atomic<std::uint64_t> number{0};
};
RememberedFile remembered[64];

RememberedFile* find_remembered(Descriptor file) noexcept {
  for (RememberedFile& entry : remembered) {
    if (entry.file.load(std::memory_order_acquire) == file) return &entry;
  }
  return nullptr;
}

bool matches(const RememberedFile& entry, const struct stat& status) noexcept {
  return entry.device.load(std::memory_order_relaxed) == static_cast<std::uint64_t>(status.st_dev) &&
         entry.number.load(std::memory_order_relaxed) == static_cast<std::uint64_t>(status.st_ino);
}

}  // namespace

void remember_descriptor(Descriptor file) noexcept {
  struct stat status{};
  if (file < 0 || fstat(file, &status) != 0) return;
  RememberedFile* entry = find_remembered(file);
  if (entry == nullptr) {
    for (RememberedFile& free : remembered) {
      Descriptor nobody = -1;
      if (!free.file.compare_exchange_strong(nobody, -2)) continue;
      entry = &free;
      break;
    }
  }
  if (entry == nullptr) return;
  entry->device.store(static_cast<std::uint64_t>(status.st_dev), std::memory_order_relaxed);
  entry->number.store(static_cast<std::uint64_t>(status.st_ino), std::memory_order_relaxed);
  entry->file.store(file, std::memory_order_release);
}

bool is_same_file(Descriptor file) noexcept {
  const RememberedFile* entry = find_remembered(file);
  if (entry == nullptr) return true;
  struct stat status{};
  return fstat(file, &status) == 0 && matches(*entry, status);
}

void close_descriptor(Descriptor file) noexcept {
  if (file < 0) return;
  RememberedFile* entry = find_remembered(file);
  const bool is_ours = is_same_file(file);
  if (entry != nullptr) entry->file.store(-1, std::memory_order_release);
  if (is_ours) close(file);
}

namespace {
// `which` has another type in each C library.
template <class Which>
std::uint64_t soft_limit(Which which) noexcept {
  rlimit limit{};
  if (getrlimit(which, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return static_cast<std::uint64_t>(limit.rlim_cur);
}
}  // namespace

std::uint64_t address_space_limit_bytes() noexcept { return soft_limit(RLIMIT_AS); }

std::uint64_t descriptor_limit() noexcept { return soft_limit(RLIMIT_NOFILE); }

void ring_doorbell(Descriptor doorbell) noexcept {
  const std::uint64_t one = 1;
  while (doorbell >= 0 && MINIRAY_SYSTEM_CALL("system.ring", write(doorbell, &one, sizeof(one))) < 0 && errno == EINTR) {
  }
}

void on_fork_in_child(void (*handler)()) noexcept { (void)pthread_atfork(nullptr, nullptr, handler); }

std::byte* map_file(Descriptor file, std::uint64_t size_bytes, Access access) noexcept {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address =
      MINIRAY_SYSTEM_CALL("system.mmap", mmap(nullptr, size_bytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0));
  if (address == MAP_FAILED) return nullptr;
#ifdef MADV_DONTDUMP
  madvise(address, size_bytes, MADV_DONTDUMP);
#endif
  return static_cast<std::byte*>(address);
}

std::byte* map_part(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  void* address = MINIRAY_SYSTEM_CALL(
      "system.mmap", mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, static_cast<off_t>(offset)));
  return address == MAP_FAILED ? nullptr : static_cast<std::byte*>(address);
}

std::byte* map_zeros(std::uint64_t size_bytes) noexcept {
  void* address = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? nullptr : static_cast<std::byte*>(address);
}

void protect_pages(std::byte* address, std::uint64_t size_bytes, bool forbids_writing) noexcept {
  mprotect(address, size_bytes, forbids_writing ? PROT_READ : PROT_READ | PROT_WRITE);
}

void unmap(std::byte* address, std::uint64_t size_bytes) noexcept {
  if (address != nullptr) munmap(address, size_bytes);
}

}  // namespace miniray::platform
