#include "runtime/domain.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace miniray::runtime {

namespace {

constexpr std::uint64_t kPage = platform::kPageBytes;
constexpr std::uint64_t kGrowthCreditBytes = 64ULL << 20;
constexpr std::uint64_t kGrowthShares = 64;  // so many processes may grow on what they all saw at one moment

}  // namespace

DomainFailure Domain::map(platform::Descriptor control_file, platform::Descriptor heap_file,
                          const ControlHeader& layout) noexcept {
  control_bytes_ = layout.control_bytes;
  heap_bytes_ = layout.heap_bytes;
  heap_file_offset_ = layout.heap_file_offset;
  spill_file_bytes_ = layout.spill.page_count * kPage;
  call_sites_offset_ = layout.objects.call_sites_offset;
  control_file_ = control_file;
  heap_file_ = heap_file;
  platform::remember_descriptor(control_file);
  platform::remember_descriptor(heap_file);
  region_ = platform::map_file(control_file, control_bytes_, platform::Access::kReadWrite);
  if (region_ == nullptr) return system_failure(-12);
  // A joined file holds the heap behind the control region; mapping the whole file keeps the offset page-aligned and simple.
  const std::uint64_t skip = heap_file_offset_;
  std::byte* write = platform::map_file(heap_file, skip + heap_bytes_, platform::Access::kReadWrite);
  std::byte* read = platform::map_file(heap_file, skip + heap_bytes_, platform::Access::kRead);
  heap_write_ = write == nullptr ? nullptr : write + skip;
  heap_read_ = read == nullptr ? nullptr : read + skip;
  if (write == nullptr || read == nullptr) return system_failure(-12);
  wire(layout);
  return {};
}

void Domain::wire(const ControlHeader& layout) noexcept {
  ControlHeader& found = header();
  processes = ProcessTable(region_, &found.processes, layout.processes);
  lock = shm::Lock(region_, control_bytes_, reinterpret_cast<shm::LockBlock*>(region_ + layout.lock_offset), &processes);
  heap =
      PageHeap(region_, &found.heap, layout.heap, control_file_, heap_file_, heap_file_offset_, &found.scheduler.trim_wanted);
  spill = PageHeap(region_, &found.spill, layout.spill, control_file_, -1, 0, nullptr);
  shm::Atomic<std::uint32_t>* trim_wanted = &found.scheduler.trim_wanted;
  objects = ObjectTable(region_, &found.objects, layout.objects, &heap, &spill, heap_write_, heap_read_, control_file_, 0,
                        trim_wanted);
  workers = scheduler::WorkerRegistry(region_, &found.workers, layout.workers);
  waits = WaitTable(region_, &found.waits, layout.waits, control_file_, 0, trim_wanted);
  scheduler = Scheduler(region_, &found.scheduler, layout.scheduler, &objects, &waits, &processes, control_file_, 0);
}

DomainFailure Domain::join(ProcessKind kind) noexcept {
  // Without it nobody could prove that this process is dead, or end it: no row for a process that cannot tell.
  const std::uint64_t start_time = platform::process_start_time(platform::current_process());
  if (start_time == 0) return {DomainError::kNoStartTime};
  self_ = processes.claim(kind, start_time);
  if (self_.slot == kNone) return {DomainError::kNoProcessSlot};
  lock.set_holder(shm::LockWord::holder(self_.slot, self_.generation));
  if (const int error = objects.back_rows(self_); error != 0) {
    processes.free(self_);
    self_ = {};
    return system_failure(error);
  }
  return {};
}

DomainFailure Domain::adopt_after_fork(ProcessKind kind) noexcept {
  self_ = {};
  return join(kind);
}

void Domain::leave() noexcept {
  if (region_ == nullptr || self_.slot == kNone) return;
  try {
    for (bool more = true; more;) {
      Transaction transaction(lock);
      more = objects.drop_rows(transaction, own_entry(), self_, 64);
    }
    reclaim();
  } catch (const debug::Damage& damage) {
    poison(damage.text());  // what it kept is nobody's to free
  }
  processes.free(self_);
  self_ = {};
}

void Domain::detach() noexcept {
  leave();
  abandon();
}

void Domain::abandon() noexcept {
  if (region_ != nullptr) {
    const std::uint64_t skip = heap_file_offset_;
    if (heap_write_ != nullptr) platform::unmap(heap_write_ - skip, skip + heap_bytes_);
    if (heap_read_ != nullptr) platform::unmap(heap_read_ - skip, skip + heap_bytes_);
    if (spill_read_ != nullptr) platform::unmap(spill_read_, spill_file_bytes_);
    platform::unmap(region_, control_bytes_);
  }
  region_ = heap_write_ = heap_read_ = spill_read_ = nullptr;
  for (platform::Descriptor* file : {&control_file_, &heap_file_, &spill_file_}) {
    platform::close_descriptor(*file);
    *file = -1;
  }
  self_ = {};
}

int Domain::ensure_rows(std::uint32_t object_count, std::uint32_t task_count, std::uint32_t node_count) {
  if (const int error = objects.slots.ensure_backed(lock, object_count); error != 0) return error;
  if (const int error = scheduler.tasks.ensure_backed(lock, task_count); error != 0) return error;
  if (const int error = waits.groups.ensure_backed(lock, 1); error != 0) return error;
  return waits.nodes.ensure_backed(lock, node_count);
}

int Domain::grow_heap(std::uint64_t offset, std::uint64_t size_bytes) {
  const int error = may_grow_heap(offset, size_bytes);
  return error != 0 ? error : heap.ensure_backed(offset, size_bytes);
}

int Domain::may_grow_heap(std::uint64_t offset, std::uint64_t size_bytes) {
  // Pages past a control group's limit would not be refused: the kernel would kill somebody. A look costs as much as the growth of some
  // hundred kilobytes, so one is good for a share of what it found: a small one, as every process has such a credit.
  const std::uint64_t end = offset + size_bytes;
  const std::uint64_t backed = heap.backed_bytes();
  const auto wanted = static_cast<std::int64_t>(end > backed ? end - backed : 0);
  if (growth_credit_.fetch_sub(wanted) < wanted) {
    const std::uint64_t headroom = platform::memory_headroom_bytes();
    if (headroom < static_cast<std::uint64_t>(wanted)) {
      growth_credit_.store(0);
      return -12;  // ENOMEM
    }
    growth_credit_.store(static_cast<std::int64_t>(std::min(headroom / kGrowthShares, kGrowthCreditBytes)) - wanted);
  }
  return 0;
}

std::uint64_t Domain::trim() {
  scheduler::SchedulerHeader& found = header().scheduler;
  std::uint32_t nobody = 0;
  if (!found.trimmer.compare_exchange(nobody, self_.packed())) return 0;
  found.trim_wanted.store_ordered(0);
  const std::uint64_t bytes = objects.slots.trim(lock) + scheduler.tasks.trim(lock) + scheduler.actors.trim(lock) +
                              scheduler.placements.trim(lock) + scheduler.bundles.trim(lock) + waits.nodes.trim(lock) +
                              waits.groups.trim(lock);
  found.trimmer.store_ordered(0);
  return bytes;
}

void Domain::begin_heap_trim() {
  Transaction transaction(lock);
  heap_keep_ = heap.begin_trim(transaction);
}

std::uint64_t Domain::trim_heap() {
  if (heap_keep_ == kNone) return 0;
  const Transaction transaction(lock);
  const std::uint64_t bytes = heap.trim_part(transaction, heap_keep_);
  if (bytes == 0) heap_keep_ = kNone;
  return bytes;
}

void Domain::finish_trim_of(ProcessId dead) {
  scheduler::SchedulerHeader& found = header().scheduler;
  if (found.trimmer.load_ordered() != dead.packed()) return;
  objects.slots.finish_returns(lock);
  scheduler.tasks.finish_returns(lock);
  scheduler.actors.finish_returns(lock);
  scheduler.placements.finish_returns(lock);
  scheduler.bundles.finish_returns(lock);
  waits.nodes.finish_returns(lock);
  waits.groups.finish_returns(lock);
  found.trimmer.store_ordered(0);
}

int Domain::set_spill_file(platform::Descriptor file) {
  spill_file_ = file;
  platform::remember_descriptor(file);
  spill_read_ = platform::map_file(file, spill_file_bytes_, platform::Access::kRead);
  objects.set_spill_map(spill_read_);
  return spill_read_ == nullptr ? -12 /* ENOMEM */ : 0;
}

bool Domain::discard_freed_places(std::uint32_t limit) {
  if (spill_file_ < 0 || !spill.has_discards()) return false;
  spill.discard_wanted().store_ordered(0);
  for (; limit > 0; --limit) {
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
    {
      Transaction transaction(lock);
      if (!spill.begin_discard(transaction, offset, size_bytes)) return false;
    }
    MINIRAY_FAULT_POINT("spill.discarding");
    (void)platform::discard_pages(spill_file_, offset, size_bytes);
    Transaction transaction(lock);
    spill.end_discard(transaction);
  }
  return true;
}

void Domain::tell_supervisor() noexcept {
  for (shm::Atomic<std::uint32_t>* wanted : {&header().scheduler.trim_wanted, &spill.discard_wanted()}) {
    std::uint32_t found = 1;
    if (wanted->compare_exchange(found, 2)) platform::ring_doorbell(doorbell_);
  }
}

void Domain::perform(const Wakes& wakes) {
  if (wakes.overflow) [[unlikely]] {
    wake_everyone();
  } else {
    for (std::uint32_t i = 0; i < wakes.worker_count; ++i) processes.ring(wakes.workers[i]);
    for (std::uint32_t i = 0; i < wakes.group_count; ++i) waits.wake_group(wakes.groups[i]);
  }
  if (objects.first_dropped() != kNone) [[unlikely]]
    settle_handles();
  if (wakes.removals) [[unlikely]]
    settle_removals();
  scheduler::SchedulerHeader& found = header().scheduler;
  if (wakes.doorbell && found.doorbell_rung.exchange_ordered(1) == 0) platform::ring_doorbell(doorbell_);
  if (wakes.arrivals) {
    found.arrivals.fetch_add_ordered(1);
    if (found.arrival_waiters.load_ordered() != 0) platform::wake_word(found.arrivals.address(), 1);
  }
  if (found.trim_wanted.load_relaxed() == 1 || spill.discard_wanted().load_relaxed() == 1) [[unlikely]]
    tell_supervisor();
}

void Domain::wake_everyone() noexcept {
  processes.ring_all();
  waits.wake_all_groups();
}

void Domain::settle_handles() {
  for (bool more = true; more;) {
    Wakes wakes;
    Transaction transaction(lock);
    more = scheduler.settle_dropped_handle(transaction, wakes);
    transaction.close();
    if (more) perform(wakes);
  }
}

void Domain::settle_removals() {
  for (bool more = true; more;) {
    Wakes wakes;
    Transaction transaction(lock);
    more = scheduler.settle_removed(transaction, wakes);
    transaction.close();
    wakes.removals = false;
    perform(wakes);
  }
}

void Domain::poison(const char* why) noexcept {
  lock.poison(why);
  wake_everyone();
  scheduler::SchedulerHeader& found = header().scheduler;
  for (shm::Atomic<std::uint32_t>* word : {&header().memory_freed, &found.arrivals}) {
    word->fetch_add_ordered(1);
    platform::wake_word(word->address(), 1 << 30);
  }
  platform::ring_doorbell(doorbell_);
}

void Domain::audit(const char*& suspected) {
  const char* fault = validate();
  if (fault != nullptr && suspected != nullptr && std::strcmp(fault, suspected) == 0) {
    lock.poison(fault);
    debug::tell_damage(lock.damage());
  }
  suspected = fault;
  if (fault != nullptr) return;
  wake_everyone();
  platform::ring_doorbell(doorbell_);
}

void Domain::reclaim() {
  while (objects.has_reclaimable()) {
    Transaction transaction(lock);
    (void)objects.reclaim_step(transaction);
  }
  if (objects.first_dropped() != kNone) settle_handles();
  if (header().scheduler.trim_wanted.load_relaxed() == 1 || spill.discard_wanted().load_relaxed() == 1) [[unlikely]]
    tell_supervisor();
}

const char* Domain::validate() {
  std::vector<std::uint32_t> references(objects.slots.capacity() + 1);
  std::vector<std::uint32_t> pins(references.size());
  // Neither a section, which an exception would poison, nor without the lock.
  if (!lock.acquire()) return "poisoned";
  const char* fault = nullptr;
  try {
    fault = find_fault(references.data(), pins.data());
  } catch (const debug::Damage&) {
    fault = debug::last_damage();
  }
  lock.release();
  return fault;
}

const char* Domain::find_fault(std::uint32_t* references, std::uint32_t* pins) {
  const char* fault = heap.validate();
  if (fault == nullptr) fault = spill.validate();
  if (fault == nullptr) fault = waits.nodes.validate();
  if (fault == nullptr) fault = waits.groups.validate();
  if (fault == nullptr) fault = scheduler.validate();
  if (fault == nullptr) fault = workers.validate();
  if (fault == nullptr) {
    scheduler.count_references(references);
    fault = objects.validate(processes, references, pins);
  }
  return fault;
}

}  // namespace miniray::runtime
