// scheduler/placement_entry.hpp - one row per placement group, and one per bundle of resources that it keeps for its tasks and actors.
//
// Invariants  B1 truth: state, ready, description, flags, creator, bundles with their demands and GPUs; the list of groups that wait, oldest
//                first; the list of groups that are removed. Derived: holders, and what of a bundle is available.
//             B2 kPlaced: what its bundles ask for has been taken from the machine. What is available in a bundle = its demands - what the
//                processes hold that name it (ProcessEntry::bundle). In every other state but kRemoved nobody holds anything of it.
//             B3 the ready object lives as long as the row, refers to it (store::kPlacement, next_result), has its payload from the start,
//                and is sealed when the group is placed. It names the group: its generation tells an old name from a new one.
//             B4 kRemoved: nobody starts in it, its processes have been ended, and what waits for it is failed. The row, its bundles and its
//                shapes go when the last process has let go.
//             B5 the shapes of a group are chained from it, and name it.
// Moves       free -> making -> pending -> placed -> removed -> free; making, pending -> removed.
// Crash       making: recovery of the process that made it removes it. removed: whoever comes by goes on (settle_removed).
#pragma once

#include "scheduler/resources.hpp"

namespace miniray::scheduler {

enum class PlacementState : std::uint32_t { kFree = 0, kMaking = 1, kPending = 2, kPlaced = 3, kRemoved = 4 };

// Of PlacementEntry::flags.
inline constexpr std::uint32_t kNeverPlaced = 1;    // it asks for more than one machine; it is in no list
inline constexpr std::uint32_t kTaken = 2;          // its bundles have what they ask for
inline constexpr std::uint32_t kWaitersFailed = 4;  // it is removed, and the tasks that wait for arguments have been told

inline constexpr std::uint32_t kBundlesOfGroup = 1024;  // at most: they are placed in one section

struct alignas(64) PlacementEntry {
  static constexpr const char* kDamagedIndex = "placement groups: a number of a row that is not there";
  Cell<std::uint32_t> state;
  Cell<Index> next_free;
  Cell<Index> ready;        // object (B3); kNone while it is being made
  Cell<Index> description;  // object; what it is, for people, and what it is named by
  Cell<Index> first_bundle;
  Cell<Index> last_bundle;
  Cell<std::uint32_t> bundle_count;
  Cell<std::uint32_t> flags;
  Cell<std::uint32_t> creator;  // ProcessId, packed
  Cell<std::uint32_t> holders;  // processes that hold something of its bundles, or could
  Cell<Index> first_shape;
  Cell<Index> next;  // in one of the two lists
  Cell<Index> previous;
  std::uint32_t padding;
  Cell<std::uint64_t> sequence;  // order among groups and tasks

  [[nodiscard]] PlacementState current_state() const noexcept { return static_cast<PlacementState>(state.get()); }
  [[nodiscard]] bool is_free() const noexcept { return current_state() == PlacementState::kFree; }
  [[nodiscard]] bool has(std::uint32_t flag) const noexcept { return (flags.get() & flag) != 0; }
  // Whether its tasks and actors may still be made.
  [[nodiscard]] bool is_open() const noexcept {
    return current_state() == PlacementState::kPending || current_state() == PlacementState::kPlaced;
  }
};
static_assert(shm::kShareable<PlacementEntry> && sizeof(PlacementEntry) == 64);

struct alignas(64) BundleEntry {
  static constexpr const char* kDamagedIndex = "bundles: a number of a row that is not there";
  Cell<Index> placement;  // kNone: the row is free
  Cell<Index> next_free;
  Cell<Index> next;  // of the same group
  Cell<std::uint32_t> number;
  Cell<std::uint64_t> gpus;  // which it has, a bit each
  Cell<std::uint32_t> demand_count;
  std::uint32_t padding;
  Demand demands[kShapeDemands];  // never changes once made
  Cell<std::int64_t> available[kShapeDemands];
  GpuShares shares;  // of its own GPUs
  [[nodiscard]] bool is_free() const noexcept { return placement.get() == kNone; }
};
static_assert(shm::kShareable<BundleEntry> && sizeof(BundleEntry) == 512);

// One of the two lists of groups.
struct PlacementList {
  Cell<Index> first;
  Cell<Index> last;
};

}  // namespace miniray::scheduler
