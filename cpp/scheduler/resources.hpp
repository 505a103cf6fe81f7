// scheduler/resources.hpp - what this machine offers, what calls ask for, and one ready queue per distinct demand.
//
// Invariants  R1 amounts are in units of 1/10,000. Truth: total. Derived: available = total - what leased, not blocked tasks
//                hold; it may be below zero after a blocked task went on.
//             R2 a shape never changes once made; the queue of a shape holds exactly its tasks in state kQueued, in order of
//                sequence.
//             R3 a shape belongs to one environment: its tasks run only in workers that were started for it. Environment 0 is none; a
//                row of the others, once made, stays, and holds a reference on the object that describes it (environments.cpp).
#pragma once

#include "scheduler/task_entry.hpp"

namespace miniray::scheduler {

inline constexpr std::uint32_t kResourceCapacity = 32;
inline constexpr std::uint32_t kShapeCapacity = 1024;
inline constexpr std::uint32_t kShapeDemands = 8;
inline constexpr std::uint32_t kEnvironmentCapacity = 512;
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
  Cell<std::uint32_t> environment;  // R3
  std::uint32_t padding;
  Demand demands[kShapeDemands];
};
static_assert(shm::kShareable<Shape> && sizeof(Shape) == 152);

struct Environment {
  Cell<Index> object;     // what describes it, for Python; kNone: unused, and of 0
  Cell<Index> idle_head;  // idle workers of this environment
};
static_assert(shm::kShareable<Environment> && sizeof(Environment) == 8);

struct ResourcesHeader {
  Resource resources[kResourceCapacity];
  Shape shapes[kShapeCapacity];  // 0 is the low-level module's: no demand, never leased
  Environment environments[kEnvironmentCapacity];
  Cell<std::uint32_t> shape_count;
  Cell<std::uint32_t> environment_count;  // beside 0
  Cell<std::uint32_t> queued_count;       // of all shapes
};

}  // namespace miniray::scheduler
