#include "recovery/dead_process.hpp"

#include <initializer_list>

#include "platform/fault_point.hpp"

namespace miniray::recovery {

using runtime::Domain;
using runtime::Transaction;
using scheduler::Wakes;
using shm::Index;

namespace {

// Who spins counts in its row and in the sum, and may die between the two, as may a rescuer. While no row has a share both sums are zero,
// so that is when they are put right. A process adds to its row first and takes from it last: one that begins meanwhile changes the sum
// after it was read, or after it was set.
void settle_spinners(Domain& domain) {
  for (shm::Atomic<std::uint32_t>* sum : {&domain.header().scheduler.spinners, &domain.header().scheduler.idle_spinners}) {
    std::uint32_t found = sum->load_ordered();
    if (found == 0) continue;
    for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
      if (domain.processes[slot].spinning.load_ordered() != 0) return;
    }
    (void)sum->compare_exchange(found, 0);
  }
}

}  // namespace

bool recover_process(Domain& domain, process::ProcessId dead, scheduler::ProcessEnd end) {
  if (!domain.processes.begin_death(dead)) return false;
  (void)domain.lock.recover_from(shm::LockWord::holder(dead.slot, dead.generation));
  MINIRAY_FAULT_POINT("recovery.begin");
  (void)domain.ensure_rows(0, 0, 0);
  (void)domain.heap.ensure_rows(4096);
  process::ProcessEntry& entry = domain.processes[dead.slot];
  for (bool more = true; more;) {
    Index hosts[16];
    Wakes wakes;
    Transaction transaction(domain.lock);
    const std::uint32_t found = domain.scheduler.orphan_actors(transaction, dead, hosts, 16, wakes);
    for (std::uint32_t i = 0; i < found; ++i) {
      if (hosts[i] != shm::kNone) (void)domain.processes.end(hosts[i]);
    }
    more = found != 0;
    transaction.close();
    domain.perform(wakes);
  }
  for (bool more = true; more;) {
    Wakes wakes;
    Transaction transaction(domain.lock);
    more = domain.scheduler.orphan_placements(transaction, dead, wakes) != 0;
    transaction.close();
    domain.perform(wakes);
  }
  MINIRAY_FAULT_POINT("recovery.actors_orphaned");
  {
    Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.recover_worker(transaction, dead, end, wakes);
    transaction.close();
    domain.perform(wakes);
  }
  domain.settle_removals();
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
  settle_spinners(domain);
  domain.wake_everyone();
  return true;
}

std::uint32_t sweep(Domain& domain) {
  std::uint32_t recovered = 0;
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    if (slot == domain.self().slot || !domain.processes.is_dead(slot)) continue;
    const auto identity = domain.processes.identity(slot);
    recovered += recover_process(domain, {slot, identity.generation}, {identity.number, scheduler::kUnknownEnd}) ? 1 : 0;
  }
  return recovered;
}

}  // namespace miniray::recovery
