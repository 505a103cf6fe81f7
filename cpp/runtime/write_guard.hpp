// runtime/write_guard.hpp - takes the right to write from pages of sealed blocks, and gives it back before they are written anew.
//
// Changing the protection of a page table of 1 GB takes longer than a put may; so small ranges are done at once, large ones by a
// helper thread of this process, a piece at a time (the kernel stops page faults of the process during a piece).
// Invariants  G1 jobs are done in order: forbid, then allow, of one range.
//             G2 wait_for_ranges() returns when nothing is queued; whoever got memory from the heap calls it before writing.
// Threads     any; the helper starts with the first large range and blocks without a timeout unless one is expected or at work.
#pragma once

#include <cstddef>
#include <cstdint>

namespace miniray::runtime {

// Whole pages only. In a forked child nothing may be queued.
void forbid_writing(std::byte* address, std::uint64_t size_bytes);
void allow_writing(std::byte* address, std::uint64_t size_bytes);
// A range of that size will be forbidden, so that forbid_writing() need not wake the helper; and, once for each: that is over.
void expect_range(std::uint64_t size_bytes);
void expect_no_range(std::uint64_t size_bytes);
void wait_for_ranges() noexcept;
[[nodiscard]] bool has_ranges() noexcept;  // whether anything is queued or at work

}  // namespace miniray::runtime
