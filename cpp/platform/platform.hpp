// platform/platform.hpp - contract of every operating system primitive the core uses.
//
// Invariants  P1 nothing outside platform/ includes an OS header or tests an OS macro.
//             P2 times are nanoseconds of a monotonic clock; sizes and offsets are bytes; a negative result is -errno.
//             P3 no function allocates memory or throws, so all of them may be called after fork().
// Blocking    only functions named wait_* may sleep.
#pragma once

#include <cstddef>
#include <cstdint>

// A few words that a thread has of its own, for hot paths: one load, in a module that is loaded late too. Only for what is constinit.
#if defined(__ELF__)
#define MINIRAY_STATIC_TLS [[gnu::tls_model("initial-exec")]]
#else
#define MINIRAY_STATIC_TLS
#endif

namespace miniray::platform {

using ProcessNumber = std::int32_t;  // what the kernel calls pid
using Descriptor = int;

// --- time and processors ----------------------------------------------------------------------------------------------
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;
[[nodiscard]] std::uint32_t processor_count() noexcept;  // usable by this process, at least 1
inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

// --- waiting on a word of shared memory -------------------------------------------------------------------------------
enum class WaitResult { kWoken, kTimedOut, kInterrupted };  // kWoken also when the word already differed
inline constexpr std::int64_t kForever = -1;
WaitResult wait_on_word(const std::uint32_t* word, std::uint32_t expected, std::int64_t timeout_ns) noexcept;
void wake_word(const std::uint32_t* word, int how_many) noexcept;

// --- processes --------------------------------------------------------------------------------------------------------
[[nodiscard]] ProcessNumber current_process() noexcept;
// Start time in clock ticks since boot; 0 when no such process is visible.
[[nodiscard]] std::uint64_t process_start_time(ProcessNumber process) noexcept;
// True only with proof: the whole thread group has ended, or the number now
// belongs to a process started at another time. `start_time` 0 means unknown.
// Any doubt is "alive".
[[nodiscard]] bool process_is_dead(ProcessNumber process, std::uint64_t start_time) noexcept;
// A descriptor that becomes readable when the process has ended (pidfd on
// Linux), close-on-exec, or -errno.
[[nodiscard]] Descriptor open_process(ProcessNumber process) noexcept;
enum class RunState { kOther, kStopped, kTraced, kRunnable };      // by SIGSTOP and its like; by a debugger; runs, or would
[[nodiscard]] RunState run_state(ProcessNumber process) noexcept;  // of its main thread
// Kills exactly this process: not another one that has its number by now, and nobody when in doubt. 0, also when it has ended before;
// -errno when that could not be told, as for want of a descriptor.
int end_process(ProcessNumber process, std::uint64_t start_time) noexcept;
// Sends interrupt_signal() as end_process() does SIGKILL: it wakes the main thread out of most calls that block.
int interrupt_process(ProcessNumber process, std::uint64_t start_time) noexcept;
[[nodiscard]] int interrupt_signal() noexcept;  // one that nobody else uses: neither a terminal nor, as a rule, a program
// For a process whose handler of that signal is set, in its main thread: the handler is called again every 20 ms until
// settle_interrupt(). A handler that only notes the signal, as an interpreter's does, is forgotten by a system call that just begins.
[[nodiscard]] bool repeat_interrupts() noexcept;
void settle_interrupt() noexcept;
// Blocks until the process behind an open_process() descriptor has ended. False: somebody closed the descriptor.
[[nodiscard]] bool wait_for_process_end(Descriptor process) noexcept;
[[noreturn]] void exit_immediately(int code) noexcept;
void tell_user(const char* text) noexcept;  // on standard error; dropped when nobody makes room for it within a second
void block_all_signals() noexcept;          // for this thread
void yield_to_other_threads() noexcept;     // this thread, from now on: the lowest priority
[[nodiscard]] std::uint32_t user_number() noexcept;
[[nodiscard]] std::uint64_t process_namespace() noexcept;  // 0 when unknown
[[nodiscard]] std::uint64_t time_namespace() noexcept;     // the same
// A thread can end while its process lives on: pthread_exit, or the exit system call. One thread per process says once that it is
// waited for; false: the system has no means. Then others may wait, which blocks until that thread has ended.
[[nodiscard]] bool announce_thread() noexcept;
void wait_for_announced_thread() noexcept;
void fill_random(void* destination, std::size_t size_bytes) noexcept;
void read_boot_id(char (&destination)[40]) noexcept;  // zero-terminated; empty when unknown

// --- shared memory files ----------------------------------------------------------------------------------------------
inline constexpr const char* kSharedMemoryFolder = "/dev/shm";
inline constexpr std::size_t kPageBytes = 4096;
struct FileFacts {
  std::uint64_t size_bytes;
  std::uint32_t user;
  std::uint32_t mode;  // permission bits
};
// Names have no slash. Created 0600, exclusively (-EEXIST otherwise), sparse,
// close-on-exec.
[[nodiscard]] Descriptor create_shared_file(const char* name, std::uint64_t size_bytes) noexcept;
// Without a name in the file system and outside of its size limit; its size is sealed. The memory goes with the last descriptor and
// mapping.
[[nodiscard]] Descriptor create_anonymous_file(const char* name, std::uint64_t size_bytes) noexcept;
// kNoFile: what has that name is a link, a folder, a pipe: it is not followed, not waited for, and not read.
inline constexpr Descriptor kNoFile = -1'000'000;
[[nodiscard]] Descriptor open_shared_file(const char* name) noexcept;
[[nodiscard]] Descriptor open_shared_file_for_reading(const char* name) noexcept;
// Copies bytes out of a file without mapping it: holes read as zeros and get no pages, what lies behind the end is missing.
// Returns how many bytes, or -errno.
[[nodiscard]] std::int64_t read_file(Descriptor file, std::uint64_t offset, void* destination,
                                     std::uint64_t size_bytes) noexcept;
[[nodiscard]] int unlink_shared_file(const char* name) noexcept;
[[nodiscard]] int file_facts(Descriptor file, FileFacts& facts) noexcept;
[[nodiscard]] int duplicate_descriptor(Descriptor file) noexcept;
// Descriptors of a process can be closed behind our back (os.closerange), and their numbers given to files of the user: of a
// remembered one, reserve_pages, discard_pages, write_file and reserve_file_space make sure first that it is still the same file, and
// answer -EBADF otherwise. close_descriptor forgets. At most 64; more are not remembered.
void remember_descriptor(Descriptor file) noexcept;
[[nodiscard]] bool is_same_file(Descriptor file) noexcept;  // true for one that is not remembered
void close_descriptor(Descriptor file) noexcept;
// Makes a doorbell (eventfd or pipe end) readable; does not block.
void ring_doorbell(Descriptor doorbell) noexcept;
// Runs `handler` in every forked child, before user code.
void on_fork_in_child(void (*handler)()) noexcept;
// Reserves pages, so that touching them later cannot fail (-ENOSPC when the
// file system is full). May take long: never under a lock.
[[nodiscard]] int reserve_pages(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept;
// Gives pages back to the system; they read as zero afterwards.
[[nodiscard]] int discard_pages(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept;
// Writes all of it at that place of the file; 0 or -errno (-ENOSPC: the disk is full).
[[nodiscard]] int write_file(Descriptor file, std::uint64_t offset, const void* data, std::uint64_t size_bytes) noexcept;
// Reserves disk space, by writing zeros where the file system cannot otherwise; 0 or -errno.
[[nodiscard]] int reserve_file_space(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept;
// Free space of the file's file system; UINT64_MAX where it has no size of its own (memfd) or does not say.
[[nodiscard]] std::uint64_t file_system_free_bytes(Descriptor file) noexcept;
[[nodiscard]] std::uint64_t file_resident_bytes(Descriptor file) noexcept;
[[nodiscard]] std::uint64_t shared_memory_available_bytes() noexcept;

// --- limits of this process, UINT64_MAX for none ----------------------------------------------------------------------
[[nodiscard]] std::uint64_t address_space_limit_bytes() noexcept;
[[nodiscard]] std::uint64_t descriptor_limit() noexcept;

// --- memory -----------------------------------------------------------------------------------------------------------
// How much this process may still take before the kernel's out-of-memory killer could act, less a margin: memory of the
// machine and limits of the control groups. A reserve_pages() past a group's limit is a SIGKILL, not an error, so this is
// asked first. UINT64_MAX when nothing is known. Some ten microseconds.
[[nodiscard]] std::uint64_t memory_headroom_bytes() noexcept;
// The same for a tree of files that stands for `/`, found anew at each call: for tests.
[[nodiscard]] std::uint64_t memory_headroom_bytes_below(const char* root) noexcept;

enum class Access { kRead, kReadWrite };
[[nodiscard]] std::byte* map_file(Descriptor file, std::uint64_t size_bytes,
                                  Access access) noexcept;  // nullptr on failure
// A part of a file, for writing; `offset` is a multiple of the page size. nullptr on failure.
[[nodiscard]] std::byte* map_part(Descriptor file, std::uint64_t offset, std::uint64_t size_bytes) noexcept;
// Zeros of this process alone; pages that nobody touches cost nothing. nullptr: no room.
[[nodiscard]] std::byte* map_zeros(std::uint64_t size_bytes) noexcept;
void unmap(std::byte* address, std::uint64_t size_bytes) noexcept;
// Whole pages of a mapping for writing: a write there ends the process (SIGSEGV) from now on, or no longer. Reading goes on.
void protect_pages(std::byte* address, std::uint64_t size_bytes, bool forbids_writing) noexcept;
// Faults in the pages that hold the range. False: the file cannot be read there, and touching it would end the process.
[[nodiscard]] bool populate_for_read(const std::byte* address, std::uint64_t size_bytes) noexcept;

}  // namespace miniray::platform
