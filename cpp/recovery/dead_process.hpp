// recovery/dead_process.hpp - what a dead process left, put right.
//
// Invariants  every step is idempotent and ends with a valid domain, so a rescuer that dies is followed by the next, from the
//             start; a row of the process table is freed last, when no other word names it.
// Steps       lock taken back and its section undone; lease repeated or failed; wait groups ended; pins and references dropped;
//             spin count corrected; row freed; everyone woken, because the dead may have owed somebody a wake.
#pragma once

#include "runtime/domain.hpp"

namespace miniray::recovery {

// The caller has proof that the process is dead (Domain::processes.is_dead, or a reaped child). False: someone else was faster.
bool recover_process(runtime::Domain& domain, process::ProcessId dead, scheduler::ProcessEnd end);

// Finds and recovers every dead process; returns how many.
std::uint32_t sweep(runtime::Domain& domain);

}  // namespace miniray::recovery
