// scheduler/shares.cpp - what a process holds for its lease or its actor: of the machine, or of a bundle of a placement group.
//
// Invariants  resources.hpp R1, R4; placement_entry.hpp B2.
//             H1 a process that holds something of a bundle names it, and counts in the group's holders; the GPUs it holds are the bits of
//                its row: a share of one, or whole ones.
#include <bit>

#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using process::ProcessEntry;

namespace {

// GPUs for that amount, a bit each; 0: there are none. Of those with room for a share the one with the least, so that others stay whole.
template <class Left>
std::uint64_t pick_gpus(std::int64_t amount, Left left) {
  std::uint64_t picked = 0;
  if (amount < kResourceUnit) {
    std::uint32_t least = kResourceUnit + 1;
    for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) {
      if (left(gpu) < amount || left(gpu) >= least) continue;
      least = left(gpu);
      picked = std::uint64_t{1} << gpu;
    }
    return picked;
  }
  std::int64_t missing = amount / kResourceUnit;
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity && missing > 0; ++gpu) {
    if (left(gpu) < kResourceUnit) continue;
    picked |= std::uint64_t{1} << gpu;
    --missing;
  }
  return missing == 0 ? picked : 0;
}

std::uint64_t pick_gpus(std::int64_t amount, const GpuShares& shares) {
  return pick_gpus(amount, [&](std::uint32_t gpu) { return shares.left[gpu].get(); });
}

}  // namespace

std::uint64_t Scheduler::pick_from(std::uint32_t (&left)[kGpuCapacity], std::int64_t amount) {
  const std::uint64_t picked = pick_gpus(amount, [&](std::uint32_t gpu) { return left[gpu]; });
  for (std::uint64_t rest = picked; rest != 0; rest &= rest - 1) left[std::countr_zero(rest)] -= share_of_gpu(amount);
  return picked;
}

void Scheduler::move_gpus(Transaction& transaction, GpuShares& shares, std::uint64_t gpus, std::int64_t difference) {
  for (; gpus != 0; gpus &= gpus - 1)
    transaction.add(shares.left[std::countr_zero(gpus)], static_cast<std::uint32_t>(difference));
}

void Scheduler::set_total(Transaction& transaction, std::uint32_t index, std::int64_t units) {
  transaction.set(resource(index).total, units);
  transaction.set(resource(index).available, units);
  if (index != kGpu) return;
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu)
    transaction.set(header_->resources.gpus.left[gpu], gpu < units / kResourceUnit ? kResourceUnit : 0);
}

GpuShares& Scheduler::gpu_shares(Index bundle) const {
  return bundle == kNone ? header_->resources.gpus : bundles[bundle].shares;
}

Cell<std::int64_t>& Scheduler::available(Index bundle, std::uint32_t index) const {
  if (bundle == kNone) [[likely]]
    return resource(index).available;
  BundleEntry& from = bundles[bundle];
  const std::uint32_t count = bundle_demands(from);
  std::uint32_t position = 0;
  while (position < count && from.demands[position].resource != index) ++position;
  MINIRAY_SOUND(position < count, "scheduler: a bundle is asked for what it has not");
  return from.available[position];
}

bool Scheduler::bundle_fits(Index bundle, const Shape& wanted) const {
  const BundleEntry& from = bundles[bundle];
  const std::uint32_t count = demand_count(wanted);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Demand& demand = wanted.demands[i];
    std::uint32_t position = 0;
    while (position < bundle_demands(from) && from.demands[position].resource != demand.resource) ++position;
    if (position == bundle_demands(from) || from.available[position].get() < demand.amount) return false;
    if (demand.resource == kGpu && pick_gpus(demand.amount, from.shares) == 0) return false;
  }
  return true;
}

Index Scheduler::fitting_bundle(const Shape& wanted) const {
  const PlacementEntry& group = placements[wanted.placement.get()];
  if (group.current_state() != PlacementState::kPlaced) return kNone;
  debug::WalkLimit limit = bundle_limit();
  for (Index bundle = group.first_bundle.get(); bundle != kNone; bundle = bundles[bundle].next.get()) {
    limit.step();
    const bool may_be = wanted.bundle.get() == kAnyBundle || wanted.bundle.get() == bundles[bundle].number.get();
    if (may_be && bundle_fits(bundle, wanted)) return bundle;
  }
  return kNone;
}

bool Scheduler::fits(const Shape& wanted) const {
  if (wanted.placement.get() != kNone) [[unlikely]]
    return fitting_bundle(wanted) != kNone;
  const std::uint32_t count = demand_count(wanted);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Demand& demand = wanted.demands[i];
    if (demand.amount > 0 && resource(demand.resource).available.get() < demand.amount) return false;
    if (demand.resource == kGpu && demand.amount > 0 && pick_gpus(demand.amount, header_->resources.gpus) == 0) return false;
  }
  return true;
}

std::int64_t Scheduler::runnable_in_group(const Shape& wanted) const {
  const PlacementEntry& group = placements[wanted.placement.get()];
  const std::int64_t queued = wanted.queued_count.get();
  if (queued == 0 || group.current_state() != PlacementState::kPlaced) return 0;
  std::int64_t runnable = 0;
  debug::WalkLimit limit = bundle_limit();
  for (Index bundle = group.first_bundle.get(); bundle != kNone && runnable < queued; bundle = bundles[bundle].next.get()) {
    limit.step();
    const bool may_be = wanted.bundle.get() == kAnyBundle || wanted.bundle.get() == bundles[bundle].number.get();
    if (!may_be || !bundle_fits(bundle, wanted)) continue;
    std::int64_t room = queued;
    for (std::uint32_t i = 0; i < demand_count(wanted); ++i) {
      const Demand& demand = wanted.demands[i];
      if (demand.amount <= 0) continue;
      const std::int64_t times = available(bundle, demand.resource).get() / demand.amount;
      if (times < room) room = times;
    }
    runnable += room;
  }
  return runnable < queued ? runnable : queued;
}

void Scheduler::charge(Transaction& transaction, Index index, Index bundle, std::int64_t sign, bool cpu_only) {
  const Shape& wanted = shape(index);
  const std::uint32_t count = demand_count(wanted);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Demand demand = wanted.demands[i];
    if (cpu_only && demand.resource != kCpu) continue;
    MINIRAY_SOUND(demand.amount >= 0, "scheduler: a demand that cannot be");
    transaction.add(available(bundle, demand.resource), sign * demand.amount);
  }
}

std::int64_t Scheduler::gpu_demand(Index index) const {
  const Shape& wanted = shape(index);
  const std::uint32_t count = demand_count(wanted);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (wanted.demands[i].resource == kGpu) return wanted.demands[i].amount;
  }
  return 0;
}

void Scheduler::take_share(Transaction& transaction, Index index, Index worker, Index bundle) {
  ProcessEntry& holder = (*processes_)[worker];
  charge(transaction, index, bundle, -1, false);
  if (bundle != kNone) [[unlikely]] {
    transaction.set(holder.bundle, bundle);
    transaction.add(placements[bundles[bundle].placement.get()].holders, 1);
  }
  const std::int64_t amount = gpu_demand(index);
  if (amount == 0) [[likely]]
    return;
  GpuShares& shares = gpu_shares(bundle);
  const std::uint64_t gpus = pick_gpus(amount, shares);
  MINIRAY_SOUND(gpus != 0, "scheduler: no GPU is left of those that are available");
  transaction.set(holder.gpus, gpus);
  move_gpus(transaction, shares, gpus, -std::int64_t{share_of_gpu(amount)});
}

void Scheduler::return_share(Transaction& transaction, Index index, Index worker) {
  ProcessEntry& holder = (*processes_)[worker];
  const Index bundle = holder.bundle.get();
  charge(transaction, index, bundle, 1, false);
  if (const std::uint64_t gpus = holder.gpus.get(); gpus != 0) [[unlikely]] {
    move_gpus(transaction, gpu_shares(bundle), gpus, share_of_gpu(gpu_demand(index)));
    transaction.set(holder.gpus, 0);
  }
  if (bundle == kNone) [[likely]]
    return;
  PlacementEntry& group = placements[bundles[bundle].placement.get()];
  MINIRAY_SOUND(group.holders.get() != 0, "placement groups: a holder that was not counted");
  transaction.add(group.holders, static_cast<std::uint32_t>(-1));
  transaction.set(holder.bundle, kNone);
}

// --- truth and derived ---------------------------------------------------------------------------------------------

const char* Scheduler::validate_shares(const std::uint64_t* left) const {
  std::uint32_t gpus[kGpuCapacity];
  const std::int64_t total = resource(kGpu).total.get() / kResourceUnit;
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) gpus[gpu] = gpu < total ? kResourceUnit : 0;
  const char* fault = nullptr;
  const auto take = [&](std::uint64_t held, std::int64_t amount) {
    for (; held != 0; held &= held - 1) gpus[std::countr_zero(held)] -= share_of_gpu(amount);
  };
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const ProcessEntry& holder = (*processes_)[slot];
    const auto state = static_cast<process::WorkerState>(holder.worker_state.get());
    const bool is_leased = state == process::WorkerState::kRunning || state == process::WorkerState::kBlocked;
    if (!is_leased && state != process::WorkerState::kHost) {
      if (holder.bundle.get() != kNone || holder.gpus.get() != 0) return "scheduler: a process without a task holds something";
      continue;
    }
    const Index index = is_leased ? held_shape(holder.lease.get()) : actors[holder.actor.get()].hold_shape.get();
    const std::int64_t amount = gpu_demand(index);
    const std::uint64_t held = holder.gpus.get();
    if (std::popcount(held) != (amount + kResourceUnit - 1) / kResourceUnit)
      return "scheduler: a process holds other GPUs than it should";
    if (holder.bundle.get() == kNone) take(held, amount);
    if ((holder.bundle.get() == kNone) != (shape(index).placement.get() == kNone))
      return "scheduler: a process holds something of a bundle that it should not, or the reverse";
  }
  bundles.for_each_used([&](Index bundle) {
    const BundleEntry& entry = bundles[bundle];
    if (placements[entry.placement.get()].has(kTaken)) take(entry.gpus.get(), demand_in(entry, kGpu));
  });
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) {
    if (header_->resources.gpus.left[gpu].get() != gpus[gpu])
      fault = "scheduler: what is left of a GPU differs from what is held";
  }
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) {
    if (left[i] != static_cast<std::uint64_t>(resource(i).available.get()))
      return "scheduler: available resources differ from the leases";
  }
  return fault;
}

const char* Scheduler::validate_bundle(Index index) const {
  const BundleEntry& bundle = bundles[index];
  std::int64_t left[kShapeDemands];
  std::uint32_t gpus[kGpuCapacity];
  const std::int64_t amount = demand_in(bundle, kGpu);
  for (std::uint32_t i = 0; i < bundle_demands(bundle); ++i) left[i] = bundle.demands[i].amount;
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu)
    gpus[gpu] = (bundle.gpus.get() >> gpu & 1U) != 0 ? share_of_gpu(amount) : 0;
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const ProcessEntry& holder = (*processes_)[slot];
    if (holder.bundle.get() != index) continue;
    const bool is_host = static_cast<process::WorkerState>(holder.worker_state.get()) == process::WorkerState::kHost;
    const Index held = is_host ? actors[holder.actor.get()].hold_shape.get() : held_shape(holder.lease.get());
    const bool lends = static_cast<process::WorkerState>(holder.worker_state.get()) == process::WorkerState::kBlocked &&
                       lends_cpu(holder.lease.get());
    for (std::uint32_t i = 0; i < bundle_demands(bundle); ++i) {
      if (lends && bundle.demands[i].resource == kCpu) continue;
      const Shape& wanted = shape(held);
      for (std::uint32_t k = 0; k < demand_count(wanted); ++k) {
        if (wanted.demands[k].resource == bundle.demands[i].resource) left[i] -= wanted.demands[k].amount;
      }
    }
    for (std::uint64_t rest = holder.gpus.get(); rest != 0; rest &= rest - 1)
      gpus[std::countr_zero(rest)] -= share_of_gpu(gpu_demand(held));
  }
  for (std::uint32_t i = 0; i < bundle_demands(bundle); ++i) {
    if (left[i] != bundle.available[i].get()) return "bundles: what is available differs from the leases";
  }
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) {
    if (gpus[gpu] != bundle.shares.left[gpu].get()) return "bundles: what is left of a GPU differs from what is held";
  }
  return nullptr;
}

}  // namespace miniray::scheduler
