// scheduler/scheduler.hpp - from call to result: whoever causes an event does its scheduling, inside one section.
//
// Invariants  S1 a worker is idle, or leases one task, or is blocked inside one; the idle list holds exactly the idle ones,
//                newest first.
//             S2 after each section no idle worker exists beside a queued task whose demand fits.
//             S3 truth: task rows, worker_state and lease of process rows. Derived: idle list, queues, available amounts.
// Locks       every method with a Transaction runs under the domain's lock; wakes are listed and done by the caller afterwards.
// Memory     while no worker holds a lease nobody looks at the memory: a lease then rings the supervisor (`memory_watch_sleeps`).
// Crash       recover_worker() ends or repeats the lease of a dead worker; finish_notifications() completes a cut-off seal.
#pragma once

#include "scheduler/death_notes.hpp"
#include "scheduler/resources.hpp"
#include "scheduler/wait_table.hpp"

namespace miniray::scheduler {

struct SchedulerHeader {
  shm::SlotTableHeader tasks;
  ResourcesHeader resources;
  Cell<Index> idle_head;
  Cell<std::uint32_t> idle_count;
  Cell<std::uint32_t> running_count;  // leases not blocked
  Cell<std::uint32_t> worker_count;
  Cell<Index> notifying;                    // object whose waiters are being told, when that takes more than one section
  Cell<std::uint32_t> memory_watch_sleeps;  // 1: the supervisor wants to be rung at the next lease
  Cell<std::uint64_t> next_sequence;
  Cell<std::uint64_t> finished_count;
  Atomic<std::uint32_t> arrivals;  // futex word: tasks came (low-level module)
  Atomic<std::uint32_t> arrival_waiters;
  Atomic<std::uint32_t> doorbell_rung;  // the supervisor has been rung and has not looked yet
  Atomic<std::uint32_t> spinners;       // threads that spin for a result
  Atomic<std::uint32_t> idle_spinners;  // idle workers that spin for a lease
  Atomic<std::uint32_t> trim_wanted;    // 1: tables hold more empty chunks than are worth keeping; 2: the supervisor knows
  Atomic<std::uint32_t> trimmer;        // ProcessId, packed, of who gives chunks back; 0: nobody
  Cell<std::uint32_t> memory_retries;   // how often a task may be ended for memory and tried again; kRetryForever
  std::uint32_t padding;
  DeathNotes death_notes;
};

enum class DeathCause : std::uint8_t {
  kDied = 0,           // a note may say more
  kNoWorker = 1,       // the task never ran: no worker could be started
  kMemory = 2,         // ended by the memory monitor; tried again out of a budget of its own
  kMemoryForGood = 3,  // the same, not tried again
};

// How a process ended, for the error that its task's callers get.
struct ProcessEnd {
  std::int32_t pid;
  std::int32_t status;  // exit code, or minus the signal; kUnknownEnd when nobody could reap it
  DeathCause cause = DeathCause::kDied;
  std::uint32_t note = 0;  // of DeathNotes
};
inline constexpr std::int32_t kUnknownEnd = 0x7FFFFFFF;

// Payload of an object that is in error because its worker died; the name follows.
struct CrashRecord {
  std::uint8_t format;  // kCrashFormat
  DeathCause cause;
  std::uint8_t padding[2];
  std::int32_t pid;
  std::int32_t status;
  std::uint32_t attempts;
  std::uint32_t name_bytes;
  std::uint32_t note;
};
inline constexpr std::uint8_t kCrashFormat = 3;
// Payload of an object in error because no memory, in the store or on disk, was left for it; lies inline.
struct NoRoomRecord {
  std::uint8_t format;  // kNoRoomFormat
  std::uint8_t padding[7];
  std::uint64_t needed_bytes;
};
inline constexpr std::uint8_t kNoRoomFormat = 5;
// A function object's payload starts with this format byte, then the length of the task's name, and the name at byte 8.
inline constexpr std::uint8_t kFunctionFormat = 4;

class Scheduler {
 public:
  Scheduler() = default;
  Scheduler(std::byte* region, SchedulerHeader* header, const SchedulerHeader& layout, ObjectTable* objects, WaitTable* waits,
            process::ProcessTable* processes, platform::Descriptor file, std::uint64_t file_offset) noexcept
      : tasks(region, &header->tasks, layout.tasks, file, file_offset, &header->trim_wanted),
        header_(header),
        objects_(objects),
        waits_(waits),
        processes_(processes) {}

  shm::SlotTable<TaskEntry> tasks;

  [[nodiscard]] SchedulerHeader& header() const { return *header_; }
  [[nodiscard]] Resource& resource(std::uint32_t index) const {
    MINIRAY_SOUND(index < kResourceCapacity, "scheduler: a number of a resource that is not there");
    return header_->resources.resources[index];
  }
  [[nodiscard]] Shape& shape(Index index) const {
    MINIRAY_SOUND(index < kShapeCapacity, "scheduler: a number of a demand that is not there");
    return header_->resources.shapes[index];
  }
  [[nodiscard]] std::uint32_t shape_count() const {
    const std::uint32_t count = header_->resources.shape_count.get();
    MINIRAY_SOUND(count <= kShapeCapacity, "scheduler: more demands than there is room for");
    return count;
  }
  [[nodiscard]] static std::uint32_t demand_count(const Shape& shape) {
    const std::uint32_t count = shape.demand_count.get();
    MINIRAY_SOUND(count <= kShapeDemands, "scheduler: a demand for more resources than there is room for");
    return count;
  }

  // --- set-up -------------------------------------------------------------------------------------------------------
  // Index of a resource by name; adds it with total 0 when unknown. kResourceCapacity when there is no room.
  [[nodiscard]] std::uint32_t find_resource(const char* name, bool add);
  [[nodiscard]] Index find_shape(Transaction& transaction, const Demand* demands,
                                 std::uint32_t count);  // kNone: no room
  [[nodiscard]] bool shape_can_ever_run(Index shape) const;

  // --- calls --------------------------------------------------------------------------------------------------------
  // The row is filled; dependencies counts the nodes added plus one guard. Drops the guard.
  void submit(Transaction& transaction, Index task, Wakes& wakes);
  void dependency_met(Transaction& transaction, Index task, Wakes& wakes);
  // Seals and tells waiters and dependents.
  void seal(Transaction& transaction, Index object, store::ObjectState state, Wakes& wakes);
  void finish_notifications(Transaction& transaction, Wakes& wakes);
  // Takes the oldest task of the low-level queue (shape 0) away; kNone when empty. The caller reads and then ends it.
  [[nodiscard]] Index pop_low_level(Transaction& transaction);
  // Drops what the task holds and frees its row.
  void end_task(Transaction& transaction, Index task);

  // --- workers ------------------------------------------------------------------------------------------------------
  void add_worker(Transaction& transaction, ProcessId worker, Wakes& wakes);  // becomes idle, or takes a task
  void finish_lease(Transaction& transaction, ProcessId worker,
                    Wakes& wakes);                                               // results are sealed; next task or idle
  void repeat_lease(Transaction& transaction, ProcessId worker, Wakes& wakes);   // the call is to be tried again
  void begin_blocked(Transaction& transaction, ProcessId worker, Wakes& wakes);  // inside get or wait: CPU given back
  void end_blocked(Transaction& transaction, ProcessId worker);
  void return_lease(Transaction& transaction,
                    ProcessId worker);  // not begun: back to the front of its queue; worker idle
  [[nodiscard]] bool retire(Transaction& transaction, ProcessId worker);  // idle worker leaves; false: it has a lease
  void recover_worker(Transaction& transaction, ProcessId worker, ProcessEnd end, Wakes& wakes);
  // Fails the oldest task that fits now when no worker is idle or runs, so that only a new one could take it; none that came after
  // `last_sequence`. True: one was failed.
  [[nodiscard]] bool fail_stranded_task(Transaction& transaction, ProcessEnd end, std::uint64_t last_sequence, Wakes& wakes);
  // Whether no worker holds a lease; the next one rings the supervisor then.
  [[nodiscard]] bool let_memory_watch_sleep(Transaction& transaction);
  // Whether a task ended for memory would be tried again.
  [[nodiscard]] bool may_repeat_for_memory(const TaskEntry& task) const {
    return (task.flags.get() & kRetriable) != 0 && task.memory_ends() < header_->memory_retries.get();
  }
  // Name of a task, out of its function; cut to the room there is.
  [[nodiscard]] std::size_t copy_name(Index task, char* name, std::size_t room) const;
  [[nodiscard]] std::uint32_t workers_needed() const;  // under the lock: queued tasks that fit and have no idle worker
  [[nodiscard]] std::uint32_t queued_count() const { return header_->resources.queued_count.get(); }
  void dispatch(Transaction& transaction, Wakes& wakes);

  [[nodiscard]] const char* validate() const;
  // Adds what tasks hold to counts[object], for ObjectTable::validate.
  void count_references(std::uint32_t* counts) const;

  // Bounds a walk through a task's results.
  [[nodiscard]] debug::WalkLimit result_limit() const noexcept {
    return {objects_->slots.capacity(), "tasks: the chain of a task's results has a cycle"};
  }

 private:
  [[nodiscard]] const char* validate_waiting() const;
  [[nodiscard]] TaskEntry& leased_task(Index task) const;
  void make_ready(Transaction& transaction, Index task, bool first, Wakes& wakes);
  void queue_push(Transaction& transaction, Index task, bool first);
  void queue_pop(Transaction& transaction, Index shape);
  [[nodiscard]] bool fits(const Shape& shape) const;
  void charge(Transaction& transaction, Index shape, std::int64_t sign, bool cpu_only);
  [[nodiscard]] Index best_shape() const;
  void lease(Transaction& transaction, Index task, Index worker, Wakes& wakes);
  [[nodiscard]] bool may_repeat_after_death(Index task, DeathCause cause) const;
  void take_retry(Transaction& transaction, Index task, DeathCause cause);
  void idle_push(Transaction& transaction, Index worker);
  void idle_remove(Transaction& transaction, Index worker);
  void drop_lease(Transaction& transaction, Index worker);
  void fail_with_crash(Transaction& transaction, Index task, ProcessEnd end, Wakes& wakes);
  void discard_half_made_results(Transaction& transaction, Index task);

  SchedulerHeader* header_ = nullptr;
  ObjectTable* objects_ = nullptr;
  WaitTable* waits_ = nullptr;
  process::ProcessTable* processes_ = nullptr;
};

}  // namespace miniray::scheduler
