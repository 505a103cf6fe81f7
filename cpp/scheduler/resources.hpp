// scheduler/resources.hpp - what this machine offers, what calls ask for, and one ready queue per distinct demand.
//
// Invariants  R1 amounts are in units of 1/10,000. Truth: total. Derived: available = total - what leased, not blocked tasks
//                hold; it may be below zero after a blocked task went on.
//             R2 a shape never changes once made; the queue of a shape holds exactly its tasks in state kQueued, in order of
//                sequence.
#pragma once

#include "scheduler/task_entry.hpp"

namespace miniray::scheduler {

inline constexpr std::uint32_t kResourceCapacity = 32;
inline constexpr std::uint32_t kShapeCapacity = 256;
inline constexpr std::uint32_t kShapeDemands = 8;
inline constexpr std::uint32_t kCpu = 0;  // index of the resource that a blocked task gives back
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

struct Shape {
  Cell<std::uint32_t> demand_count;  // kUnusedShape while unused
  Cell<Index> head;
  Cell<Index> tail;
  Cell<std::uint32_t> queued_count;
  Demand demands[kShapeDemands];
};
static_assert(shm::kShareable<Shape> && sizeof(Shape) == 144);

struct ResourcesHeader {
  Resource resources[kResourceCapacity];
  Shape shapes[kShapeCapacity];  // 0 is the low-level module's: no demand, never leased
  Cell<std::uint32_t> shape_count;
  Cell<std::uint32_t> queued_count;  // of all shapes
};

}  // namespace miniray::scheduler
