// Making room: nobody waits for ever, neither for a process that was stopped while it spilled nor for objects that cannot move; and a
// reader never believes a move that is undone.
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "runtime/spilling.hpp"
#include "runtime/write_guard.hpp"
#include "testing.hpp"

namespace {

namespace platform = miniray::platform;
using miniray::runtime::Domain;
using miniray::runtime::DomainConfig;
using miniray::runtime::DomainUsage;
using miniray::runtime::ObjectKey;
using miniray::runtime::ObjectState;
using miniray::runtime::ProcessKind;
using miniray::runtime::Reservation;
using miniray::runtime::ReserveResult;
using miniray::runtime::Transaction;
using miniray::shm::Index;
using miniray::shm::kNone;
using miniray::store::ObjectTable;
using miniray::store::PayloadView;
using miniray::store::SpillVictim;

constexpr std::uint64_t kPage = miniray::store::kPageBytes;
constexpr std::uint64_t kHeapPages = 256;

// Two handles, as of two processes.
struct Pair {
  Domain one;
  Domain other;
  explicit Pair(std::uint64_t heap_pages = kHeapPages) {
    DomainConfig config;
    config.object_capacity = config.task_capacity = 2000;
    config.process_capacity = 8;
    config.heap_bytes = heap_pages * kPage;
    config.spill_bytes = 16 << 20;
    EXPECT(!one.create("miniray_test-room_scheduler", "miniray_test-room_objectstore", config, DomainUsage::kSession,
                       ProcessKind::kDriver, true));
    EXPECT(!other.attach_descriptors(one.control_file(), one.heap_file(), DomainUsage::kSession, ProcessKind::kWorker));
    const platform::Descriptor file = platform::create_anonymous_file("test-spill", one.header().spill.page_count * kPage);
    EXPECT(one.set_spill_file(platform::duplicate_descriptor(file)) == 0);
    EXPECT(other.set_spill_file(file) == 0);
  }
};

Index create(Domain& domain) {
  EXPECT(domain.ensure_rows(1, 0, 0) == 0);
  Transaction transaction(domain.lock);
  const Index slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
  EXPECT(slot != kNone && domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot));
  return slot;
}

// A sealed object with references to `target`; kNone when the heap is full. Spills nothing.
Index make(Domain& domain, std::uint64_t value_bytes, std::uint32_t count = 0, Index target = kNone) {
  const Index slot = create(domain);
  EXPECT(domain.heap.ensure_rows(domain.heap.capacity_bytes()) == 0);
  Transaction transaction(domain.lock);
  if (domain.objects.reserve(transaction, slot, value_bytes + 8ULL * count, false) != miniray::store::AllocateResult::kDone) {
    EXPECT(domain.objects.unhold(transaction, domain.self(), slot));
    return kNone;
  }
  transaction.close();
  if (const std::uint64_t offset = domain.objects[slot].offset.get(); offset != 0)
    EXPECT(domain.heap.ensure_backed(offset, value_bytes) == 0);
  std::memset(domain.objects.payload_for_write(slot), static_cast<int>(slot), value_bytes);
  Transaction last(domain.lock);
  for (std::uint32_t i = 0; i < count; ++i) domain.objects.add_contained(last, slot, domain.objects.key(target));
  (void)domain.objects.seal(last, slot, ObjectState::kSealed);
  return slot;
}

void stopped_process_keeps_nobody_from_spilling() {
  Pair pair;
  while (make(pair.one, 8 * kPage) != kNone) {
  }
  SpillVictim victim[1];
  std::uint32_t count = 0;
  EXPECT(pair.other.spill.ensure_rows(1 << 20) == 0);
  {
    Transaction transaction(pair.other.lock);
    (void)pair.other.objects.begin_spill(transaction, pair.other.own_entry(), 1, victim, 1, count);
  }
  EXPECT(count == 1);  // and now it does not run
  const Index slot = create(pair.one);
  EXPECT((miniray::runtime::reserve_payload(pair.one, slot, {8 * kPage, 0, false}).result == ReserveResult::kInHeap));
  EXPECT_VALID(pair.one);
  Transaction transaction(pair.other.lock);
  (void)pair.other.objects.end_spill(transaction, pair.other.own_entry(), victim[0]);
}

// References stay in memory when their object goes to the file. Here no memory is left for them at first.
void objects_whose_references_find_no_room_do_not_spin_for_ever() {
  Pair pair;
  const Index target = make(pair.one, 8);
  std::vector<Index> made;
  for (Index slot = 0; (slot = make(pair.one, 5 * kPage - 8, 1, target)) != kNone;) made.push_back(slot);
  EXPECT(pair.one.heap.capacity_bytes() - pair.one.heap.used_bytes() < 4 * kPage);  // not even a slab
  const Index slot = create(pair.one);
  const Reservation room = miniray::runtime::reserve_payload(pair.one, slot, {4 * kPage, 0, false});
  EXPECT(room.result == ReserveResult::kInHeap || room.result == ReserveResult::kFull);
  EXPECT_VALID(pair.one);
}

// Memory of a large block is closed to writes of this process while it is an object, and a helper thread opens it again. Whoever copies
// references there under the lock must not come too early.
void references_are_not_copied_into_memory_that_is_still_closed() {
  for (int round = 0; round < 20; ++round) {
    Pair pair(1024);
    const Index target = make(pair.one, 8);
    const std::uint64_t block_bytes = 400 * kPage;
    const Index block = make(pair.one, block_bytes);
    while (make(pair.one, 5 * kPage - 8, 1, target) != kNone) {
    }
    std::byte* address = pair.one.objects.payload_for_write(block);
    miniray::runtime::forbid_writing(address, block_bytes);
    miniray::runtime::wait_for_ranges();
    miniray::runtime::expect_range(block_bytes);  // of another block: the helper looks again in some milliseconds
    miniray::runtime::allow_writing(address, block_bytes);
    {
      Transaction transaction(pair.one.lock);
      EXPECT(pair.one.objects.unhold(transaction, pair.one.self(), block));
    }
    EXPECT(miniray::runtime::make_room(pair.one, 8 * kPage).result == ReserveResult::kInHeap);
    miniray::runtime::expect_no_range(block_bytes);
    EXPECT_VALID(pair.one);
  }
}

// A section that moves an object is undone while another thread reads the row.
void reader_never_believes_a_move_that_is_undone() {
  const char* scale = std::getenv("MINIRAY_TEST_SCALE");
  const int rounds = static_cast<int>(300'000 * (scale == nullptr ? 1.0 : std::strtod(scale, nullptr)));
  Pair pair;
  const Index target = make(pair.one, 8);
  const Index slots[] = {make(pair.one, 1000), make(pair.one, 1000, 1, target)};
  std::atomic<bool> ends = false;
  std::thread reader([&] {
    std::vector<std::byte> copy(1000);
    while (!ends.load()) {
      for (const Index slot : slots) {
        PayloadView view;
        const ObjectKey key = pair.one.objects.key(slot);
        if (pair.one.objects.try_read(pair.one.lock, key, view) != ObjectTable::ReadResult::kReady) continue;
        EXPECT(view.value_bytes() == 1000);
        if (!pair.one.objects.try_copy(key, view, copy.data())) continue;
        for (const std::byte byte : copy) EXPECT(byte == static_cast<std::byte>(slot));
      }
    }
  });
  SpillVictim victims[2];
  std::uint32_t count = 0;
  EXPECT(pair.other.spill.ensure_rows(1 << 20) == 0);
  {
    Transaction transaction(pair.other.lock);
    (void)pair.other.objects.begin_spill(transaction, pair.other.own_entry(), 1 << 20, victims, 2, count);
  }
  EXPECT(count == 2);
  for (SpillVictim& victim : victims) victim.is_written = true;
  const std::uint32_t dead = miniray::shm::LockWord::holder(pair.other.self().slot, pair.other.self().generation);
  for (int round = 0; round < rounds; ++round) {
    alignas(Transaction) std::byte memory[sizeof(Transaction)];
    auto& transaction = *new (memory) Transaction(pair.other.lock);  // never ends
    EXPECT(pair.other.objects.end_spill(transaction, pair.other.own_entry(), victims[round % 2]));
    EXPECT(pair.one.lock.recover_from(dead));
  }
  ends.store(true);
  reader.join();
  EXPECT_VALID(pair.one);
  for (const SpillVictim& victim : victims) {
    Transaction transaction(pair.other.lock);
    (void)pair.other.objects.end_spill(transaction, pair.other.own_entry(), victim);
  }
}

}  // namespace

int main() {
  stopped_process_keeps_nobody_from_spilling();
  objects_whose_references_find_no_room_do_not_spin_for_ever();
  references_are_not_copied_into_memory_that_is_still_closed();
  reader_never_believes_a_move_that_is_undone();
}
