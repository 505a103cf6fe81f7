// trace.hpp - runs an operation in a child process one instruction at a time and keeps every distinct state of the shared memory.
//
// How         the child makes its mappings read-only before the operation; the first store to a page is a SIGSEGV that its tracer sees
//             first, so the tracer knows which pages to look at after each instruction. What a system call changed (a hole punched into
//             a file) is found by looking at all pages after it; and at the end no other page may have changed.
// Needs       Linux and the right to trace one's own child; can_trace() tells.
#pragma once

#include <functional>
#include <string>
#include <unordered_set>

#include "image.hpp"
#include "process/process_table.hpp"

namespace single_step {

using miniray::process::ProcessId;

struct Trace {
  std::string failure;  // empty: the operation ran to its end
  std::uint64_t instructions = 0;
  std::unordered_set<std::uint64_t> addresses;  // of instructions, from the start of the program's image
  Base base;
  std::vector<State> states;  // the first is the base; each distinct
  ProcessId process;          // of the child, which is dead and reaped now
};

struct TraceOptions {
  bool compares_all = false;  // the operation makes mappings of its own
  bool keeps_addresses = true;
};

[[nodiscard]] bool can_trace();
// Tracer and traced take turns, which costs least when both run on one processor: the caller sees to that.
// `prepare` runs at full speed in the child and returns its row; `operate` is traced.
[[nodiscard]] Trace trace(const Image& image, const std::function<ProcessId()>& prepare, const std::function<void()>& operate,
                          const TraceOptions& options);

}  // namespace single_step
