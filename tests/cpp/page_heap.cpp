// Random allocations and frees: nothing overlaps, validate() holds after every
// step, everything comes back, rebuild() equals.
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "heap_fixture.hpp"
#include "testing.hpp"

namespace {

void blocks_never_overlap_and_all_memory_returns(unsigned seed, bool discards) {
  HeapFixture fixture(4096, discards);
  std::mt19937 random(seed);
  std::map<std::uint64_t, std::uint64_t> live;  // offset -> size
  for (int step = 0; step < 4000; ++step) {
    if (live.empty() || random() % 5 < 3) {
      const std::uint64_t size = random() % 4 == 0 ? 1 + random() % 200'000 : 1 + random() % 3000;
      const std::uint64_t offset = fixture.allocate(size);
      if (offset != 0) {
        EXPECT(offset % miniray::store::kBlockAlignment == 0);
        const auto next = live.lower_bound(offset);
        EXPECT(next == live.end() || offset + size <= next->first);
        EXPECT(next == live.begin() || std::prev(next)->first + std::prev(next)->second <= offset);
        live.emplace(offset, size);
      }
    } else {
      auto victim = live.begin();
      std::advance(victim, static_cast<long>(random() % live.size()));
      fixture.free(victim->first, victim->second);
      live.erase(victim);
    }
    if (random() % 8 == 0) (void)fixture.discard();
    EXPECT_VALID(fixture.heap);
  }
  {
    miniray::shm::Transaction transaction(fixture.lock);
    fixture.heap.rebuild(transaction);
  }
  EXPECT_VALID(fixture.heap);
  for (const auto& [offset, size] : live) fixture.free(offset, size);
  EXPECT_VALID(fixture.heap);
  EXPECT(fixture.heap.used_bytes() == 0);
}

void a_full_heap_says_so_and_works_again_after_a_free() {
  HeapFixture fixture(65);
  EXPECT(fixture.allocate(65 * 4096) == 0);
  const std::uint64_t all = fixture.allocate(64 * 4096);
  EXPECT(all != 0);
  EXPECT(fixture.allocate(1) == 0);
  EXPECT_VALID(fixture.heap);
  fixture.free(all, 64 * 4096);
  EXPECT(fixture.allocate(1) != 0);
}

std::uint64_t trim(HeapFixture& fixture) {
  std::uint32_t keep = 0;
  {
    miniray::shm::Transaction transaction(fixture.lock);
    keep = fixture.heap.begin_trim(transaction);
  }
  std::uint64_t total = 0;
  for (std::uint64_t bytes = 1; bytes != 0; total += bytes) {
    const miniray::shm::Transaction transaction(fixture.lock);
    bytes = fixture.heap.trim_part(transaction, keep);
  }
  EXPECT_VALID(fixture.heap);
  return total;
}

void memory_that_stays_free_goes_back_to_the_system() {
  constexpr std::uint64_t kMegabyte = 1U << 20;
  HeapFixture fixture(256 * kMegabyte / 4096);
  const auto resident = [&] { return miniray::platform::file_resident_bytes(fixture.heap_file); };
  const std::uint64_t small = fixture.allocate(kMegabyte);
  const std::uint64_t large = fixture.allocate(160 * kMegabyte);
  EXPECT(fixture.heap.ensure_backed(small, kMegabyte) == 0 && fixture.heap.ensure_backed(large, 160 * kMegabyte) == 0);
  EXPECT(resident() >= 161 * kMegabyte && fixture.trim_wanted.load_relaxed() == 0);
  fixture.free(large, 160 * kMegabyte);
  EXPECT(fixture.trim_wanted.load_relaxed() == 1);
  EXPECT(trim(fixture) == 0);  // it was used since the last time
  const std::uint64_t given = trim(fixture);
  EXPECT(given > 70 * kMegabyte && given < 75 * kMegabyte);  // half of what is above the spare of 16
  EXPECT(resident() <= 161 * kMegabyte + 64 * 4096 - given);
  while (fixture.heap.is_trimmable()) EXPECT(trim(fixture) != 0);
  EXPECT(resident() >= 17 * kMegabyte && resident() < 22 * kMegabyte);
  EXPECT(trim(fixture) == 0 && fixture.heap.is_backed(small, kMegabyte));
  const std::uint64_t again = fixture.allocate(160 * kMegabyte);
  EXPECT(again == large && !fixture.heap.is_backed(again, 160 * kMegabyte));
  EXPECT(fixture.heap.ensure_backed(again, 160 * kMegabyte) == 0 && fixture.heap.is_backed(again, 160 * kMegabyte));
  EXPECT(resident() >= 161 * kMegabyte && trim(fixture) == 0);
}

void memory_below_what_is_used_stays() {
  constexpr std::uint64_t kMegabyte = 1U << 20;
  HeapFixture fixture(256 * kMegabyte / 4096);
  const std::uint64_t below = fixture.allocate(160 * kMegabyte);
  const std::uint64_t above = fixture.allocate(kMegabyte);
  EXPECT(fixture.heap.ensure_backed(below, 160 * kMegabyte) == 0 && fixture.heap.ensure_backed(above, kMegabyte) == 0);
  fixture.free(below, 160 * kMegabyte);
  EXPECT(!fixture.heap.is_trimmable() && trim(fixture) == 0 && trim(fixture) == 0);
  fixture.free(above, kMegabyte);
  EXPECT(fixture.heap.is_trimmable() && trim(fixture) == 0 && trim(fixture) != 0);
}

void memory_freed_last_is_used_first() {
  HeapFixture fixture(4096);
  const std::uint64_t first = fixture.allocate(1 << 20);
  fixture.free(first, 1 << 20);
  EXPECT(fixture.allocate(1 << 20) == first);
}

void memory_used_before_comes_before_the_wilderness() {
  HeapFixture fixture(4096);
  const std::uint64_t first = fixture.allocate(1 << 20);
  const std::uint64_t wall = fixture.allocate(100'000);
  EXPECT(first != 0 && wall > first);
  fixture.free(first, 1 << 20);
  EXPECT(fixture.allocate(200'000) < wall);
  EXPECT(fixture.allocate(300'000) < wall);
}

void what_may_not_grow_takes_backed_pages_only() {
  HeapFixture fixture(4096);
  const std::uint64_t first = fixture.allocate(1 << 20);
  EXPECT(fixture.heap.ensure_backed(first, 1 << 20) == 0);
  EXPECT(fixture.allocate(2 << 20, false) == 0);
  fixture.free(first, 1 << 20);
  EXPECT(fixture.allocate(2 << 20, false) == 0);
  EXPECT(fixture.allocate(1 << 20, false) == first);
}

void last_small_block_gives_its_disk_space_back() {
  HeapFixture fixture(65, true);
  fixture.free(fixture.allocate(500), 500);
  EXPECT(fixture.heap.has_discards());
  while (fixture.discard()) {
  }
  EXPECT(fixture.allocate(64 * 4096) != 0);
  EXPECT_VALID(fixture.heap);
}

void a_run_to_discard_waits_for_its_turn_or_for_need() {
  HeapFixture fixture(65, true);
  const std::uint64_t all = fixture.allocate(64 * 4096);
  fixture.free(all, 64 * 4096);
  EXPECT(fixture.heap.discard_wanted().load_relaxed() == 1);
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  {
    miniray::shm::Transaction transaction(fixture.lock);
    EXPECT(fixture.heap.begin_discard(transaction, offset, size));
  }
  EXPECT(offset == all && size == 64 * 4096);
  EXPECT_VALID(fixture.heap);
  EXPECT(fixture.allocate(4096 * 8) == 0);  // its space is being given back just now
  {
    miniray::shm::Transaction transaction(fixture.lock);
    EXPECT(fixture.heap.begin_discard(transaction, offset, size));  // whoever did it died: the same again
    EXPECT(offset == all);
    fixture.heap.end_discard(transaction);
  }
  const std::uint64_t again = fixture.allocate(64 * 4096);
  EXPECT(again == all);
  fixture.free(again, 64 * 4096);
  EXPECT(fixture.allocate(4096 * 8) != 0);  // needed: without waiting
  EXPECT_VALID(fixture.heap);
}

// What a session of a day does to a heap: sizes from 64 bytes to 1/64 of the heap, short and long lives, kept at 90% fill. Lost is
// what an allocation cannot use when it fails: free memory in pieces, and what sizes were rounded up by.
void little_is_lost_at_ninety_percent_fill(unsigned seed) {
  constexpr std::uint64_t kPages = 65536;
  constexpr std::uint64_t kCapacity = (kPages - 1) * 4096;
  HeapFixture fixture(kPages);
  std::mt19937_64 random(seed);
  struct Block {
    std::uint64_t offset;
    std::uint64_t size;
  };
  std::vector<Block> live;
  std::uint64_t live_bytes = 0;
  double most_lost = 0;
  const auto draw = [&] {
    const double exponent = std::uniform_real_distribution<double>(6, 22)(random);  // 64 B to 4 MiB, evenly in the logarithm
    return static_cast<std::uint64_t>(std::exp2(exponent));
  };
  const int steps = std::getenv("MINIRAY_TEST_SCALE") != nullptr ? 30'000 : 300'000;
  for (int step = 0; step < steps; ++step) {
    const std::uint64_t size = draw();
    while (live_bytes + size > kCapacity / 10 * 9) {
      // Half of those that go are young: most objects of a program live short, some for the day.
      const std::size_t pick =
          random() % 2 == 0 ? live.size() - 1 - random() % ((live.size() + 3) / 4) : random() % live.size();
      fixture.free(live[pick].offset, live[pick].size);
      live_bytes -= live[pick].size;
      live[pick] = live.back();
      live.pop_back();
    }
    const std::uint64_t offset = fixture.allocate(size);
    if (offset == 0) {
      const double lost = 1.0 - static_cast<double>(live_bytes + size) / static_cast<double>(kCapacity);
      if (lost > most_lost) most_lost = lost;
      continue;
    }
    live.push_back({offset, size});
    live_bytes += size;
  }
  EXPECT_VALID(fixture.heap);
  std::printf("seed %u: at most %.1f%% lost\n", seed, 100 * most_lost);
  EXPECT(most_lost <= 0.15);
}

}  // namespace

int main() {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    blocks_never_overlap_and_all_memory_returns(seed, false);
    blocks_never_overlap_and_all_memory_returns(seed, true);
    little_is_lost_at_ninety_percent_fill(seed);
  }
  memory_used_before_comes_before_the_wilderness();
  what_may_not_grow_takes_backed_pages_only();
  last_small_block_gives_its_disk_space_back();
  a_run_to_discard_waits_for_its_turn_or_for_need();
  a_full_heap_says_so_and_works_again_after_a_free();
  memory_freed_last_is_used_first();
  memory_that_stays_free_goes_back_to_the_system();
  memory_below_what_is_used_stays();
}
