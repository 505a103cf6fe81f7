#include "runtime/domain.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "runtime/header_check.hpp"

namespace miniray::runtime {

namespace {

constexpr std::uint64_t kPage = platform::kPageBytes;
constexpr std::uint64_t kGrowthCreditBytes = 64ULL << 20;
constexpr std::int64_t kCreationGraceNs = 1'000'000'000;
constexpr std::int64_t kCreationLookNs = 20'000'000;

constexpr std::uint64_t round_up(std::uint64_t size, std::uint64_t unit) noexcept { return (size + unit - 1) / unit * unit; }

// Places every table after the header; fills the offsets. Returns the size of the control region.
std::uint64_t lay_out(ControlHeader& header) noexcept {
  const DomainConfig& config = header.config;
  std::uint64_t end = round_up(sizeof(ControlHeader), kPage);
  const auto place = [&end](std::uint64_t size) {
    const std::uint64_t offset = end;
    end = round_up(end + size, kPage);
    return offset;
  };
  const auto place_chunks = [&](shm::SlotTableHeader& table, std::uint32_t capacity, std::uint64_t record) {
    table.capacity = capacity + 1;
    table.chunk_count = shm::chunk_count(capacity, record);
    table.chunks_offset = place(table.chunk_count * sizeof(shm::SlotChunk));
  };
  const auto place_records = [&](shm::SlotTableHeader& table, std::uint64_t record) {
    table.offset = place(std::uint64_t{table.capacity} * record);
  };
  header.lock_offset = place(sizeof(shm::LockBlock));
  header.processes.capacity = config.process_capacity + 1;
  header.processes.offset = place(std::uint64_t{header.processes.capacity} * sizeof(ProcessEntry));
  header.processes.high_water.store_relaxed(1);
  store::ObjectTableHeader& objects = header.objects;
  const std::uint64_t nodes = 2ULL * config.object_capacity;
  // What must have pages from the start lies before the records.
  place_chunks(objects.slots, config.object_capacity, sizeof(store::ObjectEntry));
  place_chunks(header.scheduler.tasks, config.task_capacity, sizeof(scheduler::TaskEntry));
  place_chunks(header.waits.nodes, static_cast<std::uint32_t>(nodes < 0xFFFFFFF0 ? nodes : 0xFFFFFFF0),
               sizeof(scheduler::WaitNode));
  place_chunks(header.waits.groups, 16 * config.process_capacity, sizeof(scheduler::WaitGroup));
  header.workers.capacity = config.registered_worker_capacity;
  header.workers.bucket_count = std::bit_ceil(2 * config.registered_worker_capacity + 1);
  header.workers.offset = place(std::uint64_t{header.workers.bucket_count} * sizeof(scheduler::WorkerBucket));
  objects.bucket_count = std::bit_ceil(config.object_capacity);
  place_records(objects.slots, sizeof(store::ObjectEntry));
  objects.row_bytes = round_up(config.object_capacity / 8 + 9, kPage);
  objects.hold_rows_offset = place(header.processes.capacity * objects.row_bytes);
  objects.pin_rows_offset = place(header.processes.capacity * objects.row_bytes);
  objects.buckets_offset = place(std::uint64_t{objects.bucket_count} * sizeof(Index));
  place_records(header.scheduler.tasks, sizeof(scheduler::TaskEntry));
  place_records(header.waits.nodes, sizeof(scheduler::WaitNode));
  place_records(header.waits.groups, sizeof(scheduler::WaitGroup));
  header.heap.page_count = config.heap_bytes / kPage + 1;
  header.heap.rows_offset = place(header.heap.page_count * sizeof(store::PageRow));
  header.heap.backed_pages.store_relaxed(1);
  header.spill.page_count = config.spill_bytes / kPage + 1;
  header.spill.rows_offset = place(header.spill.page_count * sizeof(store::PageRow));
  header.spill.backed_pages.store_relaxed(header.spill.page_count);  // the disk answers for itself
  header.spill.discards = 1;
  if (config.records_call_sites != 0)
    objects.call_sites_offset = place(std::uint64_t{objects.slots.capacity} * sizeof(store::CallSite));
  return end;
}

DomainFailure system_failure(int error) noexcept { return {DomainError::kSystem, error, 0, 0}; }

// Whether a region with that header, in a file of that size, is a domain of ours; its sizes are believed only then.
DomainFailure judge_header(const ControlHeader& found, DomainUsage usage, std::uint64_t file_bytes, bool joined) noexcept {
  char boot_id[40];
  platform::read_boot_id(boot_id);
  const std::uint32_t version = found.version.load_acquire();
  if (version != 0 && found.magic == kMagic && version != kLayoutVersion) return {DomainError::kWrongVersion, 0, version, 0};
  if (version != kLayoutVersion || found.magic != kMagic || std::memcmp(boot_id, found.boot_id, sizeof(boot_id)) != 0 ||
      found.usage != static_cast<std::uint32_t>(usage)) {
    return {DomainError::kCorrupt};
  }
  if (found.process_namespace != platform::process_namespace()) return {DomainError::kOtherNamespace};
  ControlHeader plan{};
  plan.config = found.config;
  const std::uint64_t expected = lay_out(plan);
  const std::uint64_t heap_bytes = plan.heap.page_count * kPage;
  if (expected != found.control_bytes || heap_bytes != found.heap_bytes ||
      file_bytes != (joined ? expected + heap_bytes : expected) || found.heap_file_offset != (joined ? expected : 0) ||
      found.user != platform::user_number() || !matches_layout(found, plan) || !is_within_bounds(found)) {
    return {DomainError::kCorrupt};
  }
  return {};
}

platform::ProcessNumber live_creator(ControlHeader& header) noexcept {
  const platform::ProcessNumber creator = header.creator.load_acquire();
  return creator != 0 && !platform::process_is_dead(creator, header.creator_start_time.load_acquire()) ? creator : 0;
}

// A live process of that domain; 0 when all are dead.
platform::ProcessNumber live_process(std::byte* region) noexcept {
  auto& header = *reinterpret_cast<ControlHeader*>(region);
  if (const platform::ProcessNumber creator = live_creator(header); creator != 0) return creator;
  if (header.version.load_acquire() != kLayoutVersion) return 0;
  ProcessTable processes(region, &header.processes);
  for (Index slot = 1; slot < processes.high_water(); ++slot) {
    const auto identity = processes.identity(slot);
    if (identity.state != process::ProcessState::kFree && !processes.is_dead(slot)) return identity.number;
  }
  return 0;
}

}  // namespace

DomainFailure Domain::create(const char* control_name, const char* heap_name, const DomainConfig& config, DomainUsage usage,
                             ProcessKind kind, bool anonymous) noexcept {
  const bool joined = std::strcmp(control_name, heap_name) == 0;
  ControlHeader plan{};
  plan.config = config;
  plan.config.heap_bytes = round_up(config.heap_bytes, kPage);
  const std::uint64_t control_bytes = lay_out(plan);
  const std::uint64_t heap_bytes = plan.heap.page_count * kPage;

  platform::Descriptor control_file = anonymous ? platform::create_anonymous_file(control_name, control_bytes) : -1;
  if (anonymous && control_file < 0) return system_failure(control_file);
  while (control_file < 0) {
    control_file = platform::create_shared_file(control_name, joined ? control_bytes + heap_bytes : control_bytes);
    if (control_file >= 0) break;
    if (control_file != -17 /* EEXIST */) return system_failure(control_file);
    DomainUsage found_usage{};
    const DomainFailure found = inspect(control_name, found_usage, true);
    if (found.error == DomainError::kForeign) return found;
    if (found.owner != 0) return {DomainError::kExists, 0, 0, found.owner};
    unlink(control_name, heap_name);  // of a dead program: taken over
  }
  platform::Descriptor heap_file = joined      ? platform::duplicate_descriptor(control_file)
                                   : anonymous ? platform::create_anonymous_file(heap_name, heap_bytes)
                                               : platform::create_shared_file(heap_name, heap_bytes);
  const auto fail = [&](DomainFailure failure) {
    detach();
    if (anonymous) return failure;
    platform::unlink_shared_file(control_name) == 0 ? void() : void();
    if (!joined) (void)platform::unlink_shared_file(heap_name);
    return failure;
  };
  if (heap_file < 0) {
    platform::close_descriptor(control_file);
    return fail(system_failure(heap_file));
  }
  // What is written before anyone attaches: the header, the lock, the process rows, the chunks of the tables; and the hash buckets.
  const std::uint64_t first_bytes = plan.objects.slots.offset;
  int error = platform::reserve_pages(control_file, 0, first_bytes);
  if (error == 0) {
    error = platform::reserve_pages(control_file, plan.objects.buckets_offset,
                                    std::uint64_t{plan.objects.bucket_count} * sizeof(Index));
  }
  control_bytes_ = control_bytes;
  heap_bytes_ = heap_bytes;
  plan.heap_file_offset = joined ? control_bytes : 0;
  plan.heap_bytes = heap_bytes;
  plan.control_bytes = control_bytes;
  if (error != 0) {
    platform::close_descriptor(control_file);
    platform::close_descriptor(heap_file);
    return fail(system_failure(error));
  }
  region_ = platform::map_file(control_file, control_bytes, platform::Access::kReadWrite);
  if (region_ == nullptr) {
    platform::close_descriptor(control_file);
    platform::close_descriptor(heap_file);
    return fail(system_failure(-12 /* ENOMEM */));
  }
  header().creator.store_release(platform::current_process());
  header().creator_start_time.store_release(platform::process_start_time(platform::current_process()));
  plan.creator.store_relaxed(platform::current_process());
  plan.creator_start_time.store_relaxed(header().creator_start_time.load_relaxed());
  plan.magic = kMagic;
  plan.user = platform::user_number();
  plan.usage = static_cast<std::uint32_t>(usage);
  plan.process_namespace = platform::process_namespace();
  platform::read_boot_id(plan.boot_id);
  platform::fill_random(&plan.objects.nonce, sizeof(plan.objects.nonce));
  plan.objects.nonce |= 1;
  Transaction::init(plan.scheduler.resources.shape_count, 1);
  std::strncpy(plan.scheduler.resources.resources[scheduler::kCpu].name, "CPU", 8);
  std::memcpy(static_cast<void*>(region_), &plan, sizeof(plan));
  platform::unmap(region_, control_bytes);
  region_ = nullptr;
  if (const DomainFailure failure = map(control_file, heap_file)) return fail(failure);
  if (const DomainFailure failure = join(kind)) return fail(failure);
  {
    Transaction transaction(lock);
    heap.initialize(transaction);
    spill.initialize(transaction);
  }
  header().version.store_release(kLayoutVersion);  // [D2v]
  return {};
}

DomainFailure Domain::attach(const char* control_name, const char* heap_name, DomainUsage usage, ProcessKind kind) noexcept {
  const bool joined = std::strcmp(control_name, heap_name) == 0;
  const platform::Descriptor control_file = platform::open_shared_file(control_name);
  if (control_file < 0)
    return control_file == -2 /* ENOENT */ ? DomainFailure{DomainError::kNotFound} : system_failure(control_file);
  platform::Descriptor heap_file = -1;
  DomainFailure failure = check_control(control_file, joined, usage);
  if (!failure) {
    heap_file = joined ? platform::duplicate_descriptor(control_file) : platform::open_shared_file(heap_name);
    if (heap_file < 0) failure = system_failure(heap_file);
  }
  if (!failure) return enter(control_file, heap_file, joined, kind);
  platform::close_descriptor(control_file);
  return failure;
}

DomainFailure Domain::attach_descriptors(platform::Descriptor control_file, platform::Descriptor heap_file, DomainUsage usage,
                                         ProcessKind kind) noexcept {
  if (const DomainFailure failure = check_control(control_file, false, usage)) return failure;
  const platform::Descriptor own_control = platform::duplicate_descriptor(control_file);
  const platform::Descriptor own_heap = platform::duplicate_descriptor(heap_file);
  if (own_control >= 0 && own_heap >= 0) return enter(own_control, own_heap, false, kind);
  platform::close_descriptor(own_control);
  platform::close_descriptor(own_heap);
  return system_failure(own_control < 0 ? own_control : own_heap);
}

DomainFailure Domain::check_control(platform::Descriptor control_file, bool joined, DomainUsage usage) noexcept {
  platform::FileFacts facts{};
  if (const int error = platform::file_facts(control_file, facts); error != 0) return system_failure(error);
  if (facts.user != platform::user_number() || (facts.mode & 077) != 0) return {DomainError::kForeign};
  // The header first, on its own: sizes are believed only after magic and version.
  DomainFailure failure{};
  std::byte* first = facts.size_bytes < sizeof(ControlHeader)
                         ? nullptr
                         : platform::map_file(control_file, sizeof(ControlHeader), platform::Access::kReadWrite);
  if (first == nullptr) {
    failure.error = DomainError::kCorrupt;
  } else {
    auto& found = *reinterpret_cast<ControlHeader*>(first);
    if (found.version.load_acquire() == 0) {
      (void)platform::wait_on_word(found.version.address(), 0, kCreationGraceNs / 20);
    }
    failure = judge_header(found, usage, facts.size_bytes, joined);
    control_bytes_ = found.control_bytes;
    heap_bytes_ = found.heap_bytes;
    platform::unmap(first, sizeof(ControlHeader));
  }
  return failure;
}

DomainFailure Domain::enter(platform::Descriptor control_file, platform::Descriptor heap_file, bool joined,
                            ProcessKind kind) noexcept {
  platform::FileFacts facts{};
  DomainFailure failure{};
  if (platform::file_facts(heap_file, facts) != 0 || facts.user != platform::user_number() || (facts.mode & 077) != 0) {
    failure.error = DomainError::kForeign;
  }
  if (!failure && !joined && facts.size_bytes != heap_bytes_) failure.error = DomainError::kCorrupt;
  if (failure) {
    platform::close_descriptor(control_file);
    platform::close_descriptor(heap_file);
    return failure;
  }
  failure = map(control_file, heap_file);
  if (!failure) failure = join(kind);
  if (!failure) {
    const Transaction transaction(lock);
    if (!heads_are_sound(*this)) failure.error = DomainError::kCorrupt;
  }
  if (failure) detach();
  return failure;
}

DomainFailure Domain::open_to_look(const char* control_name, const char* heap_name, DomainUsage usage,
                                   DomainFiles& files) noexcept {
  const bool joined = std::strcmp(control_name, heap_name) == 0;
  const auto open = [](const char* name, platform::Descriptor& file, platform::FileFacts& facts) -> DomainFailure {
    file = platform::open_shared_file_for_reading(name);
    if (file == -2 /* ENOENT */) return {DomainError::kNotFound};
    if (file == -13 /* EACCES */) return {DomainError::kForeign};
    if (file < 0) return system_failure(file);
    if (const int error = platform::file_facts(file, facts); error != 0) return system_failure(error);
    const bool ours = facts.user == platform::user_number() && (facts.mode & 077) == 0;
    return {ours ? DomainError::kNone : DomainError::kForeign};
  };
  platform::FileFacts facts{};
  DomainFailure failure = open(control_name, files.control, facts);
  if (!failure) {
    const std::unique_ptr<ControlHeader> found(new (std::nothrow) ControlHeader);
    const bool whole = found != nullptr && platform::read_file(files.control, 0, found.get(), sizeof(*found)) == sizeof(*found);
    failure = whole ? judge_header(*found, usage, facts.size_bytes, joined) : DomainFailure{DomainError::kCorrupt};
  }
  if (!failure) failure = open(heap_name, files.heap, facts);
  if (!failure) return {};
  platform::close_descriptor(files.control);
  platform::close_descriptor(files.heap);
  files = {};
  return failure;
}

DomainFailure Domain::map(platform::Descriptor control_file, platform::Descriptor heap_file) noexcept {
  control_file_ = control_file;
  heap_file_ = heap_file;
  platform::remember_descriptor(control_file);
  platform::remember_descriptor(heap_file);
  region_ = platform::map_file(control_file, control_bytes_, platform::Access::kReadWrite);
  if (region_ == nullptr) return system_failure(-12);
  // A joined file holds the heap behind the control region; mapping the whole file keeps the offset page-aligned and simple.
  const std::uint64_t skip = header().heap_file_offset;
  std::byte* write = platform::map_file(heap_file, skip + heap_bytes_, platform::Access::kReadWrite);
  std::byte* read = platform::map_file(heap_file, skip + heap_bytes_, platform::Access::kRead);
  heap_write_ = write == nullptr ? nullptr : write + skip;
  heap_read_ = read == nullptr ? nullptr : read + skip;
  if (write == nullptr || read == nullptr) return system_failure(-12);
  wire();
  return {};
}

void Domain::wire() noexcept {
  ControlHeader& found = header();
  processes = ProcessTable(region_, &found.processes);
  lock = shm::Lock(region_, reinterpret_cast<shm::LockBlock*>(region_ + found.lock_offset), &processes);
  heap = PageHeap(region_, &found.heap, control_file_, heap_file_, found.heap_file_offset);
  spill = PageHeap(region_, &found.spill, control_file_, -1, 0);
  shm::Atomic<std::uint32_t>* trim_wanted = &found.scheduler.trim_wanted;
  objects = ObjectTable(region_, &found.objects, &heap, &spill, heap_write_, heap_read_, control_file_, 0, trim_wanted);
  workers = scheduler::WorkerRegistry(region_, &found.workers);
  waits = WaitTable(region_, &found.waits, control_file_, 0, trim_wanted);
  scheduler = Scheduler(region_, &found.scheduler, &objects, &waits, &processes, control_file_, 0);
}

DomainFailure Domain::join(ProcessKind kind) noexcept {
  self_ = processes.claim(kind);
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

void Domain::detach() noexcept {
  if (region_ != nullptr && self_.slot != kNone) {
    for (bool more = true; more;) {
      Transaction transaction(lock);
      more = objects.drop_rows(transaction, own_entry(), self_, 64);
    }
    reclaim();
    processes.free(self_);
  }
  abandon();
}

void Domain::abandon() noexcept {
  if (region_ != nullptr) {
    const std::uint64_t skip = header().heap_file_offset;
    if (heap_write_ != nullptr) platform::unmap(heap_write_ - skip, skip + heap_bytes_);
    if (heap_read_ != nullptr) platform::unmap(heap_read_ - skip, skip + heap_bytes_);
    if (spill_read_ != nullptr) platform::unmap(spill_read_, header().spill.page_count * kPage);
    platform::unmap(region_, control_bytes_);
  }
  region_ = heap_write_ = heap_read_ = spill_read_ = nullptr;
  for (platform::Descriptor* file : {&control_file_, &heap_file_, &spill_file_}) {
    platform::close_descriptor(*file);
    *file = -1;
  }
  self_ = {};
}

void Domain::unlink(const char* control_name, const char* heap_name) noexcept {
  (void)platform::unlink_shared_file(heap_name);
  (void)platform::unlink_shared_file(control_name);
}

DomainFailure Domain::inspect(const char* control_name, DomainUsage& usage, bool may_wait) noexcept {
  const platform::Descriptor file = platform::open_shared_file(control_name);
  if (file == -2 /* ENOENT */) return {DomainError::kNotFound};
  if (file < 0) return file == -13 /* EACCES */ ? DomainFailure{DomainError::kForeign} : system_failure(file);
  platform::FileFacts facts{};
  DomainFailure failure{};
  if (platform::file_facts(file, facts) != 0 || facts.user != platform::user_number()) {
    failure.error = DomainError::kForeign;
  } else if (facts.size_bytes < sizeof(ControlHeader)) {
    failure.error = DomainError::kCorrupt;
  } else if (std::byte* region = platform::map_file(file, facts.size_bytes, platform::Access::kReadWrite); region == nullptr) {
    failure = system_failure(-12);
  } else {
    auto& found = *reinterpret_cast<ControlHeader*>(region);
    // A creator may be about to write its number; but a heap file never has one, and begins with a page of zeros.
    for (std::int64_t waited = 0; may_wait && waited < kCreationGraceNs && found.creator.load_acquire() == 0;
         waited += kCreationLookNs) {
      (void)platform::wait_on_word(found.version.address(), 0, kCreationLookNs);
      const platform::Descriptor again = platform::open_shared_file(control_name);
      if (again < 0) break;  // it has been removed meanwhile
      platform::close_descriptor(again);
    }
    // Payload bytes of a heap file must not be taken for facts; 0: a creator has not come that far.
    const bool is_domain = found.magic == kMagic;
    usage = is_domain ? static_cast<DomainUsage>(found.usage) : DomainUsage::kUnknown;
    if (found.version.load_acquire() != kLayoutVersion) {
      failure = {DomainError::kWrongVersion, 0, found.version.load_acquire(), 0};
    }
    const std::uint64_t rows_end = found.processes.offset + std::uint64_t{found.processes.capacity} * sizeof(ProcessEntry);
    // Of another version only the creator's place is known; a live one must never be taken for damaged.
    const bool has_rows = is_domain && found.version.load_acquire() == kLayoutVersion;
    if ((has_rows && rows_end > facts.size_bytes) || (!is_domain && found.magic != 0)) {
      failure.error = DomainError::kCorrupt;
      if (is_domain) failure.owner = live_creator(found);
    } else {
      failure.owner = live_process(region);
    }
    platform::unmap(region, facts.size_bytes);
  }
  platform::close_descriptor(file);
  return failure;
}

int Domain::ensure_rows(std::uint32_t object_count, std::uint32_t task_count, std::uint32_t node_count) noexcept {
  if (const int error = objects.slots.ensure_backed(lock, object_count); error != 0) return error;
  if (const int error = scheduler.tasks.ensure_backed(lock, task_count); error != 0) return error;
  if (const int error = waits.groups.ensure_backed(lock, 1); error != 0) return error;
  return waits.nodes.ensure_backed(lock, node_count);
}

int Domain::grow_heap(std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  const int error = may_grow_heap(offset, size_bytes);
  return error != 0 ? error : heap.ensure_backed(offset, size_bytes);
}

int Domain::may_grow_heap(std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  // Pages past a control group's limit would not be refused: the kernel would kill somebody. A look costs as much as the growth of some
  // hundred kilobytes, so one is good for a share of what it found.
  const std::uint64_t end = offset + size_bytes;
  const std::uint64_t backed = heap.backed_bytes();
  const auto wanted = static_cast<std::int64_t>(end > backed ? end - backed : 0);
  if (growth_credit_.fetch_sub(wanted) < wanted) {
    const std::uint64_t headroom = platform::memory_headroom_bytes();
    if (headroom < static_cast<std::uint64_t>(wanted)) {
      growth_credit_.store(0);
      return -12;  // ENOMEM
    }
    growth_credit_.store(static_cast<std::int64_t>(std::min(headroom / 4, kGrowthCreditBytes)) - wanted);
  }
  return 0;
}

std::uint64_t Domain::trim() noexcept {
  scheduler::SchedulerHeader& found = header().scheduler;
  std::uint32_t nobody = 0;
  if (!found.trimmer.compare_exchange(nobody, self_.packed())) return 0;
  found.trim_wanted.store_ordered(0);
  const std::uint64_t bytes =
      objects.slots.trim(lock) + scheduler.tasks.trim(lock) + waits.nodes.trim(lock) + waits.groups.trim(lock);
  found.trimmer.store_ordered(0);
  return bytes;
}

void Domain::finish_trim_of(ProcessId dead) noexcept {
  scheduler::SchedulerHeader& found = header().scheduler;
  if (found.trimmer.load_ordered() != dead.packed()) return;
  objects.slots.finish_returns(lock);
  scheduler.tasks.finish_returns(lock);
  waits.nodes.finish_returns(lock);
  waits.groups.finish_returns(lock);
  found.trimmer.store_ordered(0);
}

int Domain::set_spill_file(platform::Descriptor file) noexcept {
  spill_file_ = file;
  platform::remember_descriptor(file);
  spill_read_ = platform::map_file(file, header().spill.page_count * kPage, platform::Access::kRead);
  objects.set_spill_map(spill_read_);
  return spill_read_ == nullptr ? -12 /* ENOMEM */ : 0;
}

bool Domain::discard_freed_places(std::uint32_t limit) noexcept {
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

void Domain::perform(const Wakes& wakes) noexcept {
  if (wakes.overflow) [[unlikely]] {
    wake_everyone();
  } else {
    for (std::uint32_t i = 0; i < wakes.worker_count; ++i) processes.ring(wakes.workers[i]);
    for (std::uint32_t i = 0; i < wakes.group_count; ++i) waits.wake_group(wakes.groups[i]);
  }
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

void Domain::reclaim() noexcept {
  while (objects.has_reclaimable()) {
    Transaction transaction(lock);
    (void)objects.reclaim_step(transaction);
  }
  if (header().scheduler.trim_wanted.load_relaxed() == 1 || spill.discard_wanted().load_relaxed() == 1) [[unlikely]]
    tell_supervisor();
}

const char* Domain::validate() {
  std::vector<std::uint32_t> references(objects.slots.capacity() + 1);
  std::vector<std::uint32_t> pins(references.size());
  lock.acquire();
  const char* fault = heap.validate();
  if (fault == nullptr) fault = spill.validate();
  if (fault == nullptr) fault = waits.nodes.validate();
  if (fault == nullptr) fault = waits.groups.validate();
  if (fault == nullptr) fault = scheduler.validate();
  if (fault == nullptr) fault = workers.validate();
  if (fault == nullptr) {
    scheduler.count_references(references.data());
    fault = objects.validate(processes, references.data(), pins.data());
  }
  lock.release();
  return fault;
}

}  // namespace miniray::runtime
