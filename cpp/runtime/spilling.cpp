#include "runtime/spilling.hpp"

#include <algorithm>

#include "runtime/write_guard.hpp"
#include "store/checksum.hpp"

namespace miniray::runtime {

namespace {

using store::AllocateResult;
using store::SpillVictim;

constexpr std::uint32_t kBatch = 64;                // objects of one section
constexpr std::uint64_t kBatchBytes = 64ULL << 20;  // spilled at once, so that the next put finds room too
constexpr std::uint64_t kPieceBytes = 4ULL << 20;   // written and summed while it is in the cache
constexpr std::int64_t kFreedWaitNs = 2'000'000;    // between two looks at what others free
constexpr std::uint64_t kStuckNs = 100'000'000;     // without anything freed: who spills may have been stopped
constexpr std::uint64_t kPatienceNs = 300'000'000;  // for others to free memory, when nothing may be spilled
constexpr std::uint64_t kFreshBytes = 1ULL << 20;   // smaller payloads are not worth a system call for each buffer
constexpr std::uint64_t kFreshReserveBytes = 16ULL << 20;
constexpr int kNoSpace = -28, kNoMemory = -12;  // ENOSPC, ENOMEM: the same numbers everywhere

bool write_victim(Domain& domain, SpillVictim& victim, int& error) {
  std::uint64_t done = 0;
  std::uint32_t sum = static_cast<std::uint32_t>(domain.objects.nonce());
  while (done < victim.value_bytes) {
    const std::uint64_t piece = std::min(kPieceBytes, victim.value_bytes - done);
    sum = store::checksum(victim.payload + done, piece, sum);
    MINIRAY_FAULT_POINT("spill.writing");
    error = platform::write_file(domain.spill_file(), victim.file_offset + done, victim.payload + done, piece);
    if (error != 0) return false;
    done += piece;
  }
  victim.checksum = sum;
  victim.is_written = true;
  return true;
}

// In other processes or other threads; the caller spills nothing just now.
bool others_spill(Domain& domain) {
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    if (domain.processes[slot].spilling.get() != kNone) return true;
  }
  return false;
}

void wait_for_freed(Domain& domain) {
  const auto& freed = domain.header().memory_freed;
  (void)platform::wait_on_word(freed.address(), freed.load_acquire(), kFreedWaitNs);
}

// Waits while others spill. False: they do not, or free nothing for so long that they may have been stopped; then nobody should wait
// for them.
bool wait_for_others(Domain& domain, std::uint64_t& freed_count, std::uint64_t& stuck_at) {
  if (!others_spill(domain)) return false;
  const std::uint64_t now = platform::monotonic_ns();
  if (const std::uint32_t count = domain.header().memory_freed.load_acquire(); count != freed_count) {
    freed_count = count;
    stuck_at = now + kStuckNs;
  }
  if (now >= stuck_at) return false;
  wait_for_freed(domain);
  return true;
}

// Ends a victim's way to the file. Its contained references may be copied into memory that another thread of this process has just
// freed and that is still closed to writes here (write_guard.hpp): such a range was queued before it was freed, so that none is left
// under the lock means that no free memory is closed.
bool end_victim(Domain& domain, const SpillVictim& victim) {
  for (;;) {
    wait_for_ranges();
    Transaction transaction(domain.lock);
    if (!has_ranges()) return domain.objects.end_spill(transaction, domain.own_entry(), victim);
  }
}

// In the spill file. kFull: no place, or no memory for the contained references.
Reservation reserve_in_file(Domain& domain, Index object, std::uint64_t size_bytes, std::uint32_t contained_count) {
  const store::SpillPlace& place = domain.objects[object].spill_place();
  AllocateResult result = AllocateResult::kNeedsBacking;
  while (result == AllocateResult::kNeedsBacking) {
    if (const int error = domain.spill.ensure_rows(size_bytes); error != 0) return {ReserveResult::kSystem, error};
    Transaction transaction(domain.lock);
    result = domain.objects.reserve_in_file(transaction, object, size_bytes, contained_count);
  }
  if (result == AllocateResult::kFull) return {ReserveResult::kFileFull};
  const std::uint64_t offset = place.offset.get();
  const std::uint64_t value_bytes = place.value_bytes.get();
  MINIRAY_SOUND(domain.spill.is_valid_range(offset, value_bytes), "objects: a payload lies outside of the spill file");
  const int error = platform::reserve_file_space(domain.spill_file(), offset, value_bytes);
  if (error == 0) return {ReserveResult::kInFile};
  Transaction transaction(domain.lock);
  domain.objects.discard_payload(transaction, object);
  return {ReserveResult::kDiskFull, error};
}

}  // namespace

Reservation make_room(Domain& domain, std::uint64_t wanted_bytes) {
  const std::uint64_t wanted = std::max(wanted_bytes, std::min(kBatchBytes, domain.heap.capacity_bytes() / 16));
  Reservation outcome{ReserveResult::kFull};
  std::uint64_t freed = 0;
  std::uint32_t stayed = 0;  // in a row: objects that somebody looks at, or whose references find no room in memory
  while (freed < wanted && stayed <= domain.objects.listed_count()) {
    MINIRAY_SOUND(domain.objects.listed_count() <= domain.objects.slots.capacity(),
                  "objects: the count of those that may go differs from the list");
    SpillVictim victims[kBatch];
    std::uint32_t count = 0;
    AllocateResult result = AllocateResult::kDone;
    if (const int error = domain.spill.ensure_rows(wanted - freed); error != 0) return {ReserveResult::kSystem, error};
    {
      Transaction transaction(domain.lock);
      result = domain.objects.begin_spill(transaction, domain.own_entry(), wanted - freed, victims, kBatch, count);
    }
    if (result == AllocateResult::kNeedsBacking) {
      // One large object: rows for it.
      if (const int error = domain.spill.ensure_rows(domain.heap.capacity_bytes()); error != 0)
        return {ReserveResult::kSystem, error};
      continue;
    }
    if (count == 0) {
      if (result == AllocateResult::kFull) outcome = {ReserveResult::kFileFull};
      break;
    }
    MINIRAY_FAULT_POINT("spill.begun");
    int error = 0;
    for (std::uint32_t i = 0; i < count && error == 0; ++i) (void)write_victim(domain, victims[i], error);
    MINIRAY_FAULT_POINT("spill.written");
    for (std::uint32_t i = 0; i < count; ++i) {
      if (end_victim(domain, victims[i])) {
        freed += victims[i].value_bytes;
        stayed = 0;
      } else {
        ++stayed;
      }
    }
    domain.header().memory_freed.fetch_add_ordered(1);
    platform::wake_word(domain.header().memory_freed.address(), 1 << 30);
    if (error != 0) {
      outcome = {ReserveResult::kDiskFull, error};
      break;
    }
  }
  domain.reclaim();
  return freed != 0 ? Reservation{ReserveResult::kInHeap} : outcome;
}

Reservation try_reserve_payload(Domain& domain, Index object, std::uint64_t size_bytes) {
  if (const int error = domain.heap.ensure_rows(size_bytes); error != 0) return {ReserveResult::kSystem, error};
  Transaction transaction(domain.lock);
  AllocateResult result = domain.objects.reserve(transaction, object, size_bytes, false, false);
  return {result == AllocateResult::kDone ? ReserveResult::kInHeap : ReserveResult::kFull};
}

Reservation reserve_payload(Domain& domain, Index object, const PayloadDemand& demand) {
  const std::uint64_t size_bytes = demand.size_bytes;
  if (size_bytes > domain.heap.capacity_bytes()) {
    if (!domain.can_spill() || !demand.may_use_file) return {ReserveResult::kTooLarge};
    return reserve_in_file(domain, object, size_bytes, demand.contained_count);
  }
  const std::uint64_t give_up_at = platform::monotonic_ns() + kPatienceNs;
  std::uint64_t freed_count = ~0ULL;
  std::uint64_t stuck_at = 0;
  bool may_grow = demand.may_grow;
  int growth_error = 0;
  for (;;) {
    if (const int error = domain.heap.ensure_rows(size_bytes); error != 0) return {ReserveResult::kSystem, error};
    AllocateResult result = AllocateResult::kDone;
    {
      Transaction transaction(domain.lock);
      result = domain.objects.reserve(transaction, object, size_bytes, false, may_grow);
    }
    if (result == AllocateResult::kNeedsBacking) continue;
    if (result == AllocateResult::kDone) {
      if (domain.objects.is_backed(object)) return {ReserveResult::kInHeap};
      const std::uint64_t offset = domain.objects[object].offset.get();
      // Not where the file system is nearly full: a write that fails half-way leaves pages, and others need the last ones.
      const bool is_fresh = demand.may_be_fresh && size_bytes >= kFreshBytes &&
                            platform::file_system_free_bytes(domain.heap_file()) / 2 > size_bytes + kFreshReserveBytes;
      growth_error = is_fresh ? domain.may_grow_heap(offset, size_bytes) : domain.grow_heap(offset, size_bytes);
      if (growth_error == 0) return {is_fresh ? ReserveResult::kInFreshHeap : ReserveResult::kInHeap};
      {
        Transaction transaction(domain.lock);
        domain.objects.discard_payload(transaction, object);
      }
      if (growth_error != kNoSpace && growth_error != kNoMemory) return {ReserveResult::kSystem, growth_error};
      may_grow = false;
      continue;
    }
    if (domain.objects.has_reclaimable()) {
      domain.reclaim();
      continue;
    }
    if (wait_for_others(domain, freed_count, stuck_at)) continue;
    Reservation room{ReserveResult::kFull};
    if (domain.can_spill()) {
      room = make_room(domain, size_bytes);
      if (room.result == ReserveResult::kInHeap) continue;
      if (room.result == ReserveResult::kFull && demand.may_use_file)
        room = reserve_in_file(domain, object, size_bytes, demand.contained_count);
      if (room.result == ReserveResult::kInFile || room.result == ReserveResult::kSystem) return room;
    }
    // Full, and the disk too: what others look at or write may go in a moment.
    if (platform::monotonic_ns() >= give_up_at) return {room.result, room.system_error != 0 ? room.system_error : growth_error};
    wait_for_freed(domain);
  }
}

bool spilled_is_intact(Domain& domain, Index object) {
  const store::SpillPlace& place = domain.objects[object].spill_place();
  const store::PayloadView view = domain.objects.view(object);
  std::uint32_t sum = static_cast<std::uint32_t>(domain.objects.nonce());
  const std::uint64_t size = view.value_bytes();
  for (std::uint64_t done = 0; done < size;) {
    const std::uint64_t piece = std::min(kPieceBytes, size - done);
    if (!platform::populate_for_read(view.data + done, piece)) return false;
    sum = store::checksum(view.data + done, piece, sum);
    done += piece;
  }
  return sum == place.checksum.get();
}

void FreshWriter::begin(Domain& domain, Index object) {
  const store::ObjectEntry& entry = domain.objects[object];
  file_ = domain.heap_file();
  offset_ = entry.offset.get();
  size_bytes_ = entry.size_bytes.get();
  MINIRAY_SOUND(domain.heap.is_valid_range(offset_, size_bytes_), "objects: a payload lies outside");
  start_ = domain.heap_file_offset() + offset_;
  error_ = 0;
}

void FreshWriter::write(std::uint64_t position, const void* data, std::uint64_t size_bytes) {
  if (error_ == 0) error_ = platform::write_file(file_, start_ + position, data, size_bytes);
}

int FreshWriter::finish(Domain& domain, Index object) {
  if (error_ == 0) error_ = domain.heap.ensure_backed(offset_, size_bytes_);
  if (error_ != 0) {
    Transaction transaction(domain.lock);
    domain.objects.discard_payload(transaction, object);
  }
  return error_;
}

std::byte* PayloadWindow::open(Domain& domain, Index object) {
  const store::SpillPlace& place = domain.objects[object].spill_place();
  const std::uint64_t offset = place.offset.get();
  size_bytes_ = place.value_bytes.get();
  MINIRAY_SOUND(domain.spill.is_valid_range(offset, size_bytes_), "objects: a payload lies outside of the spill file");
  const std::uint64_t skip = offset % platform::kPageBytes;
  mapping_bytes_ = skip + size_bytes_;
  if (!platform::is_same_file(domain.spill_file())) return nullptr;
  mapping_ = platform::map_part(domain.spill_file(), offset - skip, mapping_bytes_);
  payload_ = mapping_ == nullptr ? nullptr : mapping_ + skip;
  return payload_;
}

void PayloadWindow::finish(Domain& domain, Index object) {
  const std::uint32_t sum = store::checksum(payload_, size_bytes_, static_cast<std::uint32_t>(domain.objects.nonce()));
  {
    Transaction transaction(domain.lock);
    domain.objects.set_checksum(transaction, object, sum);
  }
  close();
}

void PayloadWindow::close() {
  platform::unmap(mapping_, mapping_bytes_);
  mapping_ = payload_ = nullptr;
}

}  // namespace miniray::runtime
