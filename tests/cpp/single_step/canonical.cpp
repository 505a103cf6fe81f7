#include "canonical.hpp"

namespace single_step {

namespace {

using namespace miniray;  // NOLINT(google-build-using-namespace): every layer is looked at here
using store::ObjectEntry;
using store::ObjectState;

class Writer {
 public:
  explicit Writer(const Image& image) : image_(image) {}
  void add(const char* what, std::uint64_t place, std::uint64_t value) { words.push_back({what, place, value}); }
  template <class T>
  void cell(const char* what, std::uint64_t place, const shm::Cell<T>& found) {
    add(what, place, static_cast<std::uint64_t>(found.get()));
  }
  // Zeros are left out: most of it is.
  void bytes(const char* what, std::uint64_t place, const void* data, std::size_t size) {
    for (std::size_t i = 0; i < size; i += 4) {
      std::uint32_t word = 0;
      std::memcpy(&word, static_cast<const std::byte*>(data) + i, 4);
      if (word != 0) add(what, place << 16 | i, word);
    }
  }
  template <class R, class Visit>
  void table(const char* what, const shm::SlotTableHeader& header, Visit visit) {
    constexpr std::uint32_t kRows = shm::SlotTable<R>::kChunkRows;
    cell(what, 0, header.open_head);
    cell(what, 1, header.empty_count);
    const auto* chunks = reinterpret_cast<const shm::SlotChunk*>(image_.region() + header.chunks_offset);
    const auto* rows = reinterpret_cast<const R*>(image_.region() + header.offset);
    for (std::uint32_t chunk = 0; chunk < header.chunk_count; ++chunk) {
      bytes(what, 1000 + chunk, &chunks[chunk], sizeof(shm::SlotChunk));
      if (chunks[chunk].phase.get() != static_cast<std::uint32_t>(shm::ChunkPhase::kBacked)) continue;
      for (std::uint32_t row = chunk == 0 ? 1 : 0; row < chunks[chunk].fresh.get(); ++row) {
        const std::uint64_t index = std::uint64_t{chunk} * kRows + row;
        if (rows[index].is_free()) {
          cell(what, index << 16, rows[index].next_free);
          if constexpr (requires { rows[index].generation; }) cell(what, index << 16 | 1, rows[index].generation);
        } else {
          visit(index, rows[index]);
        }
      }
    }
  }
  void heap(const char* what, const store::PageHeapHeader& header) {
    bytes(what, 0, &header, offsetof(store::PageHeapHeader, discard_wanted));
    const auto* rows = reinterpret_cast<const store::PageRow*>(image_.region() + header.rows_offset);
    for (std::uint64_t page = 0; page < header.page_count; ++page) bytes(what, page + 1, &rows[page], sizeof(store::PageRow));
  }

  std::vector<Word> words;

 private:
  const Image& image_;
};

void add_object(Writer& writer, const Image& image, std::uint64_t index, const ObjectEntry& entry) {
  const auto state = entry.current_state();
  writer.bytes("object", index, &entry, offsetof(ObjectEntry, inline_bytes));
  const bool is_whole = state == ObjectState::kSealed || state == ObjectState::kError;
  if (is_whole || entry.has(store::kStream) || entry.has(store::kSpilling) || entry.has(store::kSpilled))
    writer.bytes("object's inline bytes", index, entry.inline_bytes, sizeof(entry.inline_bytes));
  if (is_whole && entry.offset.get() != 0 && !entry.has(store::kSpilled))
    writer.bytes("object's payload", index, image.heap() + entry.offset.get(), entry.size_bytes.get() & ~3ULL);
}

void add_process(Writer& writer, std::uint64_t slot, const process::ProcessEntry& entry) {
  const shm::Cell<std::uint32_t>* cells[] = {
      &entry.worker_state,    &entry.lease,          &entry.idle_next, &entry.idle_previous, &entry.blocked_depth,
      &entry.hold_high_water, &entry.pin_high_water, &entry.spilling,  &entry.actor,         &entry.bundle};
  std::uint64_t position = 0;
  for (const auto* found : cells) writer.cell("process row", slot << 16 | position++, *found);
  writer.cell("process row", slot << 16 | position, entry.gpus);
}

void add_resources(Writer& writer, const scheduler::ResourcesHeader& header) {
  for (std::uint32_t i = 0; i < scheduler::kResourceCapacity; ++i) {
    writer.cell("resource", i << 1, header.resources[i].total);
    writer.cell("resource", i << 1 | 1, header.resources[i].available);
  }
  writer.bytes("GPUs", 0, &header.gpus, sizeof(header.gpus));
  writer.cell("shape count", 0, header.shape_count);
  writer.cell("free shape", 0, header.free_shape);
  writer.cell("queued count", 0, header.queued_count);
  writer.cell("environment count", 0, header.environment_count);
  for (std::uint32_t i = 0; i < scheduler::kEnvironmentCapacity; ++i) {
    writer.cell("environment", i << 1, header.environments[i].object);
    writer.cell("environment", i << 1 | 1, header.environments[i].idle_head);
  }
  for (std::uint32_t i = 0; i < scheduler::kShapeCapacity; ++i) {
    const scheduler::Shape& shape = header.shapes[i];
    const bool is_made = i < header.shape_count.get() && shape.bundle.get() != scheduler::kFreeShape;
    writer.bytes("shape", i, &shape, is_made ? sizeof(shape) : offsetof(scheduler::Shape, demands));
  }
}

}  // namespace

std::vector<Word> canonical(const Image& image) {
  Writer writer(image);
  const runtime::ControlHeader& header = image.header();
  const std::byte* region = image.region();
  const auto* processes = reinterpret_cast<const process::ProcessEntry*>(region + header.processes.offset);
  for (std::uint32_t slot = 1; slot < header.processes.capacity; ++slot) {
    add_process(writer, slot, processes[slot]);
    writer.bytes("holds", slot, region + header.objects.hold_rows_offset + slot * header.objects.row_bytes,
                 header.objects.row_bytes);
    writer.bytes("pins", slot, region + header.objects.pin_rows_offset + slot * header.objects.row_bytes,
                 header.objects.row_bytes);
  }
  writer.heap("heap", header.heap);
  writer.heap("spill file's places", header.spill);
  writer.table<ObjectEntry>("object table", header.objects.slots,
                            [&](std::uint64_t index, const ObjectEntry& entry) { add_object(writer, image, index, entry); });
  writer.cell("objects to reclaim", 0, header.objects.reclaim_head);
  writer.cell("oldest object", 0, header.objects.oldest);
  writer.cell("newest object", 0, header.objects.newest);
  writer.cell("listed objects", 0, header.objects.listed_count);
  writer.bytes("hash bucket", 0, region + header.objects.buckets_offset, 4ULL * header.objects.bucket_count);
  writer.table<scheduler::WaitNode>("wait nodes", header.waits.nodes, [&](std::uint64_t index, const auto& entry) {
    writer.bytes("wait node", index, &entry, sizeof(entry));
  });
  writer.table<scheduler::WaitGroup>("wait groups", header.waits.groups, [&](std::uint64_t index, const auto& entry) {
    writer.bytes("wait group", index, &entry, offsetof(scheduler::WaitGroup, wake));
  });
  writer.cell("registered workers", 0, header.workers.registered_count);
  writer.cell("registered workers", 1, header.workers.idle_count);
  writer.bytes("registered worker", 0, region + header.workers.offset,
               header.workers.bucket_count * sizeof(scheduler::WorkerBucket));
  writer.table<scheduler::TaskEntry>("task table", header.scheduler.tasks, [&](std::uint64_t index, const auto& entry) {
    writer.bytes("task", index, &entry, sizeof(entry));
  });
  writer.table<scheduler::ActorEntry>("actor table", header.scheduler.actors, [&](std::uint64_t index, const auto& entry) {
    writer.bytes("actor", index, &entry, sizeof(entry));
  });
  writer.table<scheduler::PlacementEntry>(
      "placement groups", header.scheduler.placements,
      [&](std::uint64_t index, const auto& entry) { writer.bytes("placement group", index, &entry, sizeof(entry)); });
  writer.table<scheduler::BundleEntry>("bundles", header.scheduler.bundles, [&](std::uint64_t index, const auto& entry) {
    writer.bytes("bundle", index, &entry, sizeof(entry));
  });
  writer.bytes("lists of placement groups", 0, &header.scheduler.waiting_placements, sizeof(scheduler::PlacementList));
  writer.bytes("lists of placement groups", 1, &header.scheduler.removed_placements, sizeof(scheduler::PlacementList));
  writer.cell("listed placement groups", 0, header.scheduler.listed_placements);
  writer.cell("dropped handles", 0, header.objects.dropped_head);
  add_resources(writer, header.scheduler.resources);
  const scheduler::SchedulerHeader& shared = header.scheduler;
  const shm::Cell<std::uint32_t>* cells[] = {&shared.idle_count, &shared.running_count, &shared.worker_count, &shared.notifying,
                                             &shared.ending,     &shared.lookout,       &shared.running_limit};
  std::uint64_t position = 0;
  for (const auto* found : cells) writer.cell("scheduler", position++, *found);
  writer.cell("sequence", 0, shared.next_sequence);
  writer.cell("finished count", 0, shared.finished_count);
  writer.cell("finished count", 1, shared.finished_at_look);
  return std::move(writer.words);
}

}  // namespace single_step
