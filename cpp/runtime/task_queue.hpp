// runtime/task_queue.hpp - a domain as a queue of tasks between processes: first in, first out, each taken by one process.
//
// Invariants  K1 a task's bytes are (8 bytes: size of the function) function arguments; inline in its row when they fit, else an object
//                that the task holds.
//             K2 who takes a task owns it: a process that dies afterwards takes it along (at most once).
// Sleeping    `arrivals` counts submissions: read it, find the queue empty, sleep while it is unchanged.
// Crash       a submitter that dies leaves nothing (its hold bit goes with its row); a taker that dies leaves nothing likewise.
#pragma once

#include "runtime/domain.hpp"

namespace miniray::runtime {

enum class SubmitResult { kDone, kFullTable, kFullHeap, kSystem };

// A task taken from the queue, on its way to Python.
struct TakenTask {
  ObjectId tag;
  std::uint64_t function_bytes = 0;
  std::uint64_t argument_bytes = 0;
  const std::byte* data = nullptr;  // function, then arguments
  Index object = kNone;             // where they lie; kNone: in `copy`
  std::byte copy[scheduler::kInlineArgumentBytes];
};

struct TaskBytes {
  const void* data;
  std::uint64_t size;
};

class TaskQueue {
 public:
  explicit TaskQueue(Domain& domain) noexcept : domain_(domain) {}

  [[nodiscard]] SubmitResult submit(ObjectId tag, TaskBytes function, TaskBytes arguments, int& system_error);
  [[nodiscard]] bool take(TakenTask& task);  // false: empty
  void release(const TakenTask& task);       // its bytes have been read
  [[nodiscard]] std::uint32_t arrivals() const { return domain_.header().scheduler.arrivals.load_ordered(); }
  // Until another task has been submitted than `arrivals` counts, or the time is up. kInterrupted: by a signal.
  platform::WaitResult wait(std::uint32_t arrivals, std::int64_t timeout_ns);

 private:
  [[nodiscard]] SubmitResult write_object(TaskBytes function, TaskBytes arguments, Index& object, int& system_error);
  void drop(Index object);
  Domain& domain_;
};

}  // namespace miniray::runtime
