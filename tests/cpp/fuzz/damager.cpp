#include "damager.hpp"

#include <algorithm>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

namespace fuzz {

namespace {

namespace store = miniray::store;
namespace scheduler = miniray::scheduler;
namespace shm = miniray::shm;

constexpr std::uint64_t kPage = platform::kPageBytes;

std::byte* region_of(Domain& domain) { return reinterpret_cast<std::byte*>(&domain.header()); }

}  // namespace

Damager::Damager(Dice& dice, Domain& domain, std::byte* payloads) : dice_(dice), lock_(domain.lock.block()) {
  const miniray::runtime::ControlHeader& header = domain.header();
  std::byte* region = region_of(domain);
  add(region, offsetof(miniray::runtime::ControlHeader, scheduler) + offsetof(scheduler::SchedulerHeader, death_notes) + 64, 6);
  add(region + header.lock_offset, offsetof(shm::LockBlock, journal), 1);
  add(region + header.processes.offset, std::uint64_t{domain.processes.high_water()} * sizeof(miniray::process::ProcessEntry),
      4);
  add_table<store::ObjectEntry>(region, header.objects.slots, 10);
  add_table<scheduler::TaskEntry>(region, header.scheduler.tasks, 8);
  add_table<scheduler::ActorEntry>(region, header.scheduler.actors, 5);
  add_table<scheduler::PlacementEntry>(region, header.scheduler.placements, 2);
  add_table<scheduler::BundleEntry>(region, header.scheduler.bundles, 2);
  add_table<scheduler::WaitNode>(region, header.waits.nodes, 3);
  add_table<scheduler::WaitGroup>(region, header.waits.groups, 1);
  const std::uint64_t used_bits = header.objects.slots.capacity / 8 + 8;
  for (const std::uint64_t rows : {header.objects.hold_rows_offset, header.objects.pin_rows_offset}) {
    for (Index slot = 1; slot < domain.processes.high_water(); ++slot)
      add(region + rows + slot * header.objects.row_bytes, used_bits, 1);
  }
  add(region + header.objects.buckets_offset, std::uint64_t{header.objects.bucket_count} * sizeof(Index), 1);
  add(region + header.workers.offset, std::uint64_t{header.workers.bucket_count} * sizeof(scheduler::WorkerBucket), 1);
  const auto used_rows = [](const store::PageHeapHeader& heap) {
    return std::min<std::uint64_t>(heap.high_page.get() + 2ULL, heap.page_count) * sizeof(store::PageRow);
  };
  add(region + header.heap.rows_offset, used_rows(header.heap), 6);
  add(region + header.spill.rows_offset, used_rows(header.spill), 2);
  if (header.heap.high_page.get() > 1) add(payloads + kPage, (header.heap.high_page.get() - 1) * kPage, 2);
}

void Damager::add(std::byte* start, std::uint64_t size_bytes, int weight) {
  for (; weight > 0; --weight) ranges_.push_back({start, size_bytes});
}

template <class R>
void Damager::add_table(std::byte* region, const shm::SlotTableHeader& table, int weight) {
  const auto* chunks = reinterpret_cast<const shm::SlotChunk*>(region + table.chunks_offset);
  add(region + table.chunks_offset, table.chunk_count * sizeof(shm::SlotChunk), 1);
  const std::uint32_t used = std::min(chunks[0].fresh.get() + 1, table.capacity);
  add(region + table.offset, std::uint64_t{used} * sizeof(R), weight);
}

// An undone section may write any word of the tables, but none outside.
void Damager::change_journal() {
  const std::uint32_t count = lock_.journal_count.load_relaxed();
  shm::JournalEntry& entry = lock_.journal[dice_.below(std::clamp(count, 1U, shm::kJournalCapacity))];
  switch (dice_.below(4)) {
    case 0:
      entry.location |= dice_.word() << 32;
      break;
    case 1:
      entry.location += 2;
      break;
    case 2:
      entry.location ^= 1;
      break;
    default:
      entry.old_value = dice_.word();
  }
}

void Damager::change_one() {
  if (dice_.one_in(60)) return change_journal();
  const Range range = ranges_[dice_.below(static_cast<std::uint32_t>(ranges_.size()))];
  const auto place = [&](std::uint64_t size) { return range.start + dice_.word() % (range.size_bytes / size) * size; };
  switch (dice_.below(8)) {
    case 0:
    case 1: {
      std::byte* byte = place(1);
      *byte ^= static_cast<std::byte>(1U << dice_.below(8));
      break;
    }
    case 2:
      *place(1) = static_cast<std::byte>(dice_.word());
      break;
    case 3: {
      const auto word = static_cast<std::uint32_t>(dice_.word());
      std::memcpy(place(4), &word, sizeof(word));
      break;
    }
    case 4: {  // an index or a state that there is
      const std::uint32_t word = dice_.below(dice_.one_in(2) ? 8 : 300);
      std::memcpy(place(4), &word, sizeof(word));
      break;
    }
    case 5: {  // what stands elsewhere in the table: lists that cross, rows that are there twice
      std::byte copy[64];
      const std::uint64_t size = range.size_bytes >= 64 && dice_.one_in(3) ? 64 : 4;
      std::memcpy(copy, place(size), size);
      std::memcpy(place(size), copy, size);
      break;
    }
    case 6: {
      const std::uint64_t interesting[] = {0, 1, ~0ULL, 1ULL << 31, 1ULL << 32, ~0ULL >> 1, kPage, dice_.word()};
      const std::uint64_t word = interesting[dice_.below(8)];
      std::memcpy(place(8), &word, sizeof(word));
      break;
    }
    default: {  // one more, one less
      std::uint32_t word = 0;
      std::byte* target = place(4);
      std::memcpy(&word, target, sizeof(word));
      word += dice_.one_in(2) ? 1U : 0xFFFFFFFFU;
      std::memcpy(target, &word, sizeof(word));
    }
  }
}

Fences::Fences(Domain& domain) {
  const miniray::runtime::ControlHeader& header = domain.header();
  const std::byte* region = region_of(domain);
  const std::uint64_t starts[] = {header.lock_offset,
                                  header.processes.offset,
                                  header.workers.offset,
                                  header.objects.slots.chunks_offset,
                                  header.scheduler.tasks.chunks_offset,
                                  header.scheduler.actors.chunks_offset,
                                  header.scheduler.placements.chunks_offset,
                                  header.scheduler.bundles.chunks_offset,
                                  header.waits.nodes.chunks_offset,
                                  header.waits.groups.chunks_offset,
                                  header.objects.slots.offset,
                                  header.objects.hold_rows_offset,
                                  header.objects.pin_rows_offset,
                                  header.objects.buckets_offset,
                                  header.scheduler.tasks.offset,
                                  header.scheduler.actors.offset,
                                  header.scheduler.placements.offset,
                                  header.scheduler.bundles.offset,
                                  header.waits.nodes.offset,
                                  header.waits.groups.offset,
                                  header.heap.rows_offset,
                                  header.spill.rows_offset,
                                  header.control_bytes};
  // Behind the last word of each table, up to the page that the next one begins on.
  const auto fence = [&](std::uint64_t start, std::uint64_t size_bytes) {
    std::uint64_t end = header.control_bytes;
    for (const std::uint64_t other : starts) {
      if (other > start && other < end) end = other;
    }
    add(region + start + size_bytes, region + end);
  };
  const auto fence_table = [&](const shm::SlotTableHeader& table, std::uint64_t record) {
    fence(table.chunks_offset, table.chunk_count * sizeof(shm::SlotChunk));
    fence(table.offset, table.capacity * record);
  };
  fence(header.lock_offset, sizeof(shm::LockBlock));
  fence(header.processes.offset, std::uint64_t{header.processes.capacity} * sizeof(miniray::process::ProcessEntry));
  fence(header.workers.offset, std::uint64_t{header.workers.bucket_count} * sizeof(scheduler::WorkerBucket));
  fence_table(header.objects.slots, sizeof(store::ObjectEntry));
  fence_table(header.scheduler.tasks, sizeof(scheduler::TaskEntry));
  fence_table(header.scheduler.actors, sizeof(scheduler::ActorEntry));
  fence_table(header.scheduler.placements, sizeof(scheduler::PlacementEntry));
  fence_table(header.scheduler.bundles, sizeof(scheduler::BundleEntry));
  fence_table(header.waits.nodes, sizeof(scheduler::WaitNode));
  fence_table(header.waits.groups, sizeof(scheduler::WaitGroup));
  fence(header.objects.buckets_offset, std::uint64_t{header.objects.bucket_count} * sizeof(Index));
  fence(header.heap.rows_offset, header.heap.page_count * sizeof(store::PageRow));
  fence(header.spill.rows_offset, header.spill.page_count * sizeof(store::PageRow));
  add(domain.heap_read(), domain.heap_read() + kPage);
}

void Fences::add(const std::byte* start, const std::byte* end) {
  // AddressSanitizer's shadow has a byte for eight.
  const auto skip = static_cast<std::uint64_t>(-reinterpret_cast<std::intptr_t>(start) & 7);
  if (start + skip >= end) return;
  fences_.emplace_back(start + skip, static_cast<std::uint64_t>(end - start) - skip);
  ASAN_POISON_MEMORY_REGION(fences_.back().first, fences_.back().second);
}

Fences::~Fences() {
  for (const auto& [start, size_bytes] : fences_) ASAN_UNPOISON_MEMORY_REGION(start, size_bytes);
}

}  // namespace fuzz
