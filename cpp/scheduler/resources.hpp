// scheduler/resources.hpp - what this machine offers, what calls ask for, and one ready queue per distinct demand.
//
// Invariants  R1 amounts are in units of 1/10,000. Truth: total. Derived: available = total - what leased, not blocked tasks
//                hold; it may be below zero after a blocked task went on.
//             R2 a shape never changes once made; the queue of a shape holds exactly its tasks in state kQueued, in order of
//                sequence. Shapes of a placement group are free again when it has gone; the others stay.
//             R3 GPUs are told apart: whoever asks for less than one has a share of one, whoever asks for more has whole ones. What of each
//                is left is derived: total - what bundles have - what processes hold that is of no bundle.
#pragma once

#include "scheduler/task_entry.hpp"

namespace miniray::scheduler {

inline constexpr std::uint32_t kResourceCapacity = 32;
inline constexpr std::uint32_t kShapeCapacity = 1024;
inline constexpr std::uint32_t kShapeDemands = 8;
inline constexpr std::uint32_t kCpu = 0;  // index of the resource that a blocked task gives back
inline constexpr std::uint32_t kGpu = 1;
inline constexpr std::uint32_t kGpuCapacity = 64;  // bits of a word
inline constexpr std::int64_t kResourceUnit = 10'000;

struct Resource {
  char name[48];  // zero-terminated; empty: unused
  Cell<std::int64_t> total;
  Cell<std::int64_t> available;
};

struct Demand {
  std::uint32_t resource;
  std::uint32_t padding;
  std::int64_t amount;
};

inline constexpr std::uint32_t kAnyBundle = 0xFFFFFFFF;  // whichever has room
inline constexpr std::uint32_t kFreeShape = 0xFFFFFFFE;  // in the place of a bundle: the shape is not in use

struct Shape {
  Cell<std::uint32_t> demand_count;
  Cell<Index> head;
  Cell<Index> tail;
  Cell<std::uint32_t> queued_count;
  Cell<Index> placement;         // group that it is to be found in; kNone: the machine
  Cell<std::uint32_t> bundle;    // of that group, by number; kAnyBundle
  Cell<std::uint32_t> captures;  // 1: what its tasks submit belongs to the group too
  Cell<Index> next;              // of the same group; or of the free ones
  Demand demands[kShapeDemands];
};
static_assert(shm::kShareable<Shape> && sizeof(Shape) == 160);

// What is left of each GPU, in units.
struct GpuShares {
  Cell<std::uint32_t> left[kGpuCapacity];
};

struct ResourcesHeader {
  Resource resources[kResourceCapacity];
  Shape shapes[kShapeCapacity];  // 0 is the low-level module's: no demand, never leased
  GpuShares gpus;
  Cell<std::uint32_t> shape_count;
  Cell<std::uint32_t> queued_count;  // of all shapes; and one for each placement group that waits
  Cell<Index> free_shape;
};

}  // namespace miniray::scheduler
