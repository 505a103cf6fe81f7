// runtime/domain.hpp - one object store with its scheduler: the layout of the shared memory, creating it, attaching to it.
//
// Invariants  D1 a domain is a control region (header, lock, tables) and a heap (payloads). A session keeps them in two files,
//                miniray_<session>_scheduler and miniray_<session>_objectstore; the low-level classes keep both in one file. Where
//                /dev/shm is too small the two are anonymous, and go with their last process.
//             D2 the header's `version` is stored last, with release; 0 means "being made". [D2v] create(): release ->
//                attach(): acquire
//             D3 everything inside is an offset or an index; each process maps the heap twice: for writing, and read-only for
//                views.
//             D4 where each table lies and how large it is, follows from the capacities; a process computes it once and keeps it. What the
//                header says about it later is not read again (debug/damage.hpp G3).
// Crash       a creator that dies half-way leaves version 0 or a dead creator: the next create() of that name takes over.
#pragma once

#include <atomic>

#include "scheduler/scheduler.hpp"
#include "scheduler/worker_registry.hpp"

namespace miniray::runtime {

using process::ProcessEntry;
using process::ProcessId;
using process::ProcessKind;
using process::ProcessTable;
using scheduler::Scheduler;
using scheduler::WaitTable;
using scheduler::Wakes;
using shm::Index;
using shm::kNone;
using shm::Transaction;
using store::ObjectId;
using store::ObjectKey;
using store::ObjectState;
using store::ObjectTable;
using store::PageHeap;

inline constexpr std::uint64_t kMagic = 0x59415249'4E494D01ULL;
inline constexpr std::uint32_t kLayoutVersion = 9;

// What a domain may have at most: of objects, tasks and registered workers, of processes (process_table.hpp: a slot fits into the lock's
// word), and of bytes in a heap (pages are numbered with 32 bits).
inline constexpr std::uint32_t kMostRows = 1U << 30;
inline constexpr std::uint32_t kMostProcesses = (1U << 16) - 2;
inline constexpr std::uint64_t kMostBytes = (1ULL << 44) - 2 * platform::kPageBytes;

struct DomainConfig {
  std::uint32_t object_capacity = 1U << 20;
  std::uint32_t task_capacity = 1U << 20;
  std::uint32_t actor_capacity = 1U << 16;
  std::uint32_t placement_capacity = 1U << 14;
  std::uint32_t bundle_capacity = 1U << 16;
  std::uint32_t process_capacity = 1100;         // 1,024 workers, the driver, the supervisor, observers
  std::uint32_t processors = 0;                  // leases that begin at once; 0: as many as this process may use
  std::uint32_t registered_worker_capacity = 0;  // of the low-level module's registry
  std::uint64_t heap_bytes = 1ULL << 30;
  std::uint64_t spill_bytes = 0;          // of the spill file, sparse; 0: nothing is spilled
  std::uint32_t records_call_sites = 0;   // 1: room for a CallSite of each object
  std::uint32_t heap_size_was_given = 0;  // 1: by the user; for people who ask why it has that size
};

struct ControlHeader {
  std::uint64_t magic;
  shm::Atomic<std::uint32_t> version;  // [D2v]
  std::uint32_t user;
  std::uint64_t control_bytes;
  std::uint64_t heap_bytes;
  std::uint64_t heap_file_offset;
  std::uint64_t process_namespace;
  shm::Atomic<std::uint64_t> creator_start_time;
  shm::Atomic<std::int32_t> creator;  // process number
  std::uint32_t usage;                // what it was made for: DomainUsage
  char boot_id[40];
  std::uint64_t time_namespace;  // the kernel tells start times of processes in it
  DomainConfig config;
  std::uint64_t lock_offset;
  process::ProcessTableHeader processes;
  store::PageHeapHeader heap;
  store::PageHeapHeader spill;  // places in the spill file
  store::ObjectTableHeader objects;
  shm::Atomic<std::uint32_t> memory_freed;  // futex word: counts when a process has made room in the heap
  std::uint32_t padding;
  scheduler::WaitTableHeader waits;
  scheduler::WorkerRegistryHeader workers;
  scheduler::SchedulerHeader scheduler;
};
enum class DomainUsage : std::uint32_t { kUnknown = 0, kSession = 1, kObjectStore = 2, kScheduler = 3 };

enum class DomainError {
  kNone,
  kExists,          // create: a live process has it
  kNotFound,        // attach
  kForeign,         // another user's, or readable by others
  kNoFile,          // a link, a folder, a pipe has that name
  kWrongVersion,    // `found_version` tells
  kCorrupt,         // not a domain, another machine start, impossible sizes
  kOtherNamespace,  // made in another process or time namespace: nobody here can judge who lives there
  kNoProcessSlot,   // all rows of the process table are taken
  kNoStartTime,     // /proc does not tell when this process began
  kSystem,          // `system_error` is -errno
};

struct DomainFailure {
  DomainError error = DomainError::kNone;
  int system_error = 0;
  std::uint32_t found_version = 0;
  platform::ProcessNumber owner = 0;
  [[nodiscard]] explicit operator bool() const noexcept { return error != DomainError::kNone; }
};
[[nodiscard]] inline DomainFailure system_failure(int error) noexcept { return {DomainError::kSystem, error, 0, 0}; }
[[nodiscard]] inline DomainFailure open_failure(platform::Descriptor error) noexcept {
  if (error == -2 /* ENOENT */) return {DomainError::kNotFound};
  return error == platform::kNoFile ? DomainFailure{DomainError::kNoFile} : system_failure(error);
}

struct DomainFiles {
  platform::Descriptor control = -1;
  platform::Descriptor heap = -1;
};

class Domain {
 public:
  Domain() = default;
  ~Domain() { detach(); }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Both names equal: one file. On failure nothing stays behind. `anonymous`, for two files: the names only tell people what the
  // descriptors are, and others attach_descriptors() that they inherited.
  [[nodiscard]] DomainFailure create(const char* control_name, const char* heap_name, const DomainConfig& config,
                                     DomainUsage usage, ProcessKind kind, bool anonymous = false) noexcept;
  [[nodiscard]] DomainFailure attach(const char* control_name, const char* heap_name, DomainUsage usage,
                                     ProcessKind kind) noexcept;
  // The two files of a domain by descriptors, which stay the caller's.
  [[nodiscard]] DomainFailure attach_descriptors(platform::Descriptor control_file, platform::Descriptor heap_file,
                                                 DomainUsage usage, ProcessKind kind) noexcept;
  // Opens both files for reading alone and checks them as attach() does: no row, no lock, no mapping. The caller closes them.
  [[nodiscard]] static DomainFailure open_to_look(const char* control_name, const char* heap_name, DomainUsage usage,
                                                  DomainFiles& files) noexcept;
  // A forked child uses its parent's mappings under a row of its own.
  [[nodiscard]] DomainFailure adopt_after_fork(ProcessKind kind) noexcept;
  // Drops this process's references and row, and unmaps. Does not unlink.
  void detach() noexcept;
  // The first half of it: references dropped, the row free.
  void leave() noexcept;
  // For a forked child that must not touch its parent's row: forgets without a trace.
  void abandon() noexcept;
  // Before destruction: memory of the store is still in use; its mappings are left to the process's end. The row is free already.
  void keep_payload_mappings() noexcept {
    heap_read_ = nullptr;
    heap_write_ = nullptr;
    spill_read_ = nullptr;
    self_ = {};
  }
  static void unlink(const char* control_name, const char* heap_name) noexcept;
  // Whose is it, and does any of its processes live? kNotFound, kCorrupt ... as attach; `owner` is a live process, or 0.
  // `may_wait`: up to a second for one that is just being made.
  [[nodiscard]] static DomainFailure inspect(const char* control_name, DomainUsage& usage, bool may_wait) noexcept;

  [[nodiscard]] bool is_attached() const noexcept { return region_ != nullptr; }
  [[nodiscard]] platform::Descriptor control_file() const noexcept { return control_file_; }
  [[nodiscard]] platform::Descriptor heap_file() const noexcept { return heap_file_; }
  [[nodiscard]] ControlHeader& header() const noexcept { return *reinterpret_cast<ControlHeader*>(region_); }
  [[nodiscard]] ProcessId self() const noexcept { return self_; }
  [[nodiscard]] ProcessEntry& own_entry() const { return processes[self_.slot]; }
  [[nodiscard]] DomainFiles files() const noexcept { return {control_file_, heap_file_}; }  // still the domain's
  [[nodiscard]] const std::byte* heap_read() const noexcept { return heap_read_; }
  [[nodiscard]] std::uint64_t heap_file_offset() const noexcept { return heap_file_offset_; }
  // Of the CallSites in the control region; 0: not recorded.
  [[nodiscard]] std::uint64_t call_sites_offset() const noexcept { return call_sites_offset_; }
  [[nodiscard]] std::uint64_t control_resident_bytes() const noexcept { return platform::file_resident_bytes(control_file_); }
  [[nodiscard]] bool is_poisoned() const noexcept { return lock.is_poisoned(); }
  // After Damage was caught: poisons unless that has been done, and wakes everybody, so that all learn of it.
  void poison(const char* why) noexcept;

  // Reserves memory for that many more rows of each kind, outside the lock. 0 or -errno.
  [[nodiscard]] int ensure_rows(std::uint32_t object_count, std::uint32_t task_count, std::uint32_t node_count);
  // Reserves the pages of a run of the heap, outside the lock, if the machine can spare them. 0, -ENOSPC, -ENOMEM, ...
  [[nodiscard]] int grow_heap(std::uint64_t offset, std::uint64_t size_bytes);
  // Only whether the machine can: 0 or -ENOMEM.
  [[nodiscard]] int may_grow_heap(std::uint64_t offset, std::uint64_t size_bytes);
  // Gives pages of emptied tables back to the system; returns how many bytes. The supervisor's work.
  std::uint64_t trim();
  // The heap's memory is given back in parts, by calls of trim_heap() with pauses between them, until one gives nothing.
  void begin_heap_trim();
  std::uint64_t trim_heap();
  void finish_trim_of(ProcessId dead);
  // Wakes whom a finished section listed. Outside the lock.
  void perform(const Wakes& wakes);
  void wake_everyone() noexcept;
  // Ends pending reclamation in bounded sections.
  void reclaim();
  // Acts on actors whose last handle went.
  void settle_handles();
  // Goes on with placement groups that are removed.
  void settle_removals();
  void set_doorbell(platform::Descriptor doorbell) noexcept { doorbell_ = doorbell; }
  // The session's nameless spill file, `spill_bytes` long and sparse; takes the descriptor over. 0 or -errno.
  [[nodiscard]] int set_spill_file(platform::Descriptor file);
  [[nodiscard]] platform::Descriptor spill_file() const noexcept { return spill_file_; }
  [[nodiscard]] bool can_spill() const noexcept { return spill_read_ != nullptr; }
  // Gives the disk space of up to `limit` freed places back; the supervisor's work. True: more are left.
  bool discard_freed_places(std::uint32_t limit);

  // nullptr, or what is wrong. Holds the lock while it looks.
  [[nodiscard]] const char* validate();
  // For who has waited long: validates, and poisons when it finds the same fault twice in a row (`suspected`, null at first), because a
  // call that is made in several sections may look odd between two of them. Without a fault it wakes everybody: a word about who sleeps
  // may be what is damaged.
  void audit(const char*& suspected);

  shm::Lock lock;
  ProcessTable processes;
  PageHeap heap;
  PageHeap spill;
  ObjectTable objects;
  WaitTable waits;
  scheduler::WorkerRegistry workers;
  Scheduler scheduler;

 private:
  // Whether a control file can be believed; learns the sizes from it.
  [[nodiscard]] DomainFailure check_control(platform::Descriptor control_file, bool joined, DomainUsage usage,
                                            ControlHeader& layout) noexcept;
  // Takes both descriptors, or closes them.
  [[nodiscard]] DomainFailure enter(platform::Descriptor control_file, platform::Descriptor heap_file,
                                    const ControlHeader& layout, ProcessKind kind) noexcept;
  [[nodiscard]] DomainFailure map(platform::Descriptor control_file, platform::Descriptor heap_file,
                                  const ControlHeader& layout) noexcept;
  [[nodiscard]] DomainFailure join(ProcessKind kind) noexcept;
  void wire(const ControlHeader& layout) noexcept;
  [[nodiscard]] const char* find_fault(std::uint32_t* references, std::uint32_t* pins);  // under the lock
  void tell_supervisor() noexcept;                                                       // of pages and places to give back

  std::byte* region_ = nullptr;
  std::byte* heap_write_ = nullptr;
  std::byte* heap_read_ = nullptr;
  std::uint64_t control_bytes_ = 0;
  std::uint64_t heap_bytes_ = 0;
  std::uint64_t heap_file_offset_ = 0;
  std::uint64_t spill_file_bytes_ = 0;
  std::uint64_t call_sites_offset_ = 0;
  platform::Descriptor control_file_ = -1;
  platform::Descriptor heap_file_ = -1;
  platform::Descriptor doorbell_ = -1;
  platform::Descriptor spill_file_ = -1;
  std::byte* spill_read_ = nullptr;
  Index heap_keep_ = kNone;                     // of PageHeap::trim_part()
  std::atomic<std::int64_t> growth_credit_{0};  // bytes the heap may grow by before the machine's memory is looked at again
  ProcessId self_;
};

}  // namespace miniray::runtime
