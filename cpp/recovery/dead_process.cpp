#include "recovery/dead_process.hpp"

#include "debug/fault_point.hpp"

namespace miniray::recovery {

using runtime::Domain;
using runtime::Transaction;
using scheduler::Wakes;
using shm::Index;

bool recover_process(Domain& domain, process::ProcessId dead, scheduler::ProcessEnd end) noexcept {
  if (!domain.processes.begin_death(dead)) return false;
  (void)domain.lock.recover_from(shm::LockWord::holder(dead.slot, dead.generation));
  MINIRAY_FAULT_POINT("recovery.begin");
  (void)domain.ensure_rows(0, 0, 0);
  (void)domain.heap.ensure_rows(4096);
  process::ProcessEntry& entry = domain.processes[dead.slot];
  {
    Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.recover_worker(transaction, dead, end, wakes);
    transaction.close();
    domain.perform(wakes);
  }
  MINIRAY_FAULT_POINT("recovery.lease_done");
  domain.waits.groups.for_each_used([&](Index group) {
    for (bool more = true; more;) {
      Transaction transaction(domain.lock);
      if (domain.waits.groups[group].owner.get() != dead.packed()) break;
      more = domain.waits.end_group_step(transaction, domain.objects, group);
    }
  });
  MINIRAY_FAULT_POINT("recovery.groups_done");
  for (bool more = true; more;) {
    Transaction transaction(domain.lock);
    more = domain.objects.abort_spill_step(transaction, entry);
  }
  for (bool more = true; more;) {
    Transaction transaction(domain.lock);
    more = domain.objects.drop_rows(transaction, entry, dead, 64);
  }
  domain.reclaim();
  domain.finish_trim_of(dead);
  MINIRAY_FAULT_POINT("recovery.rows_done");
  const std::uint32_t spinning = entry.spinning.exchange_ordered(0);
  domain.header().scheduler.spinners.fetch_sub_ordered(spinning % process::kSpinsForLease);
  domain.header().scheduler.idle_spinners.fetch_sub_ordered(spinning / process::kSpinsForLease);
  domain.processes.free(dead);
  domain.wake_everyone();
  return true;
}

std::uint32_t sweep(Domain& domain) noexcept {
  std::uint32_t recovered = 0;
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    if (slot == domain.self().slot || !domain.processes.is_dead(slot)) continue;
    const auto identity = domain.processes.identity(slot);
    recovered += recover_process(domain, {slot, identity.generation}, {identity.number, scheduler::kUnknownEnd}) ? 1 : 0;
  }
  return recovered;
}

}  // namespace miniray::recovery
