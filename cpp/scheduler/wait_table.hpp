// scheduler/wait_table.hpp - who waits for which object: threads in get and wait (groups), and tasks for their arguments.
//
// Invariants  W1 a node is in exactly one object's list of waiters until that object is sealed.
//             W2 a group's nodes are chained from it, sealed or not, until the group ends; a task's node ends with the seal.
//             W3 group.remaining counts the seals still needed; it reaches 0 once, and an error sets it to 0 when fail_fast.
//             W5 a standing group counts nothing: nodes whose object was sealed are listed from first_done, the newest first, with
//                the object in `previous`, until its owner takes them; it wakes when the first comes into an empty list.
// Wake-up     [W4] remaining = 0, section committed, then wake word + 1 and a kernel wake -> sleeper: read remaining, then
//             sleep on the word it read before. A waker killed in between is covered by recovery, which wakes every group.
// Crash       groups of a dead process are ended by recovery.
#pragma once

#include "process/process_table.hpp"
#include "store/object_table.hpp"

namespace miniray::scheduler {

using process::ProcessId;
using shm::Atomic;
using shm::Cell;
using shm::Index;
using shm::kNone;
using shm::Transaction;
using store::ObjectKey;
using store::ObjectTable;

struct WaitNode {
  static constexpr const char* kDamagedIndex = "waits: a number of a node that is not there";
  Cell<Index> next_free;
  Cell<Index> object;  // kNone: free, or sealed already
  Cell<Index> next;    // in the object's list
  Cell<Index> previous;
  Cell<Index> group;  // one of these two
  Cell<Index> task;
  Cell<Index> group_next;
  Cell<Index> group_previous;
  [[nodiscard]] bool is_free() const noexcept { return group.get() == kNone && task.get() == kNone; }
};
static_assert(shm::kShareable<WaitNode> && sizeof(WaitNode) == 32);

struct WaitGroup {
  static constexpr const char* kDamagedIndex = "waits: a number of a group that is not there";
  Cell<Index> next_free;
  Cell<std::uint32_t> owner;  // ProcessId packed; 0: free
  Cell<std::uint32_t> remaining;
  Cell<std::uint32_t> fail_fast;
  Cell<Index> first_node;
  Cell<Index> first_done;      // of a standing group (W5)
  Cell<std::uint32_t> stands;  // 1: it is a standing group
  Atomic<std::uint32_t> wake;
  [[nodiscard]] bool is_free() const noexcept { return owner.get() == 0; }
};
static_assert(shm::kShareable<WaitGroup> && sizeof(WaitGroup) == 32);

struct WaitTableHeader {
  shm::SlotTableHeader nodes;
  shm::SlotTableHeader groups;
};

// What to wake once the section is over and the lock free.
struct Wakes {
  static constexpr std::uint32_t kCapacity = 62;
  std::uint32_t worker_count = 0;
  std::uint32_t group_count = 0;
  bool doorbell = false;  // the supervisor should look for workers to start
  bool overflow = false;  // too many to list: wake everyone
  bool arrivals = false;  // low-level: a task came
  bool removals = false;  // a placement group is removed, and something of it is left to do
  Index workers[kCapacity];
  Index groups[kCapacity];
  void add_worker(Index slot) noexcept {
    if (worker_count < kCapacity) {
      workers[worker_count++] = slot;
    } else {
      overflow = true;
    }
  }
  void add_group(Index group) noexcept {
    if (group_count < kCapacity) {
      groups[group_count++] = group;
    } else {
      overflow = true;
    }
  }
};

class WaitTable {
 public:
  WaitTable() = default;
  WaitTable(std::byte* region, WaitTableHeader* header, const WaitTableHeader& layout, platform::Descriptor file,
            std::uint64_t file_offset, Atomic<std::uint32_t>* trim_wanted) noexcept
      : nodes(region, &header->nodes, layout.nodes, file, file_offset, trim_wanted),
        groups(region, &header->groups, layout.groups, file, file_offset, trim_wanted) {}

  shm::SlotTable<WaitNode> nodes;
  shm::SlotTable<WaitGroup> groups;

  // kNone when no row is free.
  [[nodiscard]] Index create_group(Transaction& transaction, ProcessId owner, bool fail_fast);
  // A group that waits for any number of objects, for as long as its owner likes (W5); kNone when no row is free.
  [[nodiscard]] Index create_standing_group(Transaction& transaction, ProcessId owner);
  // Takes up to `room` objects that were sealed out of a standing group, in the order in which they were; how many.
  [[nodiscard]] std::size_t collect(Transaction& transaction, Index group, Index* objects, std::size_t room);
  // Adds one object that is not sealed; false when no node is free.
  [[nodiscard]] bool add_to_group(Transaction& transaction, ObjectTable& objects, Index group, Index object);
  [[nodiscard]] bool add_dependency(Transaction& transaction, ObjectTable& objects, Index task, Index object);
  // Ends some nodes of a group, and the group with the last one; true while nodes are left.
  bool end_group_step(Transaction& transaction, ObjectTable& objects, Index group);
  void wake_group(Index group);
  void wake_all_groups() noexcept;  // also in a damaged domain

 private:
  [[nodiscard]] Index link(Transaction& transaction, ObjectTable& objects, Index object);
};

}  // namespace miniray::scheduler
