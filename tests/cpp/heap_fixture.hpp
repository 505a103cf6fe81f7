// heap_fixture.hpp - a lock, a process table and a page heap in anonymous
// shared memory.
#pragma once

#include <functional>
#include <new>

#include "process/process_table.hpp"
#include "store/page_heap.hpp"

struct HeapFixture final : miniray::shm::HolderProbe {
  static constexpr std::uint64_t kControlBytes = 64ULL << 20;
  static constexpr std::uint64_t kLockOffset = 4096;
  static constexpr std::uint64_t kHeaderOffset = 1ULL << 20;
  static constexpr std::uint64_t kRowsOffset = 2ULL << 20;

  explicit HeapFixture(std::uint64_t pages, bool discards = false)
      : control_file(miniray::platform::create_anonymous_file("test-control", kControlBytes)),
        heap_file(miniray::platform::create_anonymous_file("test-heap", pages * miniray::store::kPageBytes)),
        region(miniray::platform::map_file(control_file, kControlBytes, miniray::platform::Access::kReadWrite)),
        lock(region, kControlBytes, reinterpret_cast<miniray::shm::LockBlock*>(region + kLockOffset), this),
        header(reinterpret_cast<miniray::store::PageHeapHeader*>(region + kHeaderOffset)) {
    lock.set_holder(miniray::shm::LockWord::holder(1, 0));
    header->page_count = pages;
    header->rows_offset = kRowsOffset;
    header->backed_pages.store_relaxed(1);
    header->discards = discards ? 1 : 0;
    heap = miniray::store::PageHeap(region, header, *header, control_file, heap_file, 0, &trim_wanted);
    miniray::shm::Transaction transaction(lock);
    heap.initialize(transaction);
  }
  ~HeapFixture() {
    miniray::platform::unmap(region, kControlBytes);
    miniray::platform::close_descriptor(control_file);
    miniray::platform::close_descriptor(heap_file);
  }
  HeapFixture(const HeapFixture&) = delete;
  HeapFixture& operator=(const HeapFixture&) = delete;

  // 0 when full.
  std::uint64_t allocate(std::uint64_t size_bytes, bool may_grow = true) {
    for (;;) {
      if (heap.ensure_rows(size_bytes) != 0) std::abort();
      std::uint64_t offset = 0;
      miniray::shm::Transaction transaction(lock);
      const auto result = heap.allocate(transaction, size_bytes, offset, may_grow);
      if (result == miniray::store::AllocateResult::kDone) return offset;
      if (result == miniray::store::AllocateResult::kFull) return 0;
    }
  }
  void free(std::uint64_t offset, std::uint64_t size_bytes) {
    miniray::shm::Transaction transaction(lock);
    heap.free(transaction, offset, size_bytes);
  }

  // Gives back the space of one freed run; false: there is none.
  bool discard() {
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
    {
      miniray::shm::Transaction transaction(lock);
      if (!heap.begin_discard(transaction, offset, size_bytes)) return false;
    }
    miniray::shm::Transaction transaction(lock);
    heap.end_discard(transaction);
    return true;
  }

  bool holder_is_dead(std::uint32_t, std::uint32_t) noexcept override { return dead; }
  void after_repair() noexcept override {}
  bool holder_stalls(const miniray::shm::Stall& stall, miniray::shm::LockBlock& block) noexcept override {
    return on_stall && on_stall(stall, block);
  }

  bool dead = false;
  std::function<bool(const miniray::shm::Stall&, miniray::shm::LockBlock&)> on_stall;  // whether the holder is stopped
  miniray::platform::Descriptor control_file;
  miniray::platform::Descriptor heap_file;
  std::byte* region;
  miniray::shm::Lock lock;
  miniray::store::PageHeapHeader* header;
  miniray::shm::Atomic<std::uint32_t> trim_wanted{};
  miniray::store::PageHeap heap;
};
