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

void PageHeap::initialize(Transaction& transaction) {
  transaction.set(header_->high_page, 1);
  transaction.set(header_->peak_page, 1);
}

AllocateResult PageHeap::allocate(Transaction& transaction, std::uint64_t size_bytes, std::uint64_t& offset, bool may_grow) {
  AllocateResult result = AllocateResult::kDone;
  std::uint64_t charged = 0;
  if (size_bytes <= kLargestBlock) {
    const std::uint32_t size_class = size_class_of(size_bytes);
    offset = take_block(transaction, size_class, may_grow, result);
    charged = kBlockSizes[size_class];
  } else {
    if (size_bytes > capacity_bytes()) return AllocateResult::kFull;
    const std::uint32_t pages = pages_for(size_bytes);
    const std::uint32_t page = take_run(transaction, pages, may_grow, result);
    if (result != AllocateResult::kDone) return result;
    mark_run(transaction, page, pages, RunKind::kUsed);
    offset = page * kPageBytes;
    charged = pages * kPageBytes;
  }
  if (result == AllocateResult::kDone) transaction.add(header_->used_bytes, charged);
  return result;
}

void PageHeap::free(Transaction& transaction, std::uint64_t offset, std::uint64_t size_bytes) {
  MINIRAY_SOUND(is_valid_range(offset, size_bytes), "heap: a payload lies outside");
  std::uint64_t charged = 0;
  if (size_bytes <= kLargestBlock) {
    const std::uint32_t size_class = size_class_of(size_bytes);
    put_block(transaction, offset, size_class);
    charged = kBlockSizes[size_class];
  } else {
    const auto page = static_cast<std::uint32_t>(offset / kPageBytes);
    MINIRAY_SOUND(offset % kPageBytes == 0 && kind_of(page) == RunKind::kUsed && pages_of(page) == pages_for(size_bytes),
                  "heap: a payload is not where its object says");
    release_run(transaction, page, pages_for(size_bytes));
    charged = pages_for(size_bytes) * kPageBytes;
  }
  transaction.add(header_->used_bytes, 0 - charged);
}

int PageHeap::ensure_rows(std::uint64_t size_bytes) {
  const std::uint64_t needed =
      std::min<std::uint64_t>(page_count_, header_->high_page.get() + size_bytes / kPageBytes + 2 * kSlabPages);
  std::uint64_t backed = checked_pages(header_->backed_rows);
  if (backed >= needed) [[likely]]
    return 0;
  const std::uint64_t wanted = std::min(page_count_, needed + kRowStepBytes / sizeof(PageRow));
  const int error =
      platform::reserve_pages(control_file_, rows_offset_ + backed * sizeof(PageRow), (wanted - backed) * sizeof(PageRow));
  if (error != 0) return error;
  while (backed < wanted && !header_->backed_rows.compare_exchange(backed, wanted)) {
  }
  return 0;
}

int PageHeap::ensure_backed(std::uint64_t offset, std::uint64_t size_bytes) {
  MINIRAY_SOUND(is_valid_range(offset, size_bytes), "heap: a payload lies outside");
  const std::uint64_t needed = (offset + size_bytes + kPageBytes - 1) / kPageBytes;
  const std::uint64_t wanted = std::min(page_count_, needed + kBackingStepPages);
  for (;;) {
    std::uint64_t backed = checked_pages(header_->backed_pages);
    if (backed >= needed) [[likely]]
      return 0;
    const int error =
        platform::reserve_pages(heap_file_, heap_file_offset_ + backed * kPageBytes, (wanted - backed) * kPageBytes);
    if (error != 0) return error;
    if (header_->backed_pages.compare_exchange(backed, wanted)) return 0;
  }
}

std::uint64_t PageHeap::checked_pages(const Atomic<std::uint64_t>& backed) const {
  const std::uint64_t found = backed.load_acquire();
  MINIRAY_SOUND(found <= page_count_, "heap: more pages reserved than there are");
  return found;
}

std::uint32_t PageHeap::pages_of(std::uint32_t page) const {
  const std::uint32_t pages = row(page).page_count.get();
  const std::uint32_t end = header_->high_page.get();
  MINIRAY_SOUND(page != 0 && page < end && pages != 0 && pages <= end - page, "heap: a run has an impossible length");
  return pages;
}

// --- giving memory back -----------------------------------------------------------------------------------------------

std::uint32_t PageHeap::begin_trim(Transaction& transaction) {
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    while (transaction.room() > 1024 && release_empty_slab(transaction, size_class)) {
    }
  }
  const std::uint32_t high = header_->high_page.get();
  const std::uint64_t used = std::max(high, header_->peak_page.get()) + spare_pages();
  transaction.set(header_->peak_page, high);
  const std::uint64_t backed = checked_pages(header_->backed_pages);
  if (backed < used + part_pages()) return shm::kNone;
  return static_cast<std::uint32_t>(backed - std::max((backed - used) / 2, part_pages()));
}

std::uint64_t PageHeap::trim_part(const Transaction&, std::uint32_t keep) {
  std::uint64_t backed = checked_pages(header_->backed_pages);
  const std::uint64_t end = std::max(keep, header_->high_page.get());
  if (keep == shm::kNone || backed <= end) return 0;
  const std::uint64_t begin = std::max(end, backed - std::min(backed, part_pages()));
  const std::uint64_t size_bytes = (backed - begin) * kPageBytes;
  if (!header_->backed_pages.compare_exchange(backed, begin)) return 0;  // somebody backs more just now
  MINIRAY_FAULT_POINT("heap.trimming");
  (void)platform::discard_pages(heap_file_, heap_file_offset_ + begin * kPageBytes, size_bytes);
  return size_bytes;
}

// --- runs -------------------------------------------------------------------------------------------------------------

void PageHeap::mark_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages, RunKind kind) {
  PageRow& first = row(page);
  transaction.set(first.kind, static_cast<std::uint32_t>(kind));
  transaction.set(first.page_count, pages);
  transaction.set(row(std::uint64_t{page} + pages - 1).first, page);
}

void PageHeap::bin_insert(Transaction& transaction, std::uint32_t page, std::uint32_t pages) {
  const Bin bin = bin_of(pages);
  Cell<std::uint32_t>& head = header_->bins[bin.first_level][bin.second_level];
  const std::uint32_t next = head.get();
  PageRow& first = row(page);
  transaction.set(first.next, next);
  transaction.set(first.previous, shm::kNone);
  if (next != shm::kNone) transaction.set(row(next).previous, page);
  transaction.set(head, page);
  Cell<std::uint32_t>& second = header_->second_level_bits[bin.first_level];
  transaction.set(second, second.get() | (1U << bin.second_level));
  transaction.set(header_->first_level_bits, header_->first_level_bits.get() | (1U << bin.first_level));
}

void PageHeap::bin_remove(Transaction& transaction, std::uint32_t page, std::uint32_t pages) {
  const Bin bin = bin_of(pages);
  const PageRow& first = row(page);
  const std::uint32_t next = first.next.get();
  const std::uint32_t previous = first.previous.get();
  Cell<std::uint32_t>& from_previous =
      previous != shm::kNone ? row(previous).next : header_->bins[bin.first_level][bin.second_level];
  MINIRAY_SOUND(from_previous.get() == page, "heap: a list of free runs is torn");
  if (next != shm::kNone) transaction.set(row(next).previous, previous);
  transaction.set(from_previous, next);
  if (previous != shm::kNone || next != shm::kNone) return;
  Cell<std::uint32_t>& second = header_->second_level_bits[bin.first_level];
  transaction.set(second, second.get() & ~(1U << bin.second_level));
  if (second.get() == 0) {
    transaction.set(header_->first_level_bits, header_->first_level_bits.get() & ~(1U << bin.first_level));
  }
}

std::uint32_t PageHeap::find_run(std::uint32_t pages, int looks) const {
  // Any run of a bin above is long enough; in the bin of `pages` itself some may be: look at a few there first.
  const Bin own = bin_of(pages);
  std::uint32_t page = header_->bins[own.first_level][own.second_level].get();
  for (int look = 0; page != shm::kNone && look < looks; ++look, page = row(page).next.get()) {
    if (row(page).page_count.get() >= pages) return page;
  }
  const std::uint32_t second = header_->second_level_bits[own.first_level].get() & ~((2U << own.second_level) - 1);
  const auto bin_head = [this](std::uint32_t level, std::uint32_t bits) {
    const auto bin = static_cast<std::uint32_t>(std::countr_zero(bits));
    MINIRAY_SOUND(bin < kSecondLevels, "heap: a bit of a bin that is not there");
    return header_->bins[level][bin].get();
  };
  if (second != 0) return bin_head(own.first_level, second);
  const std::uint32_t first = header_->first_level_bits.get() & ~((2U << own.first_level) - 1);
  if (first == 0) return shm::kNone;
  const auto level = static_cast<std::uint32_t>(std::countr_zero(first));
  MINIRAY_SOUND(level < kFirstLevels, "heap: a bit of a bin that is not there");
  return bin_head(level, header_->second_level_bits[level].get());
}

std::uint32_t PageHeap::take_wilderness(Transaction& transaction, std::uint32_t pages, bool may_grow, AllocateResult& result) {
  const std::uint32_t page = header_->high_page.get();
  MINIRAY_SOUND(page != 0 && page <= page_count_, "heap: the wilderness begins outside");
  result = AllocateResult::kFull;
  if (pages > page_count_ - page) return shm::kNone;
  if (!may_grow && std::uint64_t{page} + pages > header_->backed_pages.load_acquire()) return shm::kNone;
  if (std::uint64_t{page} + pages > header_->backed_rows.load_acquire()) {
    result = AllocateResult::kNeedsBacking;
    return shm::kNone;
  }
  transaction.set(header_->high_page, page + pages);
  if (page + pages > header_->peak_page.get()) transaction.set(header_->peak_page, page + pages);
  result = AllocateResult::kDone;
  return page;
}

bool PageHeap::make_runs(Transaction& transaction) {
  bool made = false;
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    made = release_empty_slab(transaction, size_class) || made;
  }
  for (int count = 0; count < kLooks && header_->discard_head.get() != shm::kNone; ++count) {
    const std::uint32_t page = header_->discard_head.get();
    MINIRAY_SOUND(kind_of(page) == RunKind::kDiscard, "heap: a run in use is to be discarded");
    transaction.set(header_->discard_head, row(page).next.get());
    put_run(transaction, page, pages_of(page));
    made = true;
  }
  return made;
}

std::uint32_t PageHeap::take_run(Transaction& transaction, std::uint32_t pages, bool may_grow, AllocateResult& result) {
  for (int looks = kLooks;;) {
    if (const std::uint32_t page = find_run(pages, looks); page != shm::kNone) {
      const std::uint32_t found = pages_of(page);
      MINIRAY_SOUND(kind_of(page) == RunKind::kFree && found >= pages, "heap: a run in a bin is in use, or too short");
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

void PageHeap::release_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages) {
  if (!discards_) {
    put_run(transaction, page, pages);
    return;
  }
  mark_run(transaction, page, pages, RunKind::kDiscard);
  transaction.set(row(page).next, header_->discard_head.get());
  transaction.set(header_->discard_head, page);
  if (header_->discard_wanted.load_relaxed() == 0) header_->discard_wanted.store_relaxed(1);
}

bool PageHeap::begin_discard(Transaction& transaction, std::uint64_t& offset, std::uint64_t& size_bytes) {
  std::uint32_t page = header_->discarding.get();  // of a process that died while it gave the space back: once more
  if (page == shm::kNone) {
    page = header_->discard_head.get();
    if (page == shm::kNone) return false;
    MINIRAY_SOUND(kind_of(page) == RunKind::kDiscard, "heap: a run in use is to be discarded");
    transaction.set(header_->discard_head, row(page).next.get());
    transaction.set(header_->discarding, page);
  }
  MINIRAY_SOUND(kind_of(page) == RunKind::kDiscard, "heap: a run in use is being discarded");
  offset = page * kPageBytes;
  size_bytes = pages_of(page) * kPageBytes;
  return true;
}

void PageHeap::end_discard(Transaction& transaction) {
  const std::uint32_t page = header_->discarding.get();
  if (page == shm::kNone) return;
  MINIRAY_SOUND(kind_of(page) == RunKind::kDiscard, "heap: a run in use is being discarded");
  transaction.set(header_->discarding, shm::kNone);
  put_run(transaction, page, pages_of(page));
}

void PageHeap::put_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages) {
  const std::uint32_t after = page + pages;
  if (after < header_->high_page.get() && kind_of(after) == RunKind::kFree) {
    const std::uint32_t more = pages_of(after);
    bin_remove(transaction, after, more);
    transaction.set(row(after).kind, static_cast<std::uint32_t>(RunKind::kInterior));
    pages += more;
  }
  if (page > 1) {
    const std::uint32_t before = row(page - 1).first.get();
    MINIRAY_SOUND(before != 0 && before < page, "heap: the last page of a run does not name its first");
    if (kind_of(before) == RunKind::kFree) {
      MINIRAY_SOUND(row(before).page_count.get() == page - before, "heap: a free run has the wrong length");
      bin_remove(transaction, before, page - before);
      transaction.set(row(page).kind, static_cast<std::uint32_t>(RunKind::kInterior));
      pages += page - before;
      page = before;
    }
  }
  if (page + pages == header_->high_page.get()) {
    transaction.set(header_->high_page, page);
    if (trim_wanted_ != nullptr && trim_wanted_->load_relaxed() == 0 && is_trimmable()) [[unlikely]]
      trim_wanted_->store_relaxed(1);
    return;
  }
  mark_run(transaction, page, pages, RunKind::kFree);
  bin_insert(transaction, page, pages);
}

// --- blocks -----------------------------------------------------------------------------------------------------------

void PageHeap::partial_push(Transaction& transaction, std::uint32_t page, std::uint32_t size_class) {
  const std::uint32_t next = header_->partial[size_class].get();
  transaction.set(row(page).next, next);
  transaction.set(row(page).previous, shm::kNone);
  if (next != shm::kNone) transaction.set(row(next).previous, page);
  transaction.set(header_->partial[size_class], page);
}

void PageHeap::partial_remove(Transaction& transaction, std::uint32_t page, std::uint32_t size_class) {
  const PageRow& first = row(page);
  const std::uint32_t next = first.next.get();
  const std::uint32_t previous = first.previous.get();
  Cell<std::uint32_t>& from_previous = previous != shm::kNone ? row(previous).next : header_->partial[size_class];
  MINIRAY_SOUND(from_previous.get() == page, "heap: a list of slabs is torn");
  if (next != shm::kNone) transaction.set(row(next).previous, previous);
  transaction.set(from_previous, next);
}

bool PageHeap::release_empty_slab(Transaction& transaction, std::uint32_t size_class) {
  const std::uint32_t page = header_->partial[size_class].get();
  if (page == shm::kNone || (row(page).slab.get() & 0xFFFF) != 0) return false;
  (void)slab_rows(page, size_class);
  partial_remove(transaction, page, size_class);
  release_run(transaction, page, kSlabPages);
  return true;
}

PageRow* PageHeap::slab_rows(std::uint32_t page, std::uint32_t size_class) const {
  PageRow* first = &row(std::uint64_t{page} + kSlabPages - 1) - (kSlabPages - 1);
  MINIRAY_SOUND(first->kind.get() == static_cast<std::uint32_t>(RunKind::kSlab) && first->slab.get() >> 16 == size_class,
                "heap: what should be a slab of one size is not");
  return first;
}

std::uint64_t PageHeap::take_block(Transaction& transaction, std::uint32_t size_class, bool may_grow, AllocateResult& result) {
  std::uint32_t page = header_->partial[size_class].get();
  if (page == shm::kNone) {
    page = take_run(transaction, kSlabPages, may_grow, result);
    if (result != AllocateResult::kDone) return 0;
    mark_run(transaction, page, kSlabPages, RunKind::kSlab);
    for (std::uint32_t i = 0; i < kSlabPages; ++i) {
      transaction.set(row(page + i).first, page);
      transaction.set(row(page + i).bits, 0);
    }
    transaction.set(row(page).slab, size_class << 16);
    partial_push(transaction, page, size_class);
  }
  PageRow* const slab = slab_rows(page, size_class);
  const std::uint32_t capacity = blocks_per_slab(size_class);
  for (std::uint32_t word = 0; word * 64 < capacity; ++word) {
    const std::uint64_t bits = slab[word].bits.get();
    const auto bit = static_cast<std::uint32_t>(std::countr_one(bits));
    const std::uint32_t block = word * 64 + bit;
    if (bit == 64 || block >= capacity) continue;
    transaction.set(slab[word].bits, bits | (1ULL << bit));
    transaction.add(slab->slab, 1);
    if ((slab->slab.get() & 0xFFFF) == capacity) partial_remove(transaction, page, size_class);
    result = AllocateResult::kDone;
    return page * kPageBytes + std::uint64_t{block} * kBlockSizes[size_class];
  }
  debug::found_damage("heap: a slab in the list of those with room is full");
}

void PageHeap::put_block(Transaction& transaction, std::uint64_t offset, std::uint32_t size_class) {
  const std::uint32_t page = row(offset / kPageBytes).first.get();
  PageRow* const slab = slab_rows(page, size_class);
  const std::uint64_t distance = offset - page * kPageBytes;  // far too large when the page lies behind
  MINIRAY_SOUND(distance < kSlabPages * kPageBytes, "heap: a payload is not where its object says");
  const auto inside = static_cast<std::uint32_t>(distance);
  const std::uint32_t block = block_at(inside, size_class);
  const std::uint32_t capacity = blocks_per_slab(size_class);
  MINIRAY_SOUND(block < capacity && block * kBlockSizes[size_class] == inside, "heap: a payload is not where its object says");
  Cell<std::uint64_t>& bits = slab[block / 64].bits;
  const std::uint64_t mask = 1ULL << (block % 64);
  const std::uint32_t used = slab->slab.get() & 0xFFFF;
  MINIRAY_SOUND((bits.get() & mask) != 0 && used != 0, "heap: a payload is freed twice");
  transaction.set(bits, bits.get() & ~mask);
  transaction.add(slab->slab, static_cast<std::uint32_t>(-1));
  // An empty slab goes back to the pages, unless it is the only one with room: the next block is likely to come soon. So an empty
  // slab is alone in its list, and goes when another comes or the pages are needed. On a disk it goes at once, with its space.
  if (used == capacity) {
    (void)release_empty_slab(transaction, size_class);
    partial_push(transaction, page, size_class);
  }
  const bool alone = slab->next.get() == shm::kNone && slab->previous.get() == shm::kNone;
  if (used == 1 && (!alone || discards_)) {
    partial_remove(transaction, page, size_class);
    release_run(transaction, page, kSlabPages);
  }
}

}  // namespace miniray::store
