#include "runtime/observation.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace miniray::runtime {

namespace {

constexpr std::uint32_t kSettleLooks = 8;
constexpr std::uint32_t kFreeState = 0;
static_assert(static_cast<std::uint32_t>(ObjectState::kFree) == kFreeState);

// What must be equal in two copies of a row before it is believed.
bool is_same(const ObservedObject& object, const store::ObjectEntry& entry) noexcept {
  return object.generation == entry.generation.get() && object.state == entry.state.get() &&
         object.flags == entry.flags.get() && object.offset == entry.offset.get() &&
         object.size_bytes == entry.size_bytes.get() && object.contained_count == entry.contained_count.get();
}

void assign(ObservedObject& object, const store::ObjectEntry& entry) noexcept {
  object.state = entry.state.get();
  object.flags = entry.flags.get();
  object.offset = entry.offset.get();
  object.size_bytes = entry.size_bytes.get();
  object.references = entry.references.get();
  object.pins = entry.pins.get();
  object.contained_count = entry.contained_count.get();
  object.pair_bytes = entry.has(store::kSpilled) ? entry.spill_place().pair_bytes.get() : 0;
}

bool is_same_task(const scheduler::TaskEntry& one, const scheduler::TaskEntry& other) noexcept {
  return one.state.get() == other.state.get() && one.sequence.get() == other.sequence.get() &&
         one.function.get() == other.function.get() && one.arguments.get() == other.arguments.get() &&
         one.inline_references.get() == other.inline_references.get();
}

}  // namespace

PayloadPlace payload_place(std::uint32_t flags, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  if ((flags & store::kSpilled) != 0) return PayloadPlace::kSpilled;
  if (size_bytes == 0) return PayloadPlace::kNone;
  if (offset != 0) return PayloadPlace::kHeap;
  return size_bytes <= store::kInlineBytes ? PayloadPlace::kInline : PayloadPlace::kNone;
}

// --- reading -------------------------------------------------------------------------------------------------------

template <class T>
bool Observation::read(std::uint64_t offset, T* destination, std::uint64_t count) const noexcept {
  static_assert(shm::kShareable<T>);
  if (offset > control_bytes_ || count > (control_bytes_ - offset) / sizeof(T)) return false;
  const std::uint64_t size = count * sizeof(T);
  return platform::read_file(files_.control, offset, destination, size) == static_cast<std::int64_t>(size);
}

int Observation::begin(DomainFiles files) {
  files_ = files;
  platform::FileFacts facts{};
  if (const int error = platform::file_facts(files.heap, facts); error != 0) return error;
  heap_file_bytes_ = facts.size_bytes;
  if (const int error = platform::file_facts(files.control, facts); error != 0) return error;
  control_bytes_ = facts.size_bytes;
  header_.resize(1);
  return read(0, header_.data(), 1) ? 0 : -ENODATA;
}

std::vector<shm::SlotChunk> Observation::chunks(const shm::SlotTableHeader& table, std::uint64_t record_bytes) const {
  if (table.capacity == 0 || table.capacity > control_bytes_ / record_bytes) return {};
  std::vector<shm::SlotChunk> found(shm::chunk_count(table.capacity - 1, record_bytes));
  if (!read(table.chunks_offset, found.data(), found.size())) found.clear();
  return found;
}

std::uint32_t Observation::used(const shm::SlotTableHeader& table, std::uint64_t record_bytes) const {
  const std::vector<shm::SlotChunk> found = chunks(table, record_bytes);
  std::uint32_t count = 0;
  for (std::size_t number = 0; number < found.size(); ++number) {
    if (found[number].phase.get() != static_cast<std::uint32_t>(shm::ChunkPhase::kBacked)) continue;
    count += found[number].used_count.get() - (number == 0 ? 1 : 0);  // record 0 counts as used for ever
  }
  return count;
}

// Calls visit(index, copy, second copy) for each record that is in use in the first copy.
template <class R, class Visit>
void Observation::visit_rows(const shm::SlotTableHeader& table, Visit visit) const {
  constexpr std::uint32_t kRows = shm::SlotTable<R>::kChunkRows;
  const std::vector<shm::SlotChunk> found = chunks(table, sizeof(R));
  std::vector<R> rows(kRows);
  std::vector<R> again(kRows);
  for (std::size_t number = 0; number < found.size(); ++number) {
    if (found[number].phase.get() != static_cast<std::uint32_t>(shm::ChunkPhase::kBacked)) continue;
    if (found[number].used_count.get() == (number == 0 ? 1U : 0U)) continue;
    const auto begin = static_cast<Index>(number * kRows);
    const std::uint32_t count = std::min({found[number].fresh.get(), kRows, table.capacity - begin});
    const std::uint64_t offset = table.offset + std::uint64_t{begin} * sizeof(R);
    if (!read(offset, rows.data(), count) || !read(offset, again.data(), count)) continue;
    for (std::uint32_t row = begin == 0 ? 1 : 0; row < count; ++row) {
      if (!rows[row].is_free()) visit(begin + row, rows[row], again[row]);
    }
  }
}

std::vector<process::ProcessEntry> Observation::process_rows() const {
  const process::ProcessTableHeader& table = header().processes;
  std::vector<process::ProcessEntry> rows;
  if (table.capacity > control_bytes_ / sizeof(process::ProcessEntry)) return rows;
  rows.resize(std::min(table.high_water.load_relaxed(), table.capacity));
  if (!read(table.offset, rows.data(), rows.size())) rows.clear();
  return rows;
}

ObservedObject* Observation::find(Index slot) noexcept {
  const std::uint32_t position = slot < positions_.size() ? positions_[slot] : 0;
  return position == 0 ? nullptr : &objects_[position - 1];
}

// --- objects -------------------------------------------------------------------------------------------------------

std::vector<ObservedObject> Observation::objects() {
  list_objects();
  add_holders();
  add_task_counts();
  add_call_sites();
  keep_settled();
  add_container_counts();
  add_stream_counts();
  // A section may be under way at a row: one that frees a sealed object has taken its last reference first (O3) and is as good as done;
  // in one that makes an object, the size may still be the former one's.
  std::erase_if(objects_, [](const ObservedObject& object) {
    const bool is_whole = object.state == static_cast<std::uint32_t>(ObjectState::kSealed) ||
                          object.state == static_cast<std::uint32_t>(ObjectState::kError);
    return is_whole && object.references == 0 && (object.flags & store::kCached) == 0;
  });
  for (ObservedObject& object : objects_) {
    if (payload_place(object.flags, object.offset, object.size_bytes) == PayloadPlace::kNone) object.size_bytes = 0;
  }
  return std::move(objects_);
}

void Observation::list_objects() {
  const store::ObjectTableHeader& table = header().objects;
  objects_.clear();
  positions_.clear();
  visit_rows<store::ObjectEntry>(table.slots, [&](Index slot, const store::ObjectEntry& entry, const store::ObjectEntry&) {
    ObservedObject object{};
    object.slot = slot;
    object.generation = entry.generation.get();
    object.id = ObjectKey{slot, object.generation}.id(table.nonce);
    assign(object, entry);
    if ((object.flags & store::kOutsideId) != 0) object.id = {entry.id_high.get(), entry.id_low.get()};
    if (slot >= positions_.size()) positions_.resize(slot + 1U);
    objects_.push_back(std::move(object));
    positions_[slot] = static_cast<std::uint32_t>(objects_.size());
  });
}

void Observation::add_holders() {
  const store::ObjectTableHeader& table = header().objects;
  const std::vector<process::ProcessEntry> rows = process_rows();
  std::vector<shm::Cell<std::uint64_t>> words;
  std::vector<Index> held[2];
  for (std::size_t slot = 1; slot < rows.size(); ++slot) {
    const std::uint64_t word = rows[slot].identity.load_relaxed();
    const auto identity = process::Identity::unpack(word);
    if (identity.state == process::ProcessState::kFree) continue;
    for (const bool is_view : {false, true}) {
      held[is_view].clear();
      // Below its high water a process's row has pages; above, nothing was ever set.
      const std::uint32_t high_water = (is_view ? rows[slot].pin_high_water : rows[slot].hold_high_water).get();
      const std::uint64_t word_count = (std::uint64_t{std::min(high_water, table.slots.capacity)} + 63) / 64;
      const std::uint64_t offset = (is_view ? table.pin_rows_offset : table.hold_rows_offset) + slot * table.row_bytes;
      if (word_count * 8 > table.row_bytes || word_count > control_bytes_ / 8) continue;
      words.resize(word_count);
      if (!read(offset, words.data(), words.size())) continue;
      for (std::size_t position = 0; position < words.size(); ++position) {
        for (std::uint64_t bits = words[position].get(); bits != 0; bits &= bits - 1)
          held[is_view].push_back(static_cast<Index>(64 * position + static_cast<unsigned>(std::countr_zero(bits))));
      }
    }
    shm::Atomic<std::uint64_t> now{};
    if (!read(header().processes.offset + slot * sizeof(process::ProcessEntry) + offsetof(process::ProcessEntry, identity),
              &now, 1) ||
        now.load_relaxed() != word) {
      continue;  // it left meanwhile, so the bits may be a successor's
    }
    for (const bool is_view : {false, true}) {
      for (const Index index : held[is_view]) {
        if (ObservedObject* object = find(index); object != nullptr)
          object->holders.push_back({identity.number, identity.kind, is_view});
      }
    }
  }
}

void Observation::add_task_counts() {
  std::vector<const ObservedObject*> counted;  // of one task: what it names twice counts once
  const auto count = [&](Index slot, bool any_generation, std::uint32_t generation) {
    ObservedObject* object = find(slot);
    if (object == nullptr || (!any_generation && object->generation != generation)) return;
    if (std::find(counted.begin(), counted.end(), object) != counted.end()) return;
    counted.push_back(object);
    ++object->task_count;
  };
  visit_rows<scheduler::TaskEntry>(
      header().scheduler.tasks, [&](Index, const scheduler::TaskEntry& task, const scheduler::TaskEntry& again) {
        if (!is_same_task(task, again)) return;
        counted.clear();
        count(task.function.get(), false, task.function_generation.get());
        count(task.arguments.get(), true, 0);
        std::uint32_t pairs[scheduler::kInlineArgumentBytes / 4];
        std::memcpy(pairs, task.inline_bytes, sizeof(pairs));
        const std::uint32_t references = std::min<std::uint32_t>(task.inline_references.get(), sizeof(pairs) / 8);
        for (std::uint32_t i = 0; i < references; ++i) count(pairs[2 * i], false, pairs[2 * i + 1]);
      });
}

void Observation::add_call_sites() {
  const store::ObjectTableHeader& table = header().objects;
  if (table.call_sites_offset == 0) return;
  constexpr std::size_t kBatch = 1024;
  std::vector<store::CallSite> sites(kBatch);
  std::vector<store::CallSite> again(kBatch);
  for (std::size_t first = 0; first < positions_.size(); first += kBatch) {
    const std::size_t count = std::min(kBatch, positions_.size() - first);
    const std::uint64_t offset = table.call_sites_offset + first * sizeof(store::CallSite);
    if (!read(offset, sites.data(), count) || !read(offset, again.data(), count)) return;
    for (std::size_t i = 0; i < count; ++i) {
      ObservedObject* object = find(static_cast<Index>(first + i));
      // [CS], and what is being written right now is not shown.
      if (object == nullptr || sites[i].generation.load_relaxed() != object->generation) continue;
      if (std::memcmp(sites[i].text, again[i].text, sizeof(sites[i].text)) != 0) continue;
      const char* text = sites[i].text;
      object->call_site.assign(text, std::find(text, text + sizeof(sites[i].text), '\0'));
    }
  }
}

// Drops what went, and what would mix two objects [V2].
void Observation::keep_settled() {
  std::vector<bool> settled(objects_.size());
  visit_rows<store::ObjectEntry>(header().objects.slots,
                                 [&](Index slot, const store::ObjectEntry& entry, const store::ObjectEntry&) {
                                   ObservedObject* object = find(slot);
                                   if (object == nullptr || object->generation != entry.generation.get()) return;
                                   const bool same = is_same(*object, entry);
                                   if (same) assign(*object, entry);  // the newer counts
                                   settled[positions_[slot] - 1] = same || settle(*object);
                                 });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    const Index slot = objects_[i].slot;
    positions_[slot] = settled[i] ? static_cast<std::uint32_t>(kept) + 1 : 0;
    if (!settled[i]) continue;
    if (kept != i) objects_[kept] = std::move(objects_[i]);
    ++kept;
  }
  objects_.erase(objects_.begin() + static_cast<std::ptrdiff_t>(kept), objects_.end());
}

bool Observation::settle(ObservedObject& object) const {
  const std::uint64_t offset = header().objects.slots.offset + std::uint64_t{object.slot} * sizeof(store::ObjectEntry);
  store::ObjectEntry entry{};
  for (std::uint32_t look = 0; look < kSettleLooks; ++look) {
    if (!read(offset, &entry, 1) || entry.is_free() || entry.generation.get() != object.generation) return false;
    const bool same = look > 0 && is_same(object, entry);
    assign(object, entry);
    if (same) return true;
  }
  return false;
}

// The references inside an object stand at the end of its payload (store/object_table.hpp O6).
void Observation::add_container_counts() {
  const store::ObjectTableHeader& table = header().objects;
  std::vector<std::uint32_t> pairs;
  for (const ObservedObject& container : objects_) {
    const std::uint64_t list_bytes = std::uint64_t{container.contained_count} * 8;
    if (list_bytes == 0 || list_bytes > container.size_bytes) continue;
    const std::uint64_t row = table.slots.offset + std::uint64_t{container.slot} * sizeof(store::ObjectEntry);
    platform::Descriptor file = files_.control;
    std::uint64_t start = row + offsetof(store::ObjectEntry, inline_bytes) + container.size_bytes - list_bytes;
    switch (payload_place(container.flags, container.offset, container.size_bytes)) {
      case PayloadPlace::kInline:
        break;
      case PayloadPlace::kHeap:
        if (container.offset > heap_file_bytes_ || container.size_bytes > heap_file_bytes_ - container.offset) continue;
        file = files_.heap;
        start = header().heap_file_offset + container.offset + container.size_bytes - list_bytes;
        break;
      case PayloadPlace::kSpilled: {
        // They stayed in the heap, in a block of their own.
        const std::uint64_t block_bytes = container.pair_bytes;
        if (block_bytes < list_bytes || container.offset > heap_file_bytes_ ||
            block_bytes > heap_file_bytes_ - container.offset)
          continue;
        file = files_.heap;
        start = header().heap_file_offset + container.offset + block_bytes - list_bytes;
        break;
      }
      case PayloadPlace::kNone:
        continue;
    }
    pairs.resize(2ULL * container.contained_count);  // which lies within the file
    if (platform::read_file(file, start, pairs.data(), list_bytes) != static_cast<std::int64_t>(list_bytes)) continue;
    store::ObjectEntry entry{};
    if (!read(row, &entry, 1) || !is_same(container, entry)) continue;
    const ObservedObject* last = nullptr;
    for (std::uint32_t i = 0; i < container.contained_count; ++i) {
      ObservedObject* target = find(pairs[2ULL * i]);
      if (target == nullptr || target->generation != pairs[2ULL * i + 1] || target == last) continue;
      ++target->container_count;
      last = target;
    }
  }
}

// What was yielded and not taken hangs together from its stream (scheduler/stream_entry.hpp M1).
void Observation::add_stream_counts() {
  const shm::SlotTableHeader& table = header().objects.slots;
  visit_rows<store::ObjectEntry>(table, [&](Index, const store::ObjectEntry& stream, const store::ObjectEntry&) {
    if (!stream.has(store::kStream)) return;
    scheduler::StreamRecord record{};
    std::memcpy(&record, stream.inline_bytes, sizeof(record));
    Index item = stream.next_result.get();
    for (std::size_t count = 0; count < objects_.size() && item != kNone && item < positions_.size(); ++count) {
      if (ObservedObject* object = find(item); object != nullptr) ++object->container_count;
      store::ObjectEntry entry{};
      if (item == record.tail.get() || !read(table.offset + std::uint64_t{item} * sizeof(entry), &entry, 1)) break;
      item = entry.next_result.get();
    }
  });
}

// --- the rest ------------------------------------------------------------------------------------------------------

std::vector<ObservedProcess> Observation::processes() {
  std::vector<ObservedProcess> found;
  const std::vector<process::ProcessEntry> rows = process_rows();
  for (std::size_t slot = 1; slot < rows.size(); ++slot) {
    const auto identity = process::Identity::unpack(rows[slot].identity.load_relaxed());
    if (identity.state == process::ProcessState::kFree) continue;
    found.push_back(
        {identity.number, identity.kind, identity.state, rows[slot].worker_state.get(), rows[slot].tasks_run.load_relaxed()});
  }
  return found;
}

ObservedCounts Observation::counts() {
  return {used(header().objects.slots, sizeof(store::ObjectEntry)),
          used(header().scheduler.tasks, sizeof(scheduler::TaskEntry))};
}

}  // namespace miniray::runtime
