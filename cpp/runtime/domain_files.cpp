// runtime/domain_files.cpp - making a domain's files, opening them, and judging those that are found: whose, which version, alive?
//
// Invariants  domain.hpp D1, D2. Nothing of a header is believed before magic, version, owner and layout are right (header_check.hpp).
// Crash       a creator that dies half-way leaves version 0 or a dead creator: the next create() of that name takes over.
#include <bit>
#include <cstring>
#include <memory>
#include <new>

#include "runtime/domain.hpp"
#include "runtime/header_check.hpp"

namespace miniray::runtime {

namespace {

constexpr std::uint64_t kPage = platform::kPageBytes;
constexpr std::int64_t kCreationGraceNs = 1'000'000'000;
constexpr std::int64_t kCreationLookNs = 20'000'000;

constexpr std::uint64_t round_up(std::uint64_t size, std::uint64_t unit) noexcept { return (size + unit - 1) / unit * unit; }

// Whether capacities can be laid out at all: no sum below overflows, no table outgrows its indices.
bool is_possible(const DomainConfig& config) noexcept {
  return config.object_capacity <= kMostRows && config.task_capacity <= kMostRows && config.actor_capacity <= kMostRows &&
         config.placement_capacity <= kMostRows && config.bundle_capacity <= kMostRows &&
         config.process_capacity <= kMostProcesses && config.registered_worker_capacity <= kMostRows &&
         config.heap_bytes <= kMostBytes && config.spill_bytes <= kMostBytes;
}

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
  place_chunks(header.scheduler.actors, config.actor_capacity, sizeof(scheduler::ActorEntry));
  place_chunks(header.scheduler.placements, config.placement_capacity, sizeof(scheduler::PlacementEntry));
  place_chunks(header.scheduler.bundles, config.bundle_capacity, sizeof(scheduler::BundleEntry));
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
  place_records(header.scheduler.actors, sizeof(scheduler::ActorEntry));
  place_records(header.scheduler.placements, sizeof(scheduler::PlacementEntry));
  place_records(header.scheduler.bundles, sizeof(scheduler::BundleEntry));
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

// Process numbers and start times mean something else in other namespaces: whoever lives there would be taken for dead.
bool is_of_these_namespaces(const ControlHeader& found) noexcept {
  return found.process_namespace == platform::process_namespace() && found.time_namespace == platform::time_namespace();
}

// Whether a region with that header, in a file of that size, is a domain of ours; its sizes are believed only then. `plan` receives the
// layout.
DomainFailure judge_header(const ControlHeader& found, DomainUsage usage, std::uint64_t file_bytes, bool joined,
                           ControlHeader& plan) noexcept {
  char boot_id[40];
  platform::read_boot_id(boot_id);
  const std::uint32_t version = found.version.load_acquire();
  if (version != 0 && found.magic == kMagic && version != kLayoutVersion) return {DomainError::kWrongVersion, 0, version, 0};
  if (version != kLayoutVersion || found.magic != kMagic || std::memcmp(boot_id, found.boot_id, sizeof(boot_id)) != 0 ||
      found.usage != static_cast<std::uint32_t>(usage)) {
    return {DomainError::kCorrupt};
  }
  if (!is_of_these_namespaces(found)) return {DomainError::kOtherNamespace};
  plan.config = found.config;
  if (!is_possible(plan.config)) return {DomainError::kCorrupt};
  const std::uint64_t expected = lay_out(plan);
  const std::uint64_t heap_bytes = plan.heap.page_count * kPage;
  plan.control_bytes = expected;
  plan.heap_bytes = heap_bytes;
  plan.heap_file_offset = joined ? expected : 0;
  plan.objects.nonce = found.objects.nonce;
  if (expected != found.control_bytes || heap_bytes != found.heap_bytes ||
      file_bytes != (joined ? expected + heap_bytes : expected) || found.heap_file_offset != plan.heap_file_offset ||
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
platform::ProcessNumber live_process(std::byte* region, const ControlHeader& layout) noexcept {
  auto& header = *reinterpret_cast<ControlHeader*>(region);
  if (const platform::ProcessNumber creator = live_creator(header); creator != 0) return creator;
  if (header.version.load_acquire() != kLayoutVersion) return 0;
  ProcessTable processes(region, &header.processes, layout.processes);
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
  if (!is_possible(plan.config)) return system_failure(-34 /* ERANGE */);
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
    if (found.error == DomainError::kForeign || found.error == DomainError::kOtherNamespace ||
        found.error == DomainError::kNoFile || found.error == DomainError::kSystem) {
      return found;
    }
    if (found.owner != 0) return {DomainError::kExists, 0, 0, found.owner};
    // Of a dead program: taken over.
    if (!joined) (void)platform::unlink_shared_file(heap_name);
    if (const int error = platform::unlink_shared_file(control_name); error != 0 && error != -2 /* ENOENT */)
      return system_failure(error);
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
  plan.process_namespace = platform::process_namespace();
  plan.time_namespace = platform::time_namespace();
  header().process_namespace = plan.process_namespace;  // before the creator: who finds one must know where its number counts
  header().time_namespace = plan.time_namespace;
  header().creator_start_time.store_release(platform::process_start_time(platform::current_process()));
  header().creator.store_release(platform::current_process());
  plan.creator.store_relaxed(platform::current_process());
  plan.creator_start_time.store_relaxed(header().creator_start_time.load_relaxed());
  plan.magic = kMagic;
  plan.user = platform::user_number();
  plan.usage = static_cast<std::uint32_t>(usage);
  platform::read_boot_id(plan.boot_id);
  platform::fill_random(&plan.objects.nonce, sizeof(plan.objects.nonce));
  plan.objects.nonce |= 1;
  Transaction::init(plan.scheduler.processors, config.processors != 0 ? config.processors : platform::processor_count());
  Transaction::init(plan.scheduler.running_limit, plan.scheduler.processors.get());
  Transaction::init(plan.scheduler.resources.shape_count, 1);
  std::strncpy(plan.scheduler.resources.resources[scheduler::kCpu].name, "CPU", 8);
  std::strncpy(plan.scheduler.resources.resources[scheduler::kGpu].name, "GPU", 8);
  std::memcpy(static_cast<void*>(region_), &plan, sizeof(plan));
  platform::unmap(region_, control_bytes);
  region_ = nullptr;
  if (const DomainFailure failure = map(control_file, heap_file, plan)) return fail(failure);
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
  if (control_file < 0) return open_failure(control_file);
  platform::Descriptor heap_file = -1;
  ControlHeader layout{};
  DomainFailure failure = check_control(control_file, joined, usage, layout);
  if (!failure) {
    heap_file = joined ? platform::duplicate_descriptor(control_file) : platform::open_shared_file(heap_name);
    if (heap_file < 0) failure = open_failure(heap_file);
  }
  if (!failure) return enter(control_file, heap_file, layout, kind);
  platform::close_descriptor(control_file);
  return failure;
}

DomainFailure Domain::attach_descriptors(platform::Descriptor control_file, platform::Descriptor heap_file, DomainUsage usage,
                                         ProcessKind kind) noexcept {
  ControlHeader layout{};
  if (const DomainFailure failure = check_control(control_file, false, usage, layout)) return failure;
  const platform::Descriptor own_control = platform::duplicate_descriptor(control_file);
  const platform::Descriptor own_heap = platform::duplicate_descriptor(heap_file);
  if (own_control >= 0 && own_heap >= 0) return enter(own_control, own_heap, layout, kind);
  platform::close_descriptor(own_control);
  platform::close_descriptor(own_heap);
  return system_failure(own_control < 0 ? own_control : own_heap);
}

DomainFailure Domain::check_control(platform::Descriptor control_file, bool joined, DomainUsage usage,
                                    ControlHeader& layout) noexcept {
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
    failure = judge_header(found, usage, facts.size_bytes, joined, layout);
    platform::unmap(first, sizeof(ControlHeader));
  }
  return failure;
}

DomainFailure Domain::open_to_look(const char* control_name, const char* heap_name, DomainUsage usage,
                                   DomainFiles& files) noexcept {
  const bool joined = std::strcmp(control_name, heap_name) == 0;
  const auto open = [](const char* name, platform::Descriptor& file, platform::FileFacts& facts) -> DomainFailure {
    file = platform::open_shared_file_for_reading(name);
    if (file == -13 /* EACCES */) return {DomainError::kForeign};
    if (file < 0) return open_failure(file);
    if (const int error = platform::file_facts(file, facts); error != 0) return system_failure(error);
    const bool ours = facts.user == platform::user_number() && (facts.mode & 077) == 0;
    return {ours ? DomainError::kNone : DomainError::kForeign};
  };
  platform::FileFacts facts{};
  DomainFailure failure = open(control_name, files.control, facts);
  if (!failure) {
    const std::unique_ptr<ControlHeader> found(new (std::nothrow) ControlHeader);
    const std::int64_t read = found == nullptr ? -12 : platform::read_file(files.control, 0, found.get(), sizeof(*found));
    if (read < 0) {
      failure = system_failure(static_cast<int>(read));
    } else if (read == sizeof(*found)) {
      ControlHeader layout{};
      failure = judge_header(*found, usage, facts.size_bytes, joined, layout);
    } else {
      failure.error = DomainError::kCorrupt;
    }
  }
  if (!failure) failure = open(heap_name, files.heap, facts);
  if (!failure) return {};
  platform::close_descriptor(files.control);
  platform::close_descriptor(files.heap);
  files = {};
  return failure;
}

DomainFailure Domain::enter(platform::Descriptor control_file, platform::Descriptor heap_file, const ControlHeader& layout,
                            ProcessKind kind) noexcept {
  platform::FileFacts facts{};
  DomainFailure failure{};
  if (platform::file_facts(heap_file, facts) != 0 || facts.user != platform::user_number() || (facts.mode & 077) != 0) {
    failure.error = DomainError::kForeign;
  }
  if (!failure && facts.size_bytes != layout.heap_file_offset + layout.heap_bytes) failure.error = DomainError::kCorrupt;
  if (failure) {
    platform::close_descriptor(control_file);
    platform::close_descriptor(heap_file);
    return failure;
  }
  failure = map(control_file, heap_file, layout);
  if (!failure) failure = join(kind);
  if (!failure) {
    try {
      const Transaction transaction(lock);
      if (!heads_are_sound(*this)) failure.error = DomainError::kCorrupt;
    } catch (const debug::Damage&) {  // now, or before
      failure.error = DomainError::kCorrupt;
    }
  }
  if (failure) detach();
  return failure;
}

void Domain::unlink(const char* control_name, const char* heap_name) noexcept {
  (void)platform::unlink_shared_file(heap_name);
  (void)platform::unlink_shared_file(control_name);
}

DomainFailure Domain::inspect(const char* control_name, DomainUsage& usage, bool may_wait) noexcept {
  const platform::Descriptor file = platform::open_shared_file(control_name);
  if (file < 0) return file == -13 /* EACCES */ ? DomainFailure{DomainError::kForeign} : open_failure(file);
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
    // Another version may keep the time namespace elsewhere.
    const bool is_other_version = failure && failure.found_version != 0;
    const bool is_elsewhere =
        found.creator.load_acquire() != 0 &&
        (is_other_version ? found.process_namespace != platform::process_namespace() : !is_of_these_namespaces(found));
    // Of another version only the creator's place is known; a live one must never be taken for damaged.
    ControlHeader layout{};  // without rows unless the header can be believed
    layout.config = found.config;
    const bool has_rows = is_domain && found.version.load_acquire() == kLayoutVersion;
    const bool has_layout = has_rows && is_possible(layout.config);
    const std::uint64_t laid_out_bytes = has_layout ? lay_out(layout) : 0;
    if ((is_domain || found.magic == 0) && is_elsewhere) {
      failure.error = DomainError::kOtherNamespace;
    } else if (has_layout != has_rows || laid_out_bytes > facts.size_bytes || (!is_domain && found.magic != 0)) {
      failure.error = DomainError::kCorrupt;
      if (is_domain) failure.owner = live_creator(found);
    } else {
      failure.owner = live_process(region, layout);
    }
    platform::unmap(region, facts.size_bytes);
  }
  platform::close_descriptor(file);
  return failure;
}

}  // namespace miniray::runtime
