#include "runtime/header_check.hpp"

#include "runtime/domain.hpp"

namespace miniray::runtime {

namespace {

bool same_table(const shm::SlotTableHeader& found, const shm::SlotTableHeader& plan) noexcept {
  return found.capacity == plan.capacity && found.chunk_count == plan.chunk_count && found.offset == plan.offset &&
         found.chunks_offset == plan.chunks_offset;
}

bool same_heap(const store::PageHeapHeader& found, const store::PageHeapHeader& plan) noexcept {
  return found.page_count == plan.page_count && found.rows_offset == plan.rows_offset && found.discards == plan.discards;
}

bool table_is_bounded(const shm::SlotTableHeader& table) {
  return table.open_head.get() <= table.chunk_count && table.empty_count.get() <= table.chunk_count;
}

bool heap_is_bounded(const store::PageHeapHeader& heap) {
  const std::uint32_t end = heap.high_page.get();
  if (end == 0 || end > heap.page_count || heap.backed_pages.load_relaxed() > heap.page_count ||
      heap.backed_rows.load_relaxed() > heap.page_count || heap.discard_head.get() >= heap.page_count ||
      heap.discarding.get() >= heap.page_count)
    return false;
  if (heap.used_bytes.get() > heap.page_count * store::kPageBytes) return false;
  for (std::uint32_t level = 0; level < store::kFirstLevels; ++level) {
    const std::uint32_t bits = heap.second_level_bits[level].get();
    if (bits >> store::kSecondLevels != 0) return false;
    for (const auto& head : heap.bins[level]) {
      if (head.get() >= heap.page_count) return false;
    }
  }
  for (const auto& head : heap.partial) {
    if (head.get() >= heap.page_count) return false;
  }
  return heap.first_level_bits.get() >> store::kFirstLevels == 0;
}

bool scheduler_is_bounded(const scheduler::SchedulerHeader& found, const ControlHeader& header) {
  const std::uint32_t processes = header.processes.capacity;
  const std::uint32_t tasks = found.tasks.capacity;
  const scheduler::ResourcesHeader& resources = found.resources;
  const std::uint32_t shapes = resources.shape_count.get();
  if (found.idle_head.get() >= processes || found.idle_count.get() > processes || found.running_count.get() > processes ||
      found.worker_count.get() > processes || found.notifying.get() >= header.objects.slots.capacity ||
      found.ending.get() >= found.actors.capacity || shapes == 0 || shapes > scheduler::kShapeCapacity ||
      resources.queued_count.get() > std::uint64_t{tasks} + found.placements.capacity ||
      resources.free_shape.get() >= scheduler::kShapeCapacity)
    return false;
  for (const scheduler::PlacementList* list : {&found.waiting_placements, &found.removed_placements}) {
    if (list->first.get() >= found.placements.capacity || list->last.get() >= found.placements.capacity) return false;
  }
  for (std::uint32_t i = 0; i < shapes; ++i) {
    const scheduler::Shape& shape = resources.shapes[i];
    if (shape.demand_count.get() > scheduler::kShapeDemands || shape.head.get() >= tasks || shape.tail.get() >= tasks ||
        shape.queued_count.get() > tasks || shape.placement.get() >= found.placements.capacity ||
        shape.next.get() >= scheduler::kShapeCapacity)
      return false;
    for (std::uint32_t k = 0; k < shape.demand_count.get(); ++k) {
      if (shape.demands[k].resource >= scheduler::kResourceCapacity) return false;
    }
  }
  return true;
}

}  // namespace

bool matches_layout(const ControlHeader& found, const ControlHeader& plan) {
  const store::ObjectTableHeader& objects = found.objects;
  return found.lock_offset == plan.lock_offset && found.processes.capacity == plan.processes.capacity &&
         found.processes.offset == plan.processes.offset && same_heap(found.heap, plan.heap) &&
         same_heap(found.spill, plan.spill) && same_table(objects.slots, plan.objects.slots) &&
         objects.hold_rows_offset == plan.objects.hold_rows_offset && objects.pin_rows_offset == plan.objects.pin_rows_offset &&
         objects.row_bytes == plan.objects.row_bytes && objects.buckets_offset == plan.objects.buckets_offset &&
         objects.bucket_count == plan.objects.bucket_count && objects.call_sites_offset == plan.objects.call_sites_offset &&
         (objects.nonce & 1U) != 0 && same_table(found.waits.nodes, plan.waits.nodes) &&
         same_table(found.waits.groups, plan.waits.groups) && found.workers.capacity == plan.workers.capacity &&
         found.workers.bucket_count == plan.workers.bucket_count && found.workers.offset == plan.workers.offset &&
         same_table(found.scheduler.tasks, plan.scheduler.tasks) && same_table(found.scheduler.actors, plan.scheduler.actors) &&
         same_table(found.scheduler.placements, plan.scheduler.placements) &&
         same_table(found.scheduler.bundles, plan.scheduler.bundles);
}

bool is_within_bounds(const ControlHeader& found) {
  const store::ObjectTableHeader& objects = found.objects;
  const std::uint32_t end = objects.slots.capacity;
  const std::uint32_t high_water = found.processes.high_water.load_relaxed();
  return high_water != 0 && high_water <= found.processes.capacity && heap_is_bounded(found.heap) &&
         heap_is_bounded(found.spill) && table_is_bounded(objects.slots) && objects.reclaim_head.get() < end &&
         objects.dropped_head.get() < end && objects.oldest.get() < end && objects.newest.get() < end &&
         objects.listed_count.get() < end && table_is_bounded(found.waits.nodes) && table_is_bounded(found.waits.groups) &&
         found.workers.registered_count.get() <= found.workers.capacity &&
         found.workers.idle_count.get() <= found.workers.capacity && table_is_bounded(found.scheduler.tasks) &&
         table_is_bounded(found.scheduler.actors) && table_is_bounded(found.scheduler.placements) &&
         table_is_bounded(found.scheduler.bundles) && scheduler_is_bounded(found.scheduler, found);
}

bool heads_are_sound(const Domain& domain) {
  const ControlHeader& header = domain.header();
  if (!is_within_bounds(header) || header.workers.idle_count.get() > header.workers.registered_count.get()) return false;
  for (const PageHeap* heap : {&domain.heap, &domain.spill}) {
    if (!heap->heads_are_sound()) return false;
  }
  const ObjectTable& objects = domain.objects;
  for (const Index slot : {header.objects.oldest.get(), header.objects.newest.get()}) {
    if ((slot == kNone) != (header.objects.listed_count.get() == 0)) return false;
    if (slot != kNone && (!objects.slots.is_valid_index(slot) || !objects[slot].has(store::kListed))) return false;
  }
  const Index reclaim = header.objects.reclaim_head.get();
  if (reclaim != kNone &&
      (!objects.slots.is_valid_index(reclaim) || objects[reclaim].current_state() != ObjectState::kReclaiming))
    return false;
  if (!objects.slots.head_is_sound() || !domain.waits.nodes.head_is_sound() || !domain.waits.groups.head_is_sound() ||
      !domain.scheduler.tasks.head_is_sound() || !domain.scheduler.actors.head_is_sound() ||
      !domain.scheduler.placements.head_is_sound() || !domain.scheduler.bundles.head_is_sound())
    return false;
  const auto& tasks = domain.scheduler.tasks;
  const std::uint32_t shapes = domain.scheduler.shape_count();
  for (std::uint32_t i = 0; i < shapes; ++i) {
    const scheduler::Shape& shape = domain.scheduler.shape(i);
    for (const Index task : {shape.head.get(), shape.tail.get()}) {
      if ((task == kNone) != (shape.queued_count.get() == 0)) return false;
      if (task != kNone && (!tasks.is_valid_index(task) || tasks[task].shape.get() != i ||
                            tasks[task].state.get() != static_cast<std::uint32_t>(scheduler::TaskState::kQueued)))
        return false;
    }
  }
  const Index idle = header.scheduler.idle_head.get();
  return idle == kNone || domain.processes[idle].worker_state.get() == static_cast<std::uint32_t>(process::WorkerState::kIdle);
}

}  // namespace miniray::runtime
