// scheduler/placements.cpp - placement groups: made, placed when there is room, removed, gone.
//
// Invariants  placement_entry.hpp B1 to B5.
//             G1 after each section no group waits that fits, unless a task that came before it waits for a worker.
//             G2 queued_count of the resources counts each group that waits or is removed: so whoever ends a lease comes by dispatch().
// Fairness    what came first, task or group, gets what comes free, if that is enough for it: a group that needs more than comes free at
//             once is passed by whatever fits, as in Ray. Reserving for it could hang the program: what it waits for may wait for a task.
#include <cstring>

#include "scheduler/scheduler.hpp"

namespace miniray::scheduler {

using store::ObjectState;

namespace {
constexpr std::uint32_t kMinusOne = static_cast<std::uint32_t>(-1);
constexpr std::uint32_t kRoom = 2048;
// Of the journal, to place the largest group: for each bundle its GPUs, and one share here and there; then the resources.
constexpr std::uint32_t kRoomToPlace = 3 * kBundlesOfGroup + 2 * kGpuCapacity + kResourceCapacity + kRoom;
static_assert(kRoomToPlace < shm::kJournalCapacity);

constexpr std::uint32_t as_word(PlacementState state) noexcept { return static_cast<std::uint32_t>(state); }
constexpr std::uint32_t as_word(TaskState state) noexcept { return static_cast<std::uint32_t>(state); }
}  // namespace

// --- making --------------------------------------------------------------------------------------------------------

Index Scheduler::begin_placement(Transaction& transaction, ProcessId creator, Index description, std::uint32_t flags) {
  const Index placement = placements.take(transaction);
  if (placement == kNone) return kNone;
  PlacementEntry& group = placements[placement];
  transaction.set(group.state, as_word(PlacementState::kMaking));
  for (Cell<Index>* link :
       {&group.ready, &group.first_bundle, &group.last_bundle, &group.first_shape, &group.next, &group.previous})
    Transaction::init(*link, kNone);
  Transaction::init(group.description, description);
  Transaction::init(group.bundle_count, 0);
  Transaction::init(group.flags, flags);
  Transaction::init(group.creator, creator.packed());
  Transaction::init(group.holders, 0);
  Transaction::init(group.sequence, 0);
  objects_->add_reference(transaction, description);
  return placement;
}

bool Scheduler::add_bundle(Transaction& transaction, Index placement, const Demand* demands, std::uint32_t count) {
  PlacementEntry& group = placements[placement];
  MINIRAY_SOUND(group.current_state() == PlacementState::kMaking && count <= kShapeDemands,
                "placement groups: a bundle comes too late");
  const Index bundle = bundles.take(transaction);
  if (bundle == kNone) return false;
  BundleEntry& entry = bundles[bundle];
  transaction.set(entry.placement, placement);
  Transaction::init(entry.next, kNone);
  Transaction::init(entry.number, group.bundle_count.get());
  Transaction::init(entry.gpus, 0);
  Transaction::init(entry.demand_count, count);
  for (std::uint32_t i = 0; i < count; ++i) {
    entry.demands[i] = demands[i];
    Transaction::init(entry.available[i], demands[i].amount);
  }
  for (Cell<std::uint32_t>& left : entry.shares.left) Transaction::init(left, 0);
  const Index last = group.last_bundle.get();
  transaction.set(last == kNone ? group.first_bundle : bundles[last].next, bundle);
  transaction.set(group.last_bundle, bundle);
  transaction.add(group.bundle_count, 1);
  return true;
}

void Scheduler::finish_placement(Transaction& transaction, Index placement, Index ready, Wakes& wakes) {
  PlacementEntry& group = placements[placement];
  store::ObjectEntry& object = (*objects_)[ready];
  MINIRAY_SOUND(group.current_state() == PlacementState::kMaking && object.current_state() == ObjectState::kWriting,
                "placement groups: one is finished that is not being made");
  transaction.set(object.state, static_cast<std::uint32_t>(ObjectState::kPending));
  transaction.set(object.flags, object.flags.get() | store::kPlacement);
  transaction.set(object.next_result, placement);
  objects_->add_reference(transaction, ready);
  const std::uint64_t sequence = header_->next_sequence.get() + 1;
  transaction.set(header_->next_sequence, sequence);
  transaction.set(group.ready, ready);
  transaction.set(group.sequence, sequence);
  transaction.set(group.state, as_word(PlacementState::kPending));
  if (!group.has(kNeverPlaced)) list_append(transaction, header_->waiting_placements, placement);
  dispatch(transaction, wakes);
}

void Scheduler::list_append(Transaction& transaction, PlacementList& list, Index placement) {
  const Index last = list.last.get();
  transaction.set(placements[placement].next, kNone);
  transaction.set(placements[placement].previous, last);
  transaction.set(last == kNone ? list.first : placements[last].next, placement);
  transaction.set(list.last, placement);
  transaction.add(header_->listed_placements, 1);
  transaction.add(header_->resources.queued_count, 1);
}

void Scheduler::list_remove(Transaction& transaction, PlacementList& list, Index placement) {
  const Index next = placements[placement].next.get();
  const Index previous = placements[placement].previous.get();
  MINIRAY_SOUND((previous == kNone ? list.first : placements[previous].next).get() == placement,
                "placement groups: a list is torn");
  transaction.set(previous == kNone ? list.first : placements[previous].next, next);
  transaction.set(next == kNone ? list.last : placements[next].previous, previous);
  transaction.add(header_->listed_placements, kMinusOne);
  transaction.add(header_->resources.queued_count, kMinusOne);
}

// --- placing -------------------------------------------------------------------------------------------------------

void Scheduler::sum_demands(const PlacementEntry& group, std::int64_t (&wanted)[kResourceCapacity]) const {
  for (std::int64_t& amount : wanted) amount = 0;
  debug::WalkLimit limit = bundle_limit();
  for (Index bundle = group.first_bundle.get(); bundle != kNone; bundle = bundles[bundle].next.get()) {
    limit.step();
    const BundleEntry& entry = bundles[bundle];
    for (std::uint32_t i = 0; i < bundle_demands(entry); ++i) {
      MINIRAY_SOUND(entry.demands[i].resource < kResourceCapacity, "bundles: a demand for a resource that is not there");
      wanted[entry.demands[i].resource] += entry.demands[i].amount;
    }
  }
}

// Whether it would fit now, or (is_alone) on the machine when nobody else holds anything.
bool Scheduler::placement_fits(const PlacementEntry& group, bool is_alone) const {
  std::int64_t wanted[kResourceCapacity];
  sum_demands(group, wanted);
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) {
    if (wanted[i] > (is_alone ? resource(i).total.get() : resource(i).available.get()) && wanted[i] > 0) return false;
  }
  if (wanted[kGpu] == 0) return true;
  std::uint32_t left[kGpuCapacity];
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) {
    const bool exists = gpu < resource(kGpu).total.get() / kResourceUnit;
    left[gpu] = !is_alone ? header_->resources.gpus.left[gpu].get() : exists ? kResourceUnit : 0;
  }
  for (Index bundle = group.first_bundle.get(); bundle != kNone; bundle = bundles[bundle].next.get()) {
    const std::int64_t amount = demand_in(bundles[bundle], kGpu);
    if (amount > 0 && pick_from(left, amount) == 0) return false;
  }
  return true;
}

bool Scheduler::placement_can_ever_fit(Index placement) const {
  return !placements[placement].has(kNeverPlaced) && placement_fits(placements[placement], true);
}

// Places the oldest group that fits, of those that came before that task.
bool Scheduler::place_next(Transaction& transaction, std::uint64_t before, Wakes& wakes) {
  debug::WalkLimit limit(placements.capacity(), "placement groups: the list of those that wait has a cycle");
  for (Index next = header_->waiting_placements.first.get(); next != kNone; next = placements[next].next.get()) {
    limit.step();
    const PlacementEntry& group = placements[next];
    if (group.sequence.get() > before) return false;
    if (!placement_fits(group, false)) continue;
    place(transaction, next, wakes);
    return true;
  }
  return false;
}

void Scheduler::place(Transaction& transaction, Index placement, Wakes& wakes) {
  PlacementEntry& group = placements[placement];
  if (transaction.room() < kRoomToPlace) transaction.commit();
  std::int64_t wanted[kResourceCapacity];
  sum_demands(group, wanted);
  for (std::uint32_t i = 0; i < kResourceCapacity; ++i) {
    if (wanted[i] != 0) transaction.add(resource(i).available, -wanted[i]);
  }
  std::uint32_t left[kGpuCapacity];
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity; ++gpu) left[gpu] = header_->resources.gpus.left[gpu].get();
  for (Index bundle = group.first_bundle.get(); bundle != kNone && wanted[kGpu] != 0; bundle = bundles[bundle].next.get()) {
    BundleEntry& entry = bundles[bundle];
    const std::int64_t amount = demand_in(entry, kGpu);
    if (amount == 0) continue;
    const std::uint64_t gpus = pick_from(left, amount);
    MINIRAY_SOUND(gpus != 0, "placement groups: no GPU is left of those that are available");
    transaction.set(entry.gpus, gpus);
    move_gpus(transaction, entry.shares, gpus, share_of_gpu(amount));
  }
  for (std::uint32_t gpu = 0; gpu < kGpuCapacity && wanted[kGpu] != 0; ++gpu) {
    if (left[gpu] != header_->resources.gpus.left[gpu].get()) transaction.set(header_->resources.gpus.left[gpu], left[gpu]);
  }
  list_remove(transaction, header_->waiting_placements, placement);
  transaction.set(group.flags, group.flags.get() | kTaken);
  transaction.set(group.state, as_word(PlacementState::kPlaced));
  seal(transaction, group.ready.get(), ObjectState::kSealed, wakes);
}

// --- removing ------------------------------------------------------------------------------------------------------

std::uint32_t Scheduler::remove_placement(Transaction& transaction, Index placement, Index* hosts, Wakes& wakes) {
  PlacementEntry& group = placements[placement];
  const PlacementState state = group.current_state();
  if (state == PlacementState::kFree || state == PlacementState::kRemoved) return 0;
  if (state == PlacementState::kPending && !group.has(kNeverPlaced))
    list_remove(transaction, header_->waiting_placements, placement);
  transaction.set(group.state, as_word(PlacementState::kRemoved));
  list_append(transaction, header_->removed_placements, placement);
  wakes.removals = true;
  std::uint32_t count = 0;
  for (Index slot = 1; slot < processes_->high_water(); ++slot) {
    const Index bundle = (*processes_)[slot].bundle.get();
    if (bundle != kNone && bundles[bundle].placement.get() == placement) hosts[count++] = slot;
  }
  return count;
}

std::uint32_t Scheduler::orphan_placements(Transaction& transaction, ProcessId creator, Wakes& wakes) {
  std::uint32_t count = 0;
  placements.for_each_used([&](Index placement) {
    const PlacementEntry& group = placements[placement];
    if (group.current_state() != PlacementState::kMaking || group.creator.get() != creator.packed()) return;
    if (transaction.room() < kRoom) return;  // the next step
    (void)remove_placement(transaction, placement, nullptr, wakes);
    ++count;
  });
  return count;
}

bool Scheduler::settle_removed(Transaction& transaction, Wakes& wakes) {
  finish_notifications(transaction, wakes);
  finish_endings(transaction, wakes);
  debug::WalkLimit limit(placements.capacity(), "placement groups: the list of those that are removed has a cycle");
  for (Index next = header_->removed_placements.first.get(); next != kNone; next = placements[next].next.get()) {
    limit.step();
    if (transaction.room() < kRoom) transaction.commit();
    if (fail_one_of_removed(transaction, next, wakes)) return true;
    if (placements[next].holders.get() != 0) continue;
    free_placement(transaction, next);
    dispatch(transaction, wakes);
    return true;
  }
  return false;
}

// Fails something that waits for a removed group; false: nothing does any more.
bool Scheduler::fail_one_of_removed(Transaction& transaction, Index placement, Wakes& wakes) {
  PlacementEntry& group = placements[placement];
  for (Index index = group.first_shape.get(); index != kNone; index = shape(index).next.get()) {
    const Index task = shape(index).head.get();
    if (task == kNone) continue;
    refuse(transaction, task, DeathCause::kGroupRemoved, wakes);
    if (tasks[task].is_free() || tasks[task].state.get() != as_word(TaskState::kQueued)) return true;  // a creation
    if (transaction.room() < kRoom) transaction.commit();
    queue_pop(transaction, index);  // still its head
    end_task(transaction, task);
    return true;
  }
  if (!group.has(kWaitersFailed)) {
    tasks.for_each_used([&](Index task) {
      const TaskEntry& entry = tasks[task];
      if (entry.state.get() != as_word(TaskState::kWaiting) || entry.is_call() || entry.has(kCancelled)) return;
      const Index index = entry.shape.get();
      if (index != kNone && shape(index).placement.get() == placement)
        refuse(transaction, task, DeathCause::kGroupRemoved, wakes);
    });
    if (transaction.room() < kRoom) transaction.commit();
    transaction.set(group.flags, group.flags.get() | kWaitersFailed);
    return true;
  }
  const Index ready = group.ready.get();
  if (ready == kNone || (*objects_)[ready].current_state() != ObjectState::kPending) return false;
  objects_->discard_payload(transaction, ready);
  if (transaction.room() < kRoom) transaction.commit();
  const CrashRecord record{kCrashFormat, DeathCause::kGroupRemoved, {}, 0, 0, 0, 0, 0};
  (void)objects_->reserve(transaction, ready, sizeof(record), false);
  std::memcpy(objects_->payload_for_write(ready), &record, sizeof(record));
  seal(transaction, ready, ObjectState::kError, wakes);
  return true;
}

void Scheduler::refuse(Transaction& transaction, Index task, DeathCause cause, Wakes& wakes) {
  if (const Index actor = tasks[task].actor.get(); actor != kNone) {
    const ActorEnd end = cause == DeathCause::kNoSuchNode ? ActorEnd::kNoSuchNode : ActorEnd::kGroupRemoved;
    end_actor(transaction, actor, {kActorEndFormat, end, {}, 0, 0, 0}, {}, wakes);
    return;
  }
  if (transaction.room() < kRoom) transaction.commit();
  transaction.set(tasks[task].flags, tasks[task].flags.get() | kCancelled);
  fail_with_crash(transaction, task, {0, 0, cause, 0}, wakes);
}

// Its bundles go one by one, each with what it had taken from the machine.
void Scheduler::free_placement(Transaction& transaction, Index placement) {
  PlacementEntry& group = placements[placement];
  for (Index bundle = group.first_bundle.get(); bundle != kNone; bundle = group.first_bundle.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    BundleEntry& entry = bundles[bundle];
    for (std::uint32_t i = 0; i < bundle_demands(entry) && group.has(kTaken); ++i)
      transaction.add(resource(entry.demands[i].resource).available, entry.demands[i].amount);
    move_gpus(transaction, header_->resources.gpus, entry.gpus.get(), share_of_gpu(demand_in(entry, kGpu)));
    transaction.set(group.first_bundle, entry.next.get());
    if (entry.next.get() == kNone) transaction.set(group.last_bundle, kNone);
    transaction.set(entry.placement, kNone);
    bundles.put(transaction, bundle);
  }
  for (Index index = group.first_shape.get(); index != kNone; index = group.first_shape.get()) {
    if (transaction.room() < kRoom) transaction.commit();
    Shape& freed = shape(index);
    MINIRAY_SOUND(freed.queued_count.get() == 0, "placement groups: tasks wait in one that goes");
    transaction.set(group.first_shape, freed.next.get());
    transaction.set(freed.placement, kNone);
    transaction.set(freed.demand_count, 0);
    transaction.set(freed.bundle, kFreeShape);
    transaction.set(freed.next, header_->resources.free_shape.get());
    transaction.set(header_->resources.free_shape, index);
  }
  if (transaction.room() < kRoom) transaction.commit();
  list_remove(transaction, header_->removed_placements, placement);
  if (const Index ready = group.ready.get(); ready != kNone) {
    transaction.set((*objects_)[ready].flags, (*objects_)[ready].flags.get() & ~std::uint32_t{store::kPlacement});
    objects_->drop_reference(transaction, ready);
  }
  objects_->drop_reference(transaction, group.description.get());
  transaction.set(group.state, as_word(PlacementState::kFree));
  placements.put(transaction, placement);
}

// --- truth and derived ---------------------------------------------------------------------------------------------

const char* Scheduler::validate_placements() const {
  if (const char* fault = placements.validate(); fault != nullptr) return fault;
  if (const char* fault = bundles.validate(); fault != nullptr) return fault;
  const char* fault = nullptr;
  std::uint32_t waiting = 0;
  std::uint32_t removed = 0;
  std::uint32_t chained = 0;
  placements.for_each_used([&](Index placement) {
    const PlacementEntry& group = placements[placement];
    waiting += group.current_state() == PlacementState::kPending && !group.has(kNeverPlaced) ? 1U : 0U;
    removed += group.current_state() == PlacementState::kRemoved ? 1U : 0U;
    debug::WalkLimit limit = bundle_limit();
    for (Index bundle = group.first_bundle.get(); bundle != kNone; bundle = bundles[bundle].next.get(), ++chained) {
      limit.step();
      if (bundles[bundle].placement.get() != placement) fault = "placement groups: a bundle of another group";
      if (const char* found = validate_bundle(bundle); found != nullptr) fault = found;
    }
    std::uint32_t holders = 0;
    for (Index slot = 1; slot < processes_->high_water(); ++slot) {
      const Index bundle = (*processes_)[slot].bundle.get();
      holders += bundle != kNone && bundles[bundle].placement.get() == placement ? 1U : 0U;
    }
    if (holders != group.holders.get()) fault = "placement groups: count of holders differs from the processes";
    debug::WalkLimit shapes(kShapeCapacity, "placement groups: the chain of shapes has a cycle");
    for (Index index = group.first_shape.get(); index != kNone; index = shape(index).next.get()) {
      shapes.step();
      if (shape(index).placement.get() != placement) fault = "placement groups: a shape of another group";
    }
    const Index ready = group.ready.get();
    if (ready != kNone && (!(*objects_)[ready].has(store::kPlacement) || (*objects_)[ready].next_result.get() != placement))
      fault = "placement groups: a ready object names another group";
    if ((group.current_state() == PlacementState::kMaking) && ready != kNone)
      fault = "placement groups: one is made and not finished";
  });
  std::uint32_t used = 0;
  bundles.for_each_used([&](Index) { ++used; });
  if (used != chained) return "bundles: one that belongs to no group";
  for (const auto& [list, count] :
       {std::pair{&header_->waiting_placements, waiting}, {&header_->removed_placements, removed}}) {
    std::uint32_t listed = 0;
    Index last = kNone;
    for (Index next = list->first.get(); next != kNone && listed <= count; next = placements[next].next.get(), ++listed) {
      if (placements[next].previous.get() != last) return "placement groups: a list is torn";
      last = next;
    }
    if (listed != count || last != list->last.get()) return "placement groups: a list differs from the states";
  }
  return waiting + removed == header_->listed_placements.get() ? fault : "placement groups: count of those in lists is wrong";
}

}  // namespace miniray::scheduler
