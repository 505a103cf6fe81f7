#include "store/page_heap.hpp"

#include <algorithm>
#include <bit>

#include "store/page_heap_layout.hpp"

namespace miniray::store {

namespace {

constexpr std::uint64_t kBackingStepPages = 64;
constexpr std::uint64_t kRowStepBytes = 1U << 18;
// How far a search goes that the bitmaps do not answer: at first, and before the heap is called full.
constexpr int kLooks = 8;
constexpr int kLastLooks = 512;

}  // namespace

std::uint64_t PageHeap::charged_bytes(std::uint64_t size_bytes) noexcept {
  if (size_bytes <= kLargestBlock) return kBlockSizes[size_class_of(size_bytes)];
  return std::uint64_t{pages_for(size_bytes)} * kPageBytes;
}

void PageHeap::initialize(Transaction& transaction) noexcept { transaction.set(header_->high_page, 1); }

AllocateResult PageHeap::allocate(Transaction& transaction, std::uint64_t size_bytes, std::uint64_t& offset,
                                  bool may_grow) noexcept {
  AllocateResult result = AllocateResult::kDone;
  if (size_bytes <= kLargestBlock) {
    offset = take_block(transaction, size_class_of(size_bytes), may_grow, result);
  } else {
    if (size_bytes > capacity_bytes()) return AllocateResult::kFull;
    const std::uint32_t pages = pages_for(size_bytes);
    const std::uint32_t page = take_run(transaction, pages, may_grow, result);
    if (result != AllocateResult::kDone) return result;
    mark_run(transaction, page, pages, RunKind::kUsed);
    offset = page * kPageBytes;
  }
  if (result == AllocateResult::kDone) transaction.add(header_->used_bytes, charged_bytes(size_bytes));
  return result;
}

void PageHeap::free(Transaction& transaction, std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  MINIRAY_REQUIRE(is_valid_range(offset, size_bytes));
  if (size_bytes <= kLargestBlock) {
    put_block(transaction, offset, size_class_of(size_bytes));
  } else {
    const auto page = static_cast<std::uint32_t>(offset / kPageBytes);
    MINIRAY_REQUIRE(rows_[page].kind.get() == static_cast<std::uint32_t>(RunKind::kUsed));
    release_run(transaction, page, rows_[page].page_count.get());
  }
  transaction.add(header_->used_bytes, 0 - charged_bytes(size_bytes));
}

int PageHeap::ensure_rows(std::uint64_t size_bytes) noexcept {
  const std::uint64_t needed =
      std::min<std::uint64_t>(header_->page_count, header_->high_page.get() + size_bytes / kPageBytes + 2 * kSlabPages);
  std::uint64_t backed = header_->backed_rows.load_acquire();
  if (backed >= needed) [[likely]]
    return 0;
  const std::uint64_t wanted = std::min(header_->page_count, needed + kRowStepBytes / sizeof(PageRow));
  const int error = platform::reserve_pages(control_file_, header_->rows_offset + backed * sizeof(PageRow),
                                            (wanted - backed) * sizeof(PageRow));
  if (error != 0) return error;
  while (backed < wanted && !header_->backed_rows.compare_exchange(backed, wanted)) {
  }
  return 0;
}

int PageHeap::ensure_backed(std::uint64_t offset, std::uint64_t size_bytes) noexcept {
  const std::uint64_t needed = (offset + size_bytes + kPageBytes - 1) / kPageBytes;
  std::uint64_t backed = header_->backed_pages.load_acquire();
  if (backed >= needed) [[likely]]
    return 0;
  const std::uint64_t wanted = std::min(header_->page_count, needed + kBackingStepPages);
  const int error =
      platform::reserve_pages(heap_file_, heap_file_offset_ + backed * kPageBytes, (wanted - backed) * kPageBytes);
  if (error != 0) return error;
  while (backed < wanted && !header_->backed_pages.compare_exchange(backed, wanted)) {
  }
  return 0;
}

// --- runs -------------------------------------------------------------------------------------------------------------

void PageHeap::mark_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages, RunKind kind) noexcept {
  transaction.set(rows_[page].kind, static_cast<std::uint32_t>(kind));
  transaction.set(rows_[page].page_count, pages);
  transaction.set(rows_[page + pages - 1].first, page);
}

void PageHeap::bin_insert(Transaction& transaction, std::uint32_t page, std::uint32_t pages) noexcept {
  const Bin bin = bin_of(pages);
  Cell<std::uint32_t>& head = header_->bins[bin.first_level][bin.second_level];
  const std::uint32_t next = head.get();
  transaction.set(rows_[page].next, next);
  transaction.set(rows_[page].previous, shm::kNone);
  if (next != shm::kNone) transaction.set(rows_[next].previous, page);
  transaction.set(head, page);
  Cell<std::uint32_t>& second = header_->second_level_bits[bin.first_level];
  transaction.set(second, second.get() | (1U << bin.second_level));
  transaction.set(header_->first_level_bits, header_->first_level_bits.get() | (1U << bin.first_level));
}

void PageHeap::bin_remove(Transaction& transaction, std::uint32_t page, std::uint32_t pages) noexcept {
  const Bin bin = bin_of(pages);
  const std::uint32_t next = rows_[page].next.get();
  const std::uint32_t previous = rows_[page].previous.get();
  if (next != shm::kNone) transaction.set(rows_[next].previous, previous);
  if (previous != shm::kNone) {
    transaction.set(rows_[previous].next, next);
    return;
  }
  transaction.set(header_->bins[bin.first_level][bin.second_level], next);
  if (next != shm::kNone) return;
  Cell<std::uint32_t>& second = header_->second_level_bits[bin.first_level];
  transaction.set(second, second.get() & ~(1U << bin.second_level));
  if (second.get() == 0) {
    transaction.set(header_->first_level_bits, header_->first_level_bits.get() & ~(1U << bin.first_level));
  }
}

std::uint32_t PageHeap::find_run(std::uint32_t pages, int looks) const noexcept {
  // Any run of a bin above is long enough; in the bin of `pages` itself some may be: look at a few there first.
  const Bin own = bin_of(pages);
  std::uint32_t page = header_->bins[own.first_level][own.second_level].get();
  for (int look = 0; page != shm::kNone && look < looks; ++look, page = rows_[page].next.get()) {
    if (rows_[page].page_count.get() >= pages) return page;
  }
  const std::uint32_t second = header_->second_level_bits[own.first_level].get() & ~((2U << own.second_level) - 1);
  if (second != 0) return header_->bins[own.first_level][std::countr_zero(second)].get();
  const std::uint32_t first = header_->first_level_bits.get() & ~((2U << own.first_level) - 1);
  if (first == 0) return shm::kNone;
  const int level = std::countr_zero(first);
  return header_->bins[level][std::countr_zero(header_->second_level_bits[level].get())].get();
}

std::uint32_t PageHeap::take_wilderness(Transaction& transaction, std::uint32_t pages, bool may_grow,
                                        AllocateResult& result) noexcept {
  const std::uint32_t page = header_->high_page.get();
  result = AllocateResult::kFull;
  if (pages > header_->page_count - page) return shm::kNone;
  if (!may_grow && std::uint64_t{page} + pages > header_->backed_pages.load_acquire()) return shm::kNone;
  if (std::uint64_t{page} + pages > header_->backed_rows.load_acquire()) {
    result = AllocateResult::kNeedsBacking;
    return shm::kNone;
  }
  transaction.set(header_->high_page, page + pages);
  result = AllocateResult::kDone;
  return page;
}

bool PageHeap::make_runs(Transaction& transaction) noexcept {
  bool made = false;
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    made = release_empty_slab(transaction, size_class) || made;
  }
  for (int count = 0; count < kLooks && header_->discard_head.get() != shm::kNone; ++count) {
    const std::uint32_t page = header_->discard_head.get();
    transaction.set(header_->discard_head, rows_[page].next.get());
    put_run(transaction, page, rows_[page].page_count.get());
    made = true;
  }
  return made;
}

std::uint32_t PageHeap::take_run(Transaction& transaction, std::uint32_t pages, bool may_grow,
                                 AllocateResult& result) noexcept {
  for (int looks = kLooks;;) {
    if (const std::uint32_t page = find_run(pages, looks); page != shm::kNone) {
      const std::uint32_t found = rows_[page].page_count.get();
      bin_remove(transaction, page, found);
      if (found > pages) {
        mark_run(transaction, page + pages, found - pages, RunKind::kFree);
        bin_insert(transaction, page + pages, found - pages);
      }
      result = AllocateResult::kDone;
      return page;
    }
    const std::uint32_t page = take_wilderness(transaction, pages, may_grow, result);
    if (result != AllocateResult::kFull || looks == kLastLooks) return page;
    if (transaction.room() < 1024 || !make_runs(transaction)) looks = kLastLooks;
  }
}

void PageHeap::release_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages) noexcept {
  if (header_->discards == 0) {
    put_run(transaction, page, pages);
    return;
  }
  mark_run(transaction, page, pages, RunKind::kDiscard);
  transaction.set(rows_[page].next, header_->discard_head.get());
  transaction.set(header_->discard_head, page);
  if (header_->discard_wanted.load_relaxed() == 0) header_->discard_wanted.store_relaxed(1);
}

bool PageHeap::begin_discard(Transaction& transaction, std::uint64_t& offset, std::uint64_t& size_bytes) noexcept {
  std::uint32_t page = header_->discarding.get();  // of a process that died while it gave the space back: once more
  if (page == shm::kNone) {
    page = header_->discard_head.get();
    if (page == shm::kNone) return false;
    transaction.set(header_->discard_head, rows_[page].next.get());
    transaction.set(header_->discarding, page);
  }
  offset = page * kPageBytes;
  size_bytes = rows_[page].page_count.get() * kPageBytes;
  return true;
}

void PageHeap::end_discard(Transaction& transaction) noexcept {
  const std::uint32_t page = header_->discarding.get();
  if (page == shm::kNone) return;
  transaction.set(header_->discarding, shm::kNone);
  put_run(transaction, page, rows_[page].page_count.get());
}

void PageHeap::put_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages) noexcept {
  const std::uint32_t after = page + pages;
  if (after < header_->high_page.get() && rows_[after].kind.get() == static_cast<std::uint32_t>(RunKind::kFree)) {
    const std::uint32_t more = rows_[after].page_count.get();
    bin_remove(transaction, after, more);
    transaction.set(rows_[after].kind, static_cast<std::uint32_t>(RunKind::kInterior));
    pages += more;
  }
  if (page > 1) {
    const std::uint32_t before = rows_[page - 1].first.get();
    if (rows_[before].kind.get() == static_cast<std::uint32_t>(RunKind::kFree)) {
      bin_remove(transaction, before, rows_[before].page_count.get());
      transaction.set(rows_[page].kind, static_cast<std::uint32_t>(RunKind::kInterior));
      pages += page - before;
      page = before;
    }
  }
  if (page + pages == header_->high_page.get()) {
    transaction.set(header_->high_page, page);
    return;
  }
  mark_run(transaction, page, pages, RunKind::kFree);
  bin_insert(transaction, page, pages);
}

// --- blocks -----------------------------------------------------------------------------------------------------------

void PageHeap::partial_push(Transaction& transaction, std::uint32_t page, std::uint32_t size_class) noexcept {
  const std::uint32_t next = header_->partial[size_class].get();
  transaction.set(rows_[page].next, next);
  transaction.set(rows_[page].previous, shm::kNone);
  if (next != shm::kNone) transaction.set(rows_[next].previous, page);
  transaction.set(header_->partial[size_class], page);
}

void PageHeap::partial_remove(Transaction& transaction, std::uint32_t page, std::uint32_t size_class) noexcept {
  const std::uint32_t next = rows_[page].next.get();
  const std::uint32_t previous = rows_[page].previous.get();
  if (next != shm::kNone) transaction.set(rows_[next].previous, previous);
  if (previous != shm::kNone) {
    transaction.set(rows_[previous].next, next);
  } else {
    transaction.set(header_->partial[size_class], next);
  }
}

bool PageHeap::release_empty_slab(Transaction& transaction, std::uint32_t size_class) noexcept {
  const std::uint32_t page = header_->partial[size_class].get();
  if (page == shm::kNone || (rows_[page].slab.get() & 0xFFFF) != 0) return false;
  partial_remove(transaction, page, size_class);
  release_run(transaction, page, kSlabPages);
  return true;
}

std::uint64_t PageHeap::take_block(Transaction& transaction, std::uint32_t size_class, bool may_grow,
                                   AllocateResult& result) noexcept {
  std::uint32_t page = header_->partial[size_class].get();
  if (page == shm::kNone) {
    page = take_run(transaction, kSlabPages, may_grow, result);
    if (result != AllocateResult::kDone) return 0;
    mark_run(transaction, page, kSlabPages, RunKind::kSlab);
    for (std::uint32_t i = 0; i < kSlabPages; ++i) {
      transaction.set(rows_[page + i].first, page);
      transaction.set(rows_[page + i].bits, 0);
    }
    transaction.set(rows_[page].slab, size_class << 16);
    partial_push(transaction, page, size_class);
  }
  const std::uint32_t capacity = blocks_per_slab(size_class);
  for (std::uint32_t word = 0; word * 64 < capacity; ++word) {
    const std::uint64_t bits = rows_[page + word].bits.get();
    const auto bit = static_cast<std::uint32_t>(std::countr_one(bits));
    const std::uint32_t block = word * 64 + bit;
    if (bit == 64 || block >= capacity) continue;
    transaction.set(rows_[page + word].bits, bits | (1ULL << bit));
    transaction.add(rows_[page].slab, 1);
    if ((rows_[page].slab.get() & 0xFFFF) == capacity) partial_remove(transaction, page, size_class);
    result = AllocateResult::kDone;
    return page * kPageBytes + std::uint64_t{block} * kBlockSizes[size_class];
  }
  MINIRAY_REQUIRE(!"a partial slab has no free block");
  return 0;
}

void PageHeap::put_block(Transaction& transaction, std::uint64_t offset, std::uint32_t size_class) noexcept {
  const std::uint32_t page = rows_[offset / kPageBytes].first.get();
  MINIRAY_REQUIRE(rows_[page].kind.get() == static_cast<std::uint32_t>(RunKind::kSlab) &&
                  rows_[page].slab.get() >> 16 == size_class);
  const auto block = static_cast<std::uint32_t>((offset - page * kPageBytes) / kBlockSizes[size_class]);
  Cell<std::uint64_t>& bits = rows_[page + block / 64].bits;
  const std::uint64_t mask = 1ULL << (block % 64);
  MINIRAY_REQUIRE((bits.get() & mask) != 0);
  const std::uint32_t used = rows_[page].slab.get() & 0xFFFF;
  transaction.set(bits, bits.get() & ~mask);
  transaction.add(rows_[page].slab, static_cast<std::uint32_t>(-1));
  // An empty slab goes back to the pages, unless it is the only one with room: the next block is likely to come soon. So an empty
  // slab is alone in its list, and goes when another comes or the pages are needed. On a disk it goes at once, with its space.
  if (used == blocks_per_slab(size_class)) {
    (void)release_empty_slab(transaction, size_class);
    partial_push(transaction, page, size_class);
  }
  const bool alone = rows_[page].next.get() == shm::kNone && rows_[page].previous.get() == shm::kNone;
  if (used == 1 && (!alone || header_->discards != 0)) {
    partial_remove(transaction, page, size_class);
    release_run(transaction, page, kSlabPages);
  }
}

}  // namespace miniray::store
