// A section cut off after any number of its stores leaves, once repaired,
// exactly the state before it.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "heap_fixture.hpp"
#include "testing.hpp"

namespace {

constexpr std::uint32_t kDeadHolder = miniray::shm::LockWord::holder(7, 3);

// Puts the lock in the hand of a dead process whose section stopped after
// `stores` journaled stores, as SIGKILL would.
void abandon_after(HeapFixture& fixture, std::uint32_t stores, const std::vector<miniray::shm::JournalEntry>& journal) {
  // The section ran whole in `fixture`; take back what came after the cut, last
  // store first, keeping the journal.
  miniray::shm::LockBlock& block = fixture.lock.block();
  std::memcpy(block.journal, journal.data(), journal.size() * sizeof(journal[0]));
  for (std::size_t i = journal.size(); i > stores; --i) {
    std::byte* cell = fixture.region + (journal[i - 1].location >> 1);
    std::memcpy(cell, &journal[i - 1].old_value, (journal[i - 1].location & 1) != 0 ? 8 : 4);
  }
  block.journal_count.store_relaxed(stores);
  block.active.store_relaxed(block.committed.load_relaxed() + 1);
  block.word.store_relaxed(kDeadHolder);
  fixture.dead = true;
}

std::vector<std::byte> heap_state(const HeapFixture& fixture) {
  const std::byte* begin = fixture.region + HeapFixture::kHeaderOffset;
  const std::byte* end = fixture.region + HeapFixture::kRowsOffset + 4096 * sizeof(miniray::store::PageRow);
  return std::vector<std::byte>(begin, end);
}

template <class Step>
void every_cut_is_undone(Step step) {
  std::vector<miniray::shm::JournalEntry> journal;
  {
    HeapFixture probe(4096);
    (void)probe.allocate(100);
    step(probe);
    const auto& block = probe.lock.block();
    journal.assign(block.journal, block.journal + block.journal_count.load_relaxed());
  }
  EXPECT(journal.size() > 3);
  for (std::uint32_t stores = 0; stores <= journal.size(); ++stores) {
    HeapFixture fixture(4096);
    (void)fixture.allocate(100);
    const auto before = heap_state(fixture);
    step(fixture);
    EXPECT(heap_state(fixture) != before);
    abandon_after(fixture, stores, journal);
    EXPECT(fixture.lock.recover_from(kDeadHolder));
    EXPECT(heap_state(fixture) == before);
    EXPECT_VALID(fixture.heap);
    EXPECT(fixture.allocate(5000) != 0);  // and the lock is free
    EXPECT_VALID(fixture.heap);
  }
}

void a_waiter_steals_the_lock_of_a_dead_holder() {
  HeapFixture fixture(4096);
  fixture.lock.block().word.store_relaxed(kDeadHolder);
  fixture.dead = true;
  EXPECT(fixture.allocate(10) != 0);
  EXPECT(fixture.lock.block().repair_count.load_relaxed() == 1);
}

void threads_exclude_each_other() {
  HeapFixture fixture(8192);
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&fixture, t] {
      std::vector<std::uint64_t> mine;
      for (int i = 0; i < 2000; ++i) {
        const std::uint64_t size = 64 + static_cast<std::uint64_t>((i * 37 + t * 11) % 6000);
        const std::uint64_t offset = fixture.allocate(size);
        EXPECT(offset != 0);
        fixture.free(offset, size);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_VALID(fixture.heap);
  EXPECT(fixture.heap.used_bytes() == 0);
}

}  // namespace

int main() {
  every_cut_is_undone([](HeapFixture& fixture) { (void)fixture.allocate(100'000); });
  every_cut_is_undone([](HeapFixture& fixture) { (void)fixture.allocate(700); });
  a_waiter_steals_the_lock_of_a_dead_holder();
  threads_exclude_each_other();
}
