// Random allocations and frees: nothing overlaps, validate() holds after every
// step, everything comes back, rebuild() equals.
#include <cstring>
#include <map>
#include <random>

#include "heap_fixture.hpp"
#include "testing.hpp"

namespace {

void blocks_never_overlap_and_all_memory_returns(unsigned seed) {
  HeapFixture fixture(4096);
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

void memory_freed_last_is_used_first() {
  HeapFixture fixture(4096);
  const std::uint64_t first = fixture.allocate(1 << 20);
  fixture.free(first, 1 << 20);
  EXPECT(fixture.allocate(1 << 20) == first);
}

}  // namespace

int main() {
  for (unsigned seed = 1; seed <= 3; ++seed) blocks_never_overlap_and_all_memory_returns(seed);
  a_full_heap_says_so_and_works_again_after_a_free();
  memory_freed_last_is_used_first();
}
