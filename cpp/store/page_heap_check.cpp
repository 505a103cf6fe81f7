// store/page_heap_check.cpp - truth against derived: validate, rebuild, and a short look at the heads of the lists.
#include <bit>

#include "store/page_heap_layout.hpp"

namespace miniray::store {

const char* PageHeap::validate() const {
  std::uint64_t free_runs = 0;
  std::uint64_t discard_runs = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t partial_slabs[kClassCount] = {};
  bool previous_free = false;
  const std::uint32_t end = header_->high_page.get();
  if (end == 0 || end > page_count_) return "heap: the wilderness begins outside";
  std::uint32_t page = 1;
  while (page < end) {
    const auto kind = static_cast<RunKind>(row(page).kind.get());
    const std::uint32_t pages = row(page).page_count.get();
    if (pages == 0 || pages > end - page) return "heap: a run has an impossible length";
    if (row(page + pages - 1).first.get() != page) return "heap: the last page of a run does not name its first";
    if (kind == RunKind::kFree) {
      if (previous_free) return "heap: two free runs touch";
      ++free_runs;
    } else if (kind == RunKind::kDiscard) {
      discard_runs += page == header_->discarding.get() ? 0U : 1U;
    } else if (kind == RunKind::kSlab) {
      const std::uint32_t size_class = row(page).slab.get() >> 16;
      if (size_class >= kClassCount || pages != kSlabPages) return "heap: bad slab";
      std::uint32_t used = 0;
      for (std::uint32_t i = 0; i < kSlabPages; ++i)
        used += static_cast<std::uint32_t>(std::popcount(row(page + i).bits.get()));
      if (used != (row(page).slab.get() & 0xFFFF)) return "heap: a slab's used count differs from its bits";
      if (used < blocks_per_slab(size_class)) ++partial_slabs[size_class];
      used_bytes += std::uint64_t{used} * kBlockSizes[size_class];
    } else if (kind == RunKind::kUsed) {
      used_bytes += std::uint64_t{pages} * kPageBytes;
    } else {
      return "heap: a run starts with an interior page";
    }
    previous_free = kind == RunKind::kFree;
    page += pages;
  }
  if (previous_free) return "heap: a free run touches the wilderness";
  if (used_bytes != header_->used_bytes.get()) return "heap: used bytes differ from the runs";
  if (const char* fault = validate_slabs(partial_slabs); fault != nullptr) return fault;
  return validate_bins(free_runs, discard_runs);
}

const char* PageHeap::validate_slabs(const std::uint64_t (&partial_slabs)[kClassCount]) const {
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    std::uint64_t listed = 0;
    for (std::uint32_t slab = header_->partial[size_class].get(); slab != shm::kNone; slab = row(slab).next.get()) {
      if (row(slab).kind.get() != static_cast<std::uint32_t>(RunKind::kSlab)) return "heap: a partial list leaves the slabs";
      if (++listed > partial_slabs[size_class]) return "heap: a partial list is too long";
    }
    if (listed != partial_slabs[size_class]) return "heap: a slab with room is in no list";
  }
  return nullptr;
}

const char* PageHeap::validate_bins(std::uint64_t free_runs, std::uint64_t discard_runs) const {
  std::uint64_t listed = 0;
  for (std::uint32_t first = 0; first < kFirstLevels; ++first) {
    for (std::uint32_t second = 0; second < kSecondLevels; ++second) {
      const std::uint32_t head = header_->bins[first][second].get();
      const bool marked = (header_->second_level_bits[first].get() >> second & 1U) != 0;
      if (marked != (head != shm::kNone)) return "heap: a bin and its bit disagree";
      for (std::uint32_t page = head; page != shm::kNone; page = row(page).next.get()) {
        if (row(page).kind.get() != static_cast<std::uint32_t>(RunKind::kFree)) return "heap: a used run in a bin";
        const Bin bin = bin_of(row(page).page_count.get());
        if (bin.first_level != first || bin.second_level != second) return "heap: a run in the wrong bin";
        if (++listed > free_runs) return "heap: too many runs in bins";
      }
    }
    const bool marked = (header_->first_level_bits.get() >> first & 1U) != 0;
    if (marked != (header_->second_level_bits[first].get() != 0)) return "heap: first and second level disagree";
  }
  if (listed != free_runs) return "heap: a free run is in no bin";
  for (std::uint32_t page = header_->discard_head.get(); page != shm::kNone; page = row(page).next.get()) {
    if (row(page).kind.get() != static_cast<std::uint32_t>(RunKind::kDiscard)) return "heap: a run in use is to be discarded";
    if (discard_runs-- == 0) return "heap: too many runs to discard";
  }
  return discard_runs == 0 ? nullptr : "heap: a run to discard is in no list";
}

bool PageHeap::heads_are_sound() const {
  const std::uint32_t end = header_->high_page.get();
  if (end > header_->backed_rows.load_acquire() && end > 1) return false;
  for (std::uint32_t first = 0; first < kFirstLevels; ++first) {
    const std::uint32_t bits = header_->second_level_bits[first].get();
    if (((header_->first_level_bits.get() >> first & 1U) != 0) != (bits != 0)) return false;
    for (std::uint32_t second = 0; second < kSecondLevels; ++second) {
      const std::uint32_t page = header_->bins[first][second].get();
      if ((page != shm::kNone) != ((bits >> second & 1U) != 0)) return false;
      if (page == shm::kNone) continue;
      if (page >= end) return false;
      const std::uint32_t pages = row(page).page_count.get();
      if (kind_of(page) != RunKind::kFree || pages == 0 || pages > end - page) return false;
      const Bin bin = bin_of(pages);
      if (bin.first_level != first || bin.second_level != second) return false;
    }
  }
  for (std::uint32_t size_class = 0; size_class < kClassCount; ++size_class) {
    const std::uint32_t page = header_->partial[size_class].get();
    if (page != shm::kNone && (page >= end || kind_of(page) != RunKind::kSlab || row(page).slab.get() >> 16 != size_class))
      return false;
  }
  for (const std::uint32_t page : {header_->discard_head.get(), header_->discarding.get()}) {
    if (page != shm::kNone && (page >= end || kind_of(page) != RunKind::kDiscard)) return false;
  }
  return true;
}

void PageHeap::rebuild(Transaction& transaction) {
  for (auto& level : header_->bins) {
    for (auto& head : level) transaction.set(head, shm::kNone);
  }
  for (auto& bits : header_->second_level_bits) transaction.set(bits, 0);
  transaction.set(header_->first_level_bits, 0);
  for (auto& head : header_->partial) transaction.set(head, shm::kNone);
  transaction.set(header_->discard_head, shm::kNone);
  std::uint64_t used_bytes = 0;
  for (std::uint32_t page = 1; page < header_->high_page.get();) {
    if (transaction.room() < 32) transaction.commit();
    const std::uint32_t pages = pages_of(page);
    transaction.set(row(page + pages - 1).first, page);
    switch (static_cast<RunKind>(row(page).kind.get())) {
      case RunKind::kFree:
        bin_insert(transaction, page, pages);
        break;
      case RunKind::kDiscard:
        if (page == header_->discarding.get()) break;
        transaction.set(row(page).next, header_->discard_head.get());
        transaction.set(header_->discard_head, page);
        break;
      case RunKind::kUsed:
        used_bytes += std::uint64_t{pages} * kPageBytes;
        break;
      case RunKind::kSlab: {
        const std::uint32_t size_class = row(page).slab.get() >> 16;
        MINIRAY_SOUND(size_class < kClassCount && pages == kSlabPages, "heap: bad slab");
        std::uint32_t used = 0;
        for (std::uint32_t i = 0; i < kSlabPages; ++i) {
          transaction.set(row(page + i).first, page);
          used += static_cast<std::uint32_t>(std::popcount(row(page + i).bits.get()));
        }
        transaction.set(row(page).slab, size_class << 16 | used);
        if (used < blocks_per_slab(size_class)) partial_push(transaction, page, size_class);
        used_bytes += std::uint64_t{used} * kBlockSizes[size_class];
        break;
      }
      case RunKind::kInterior:
      default:
        debug::found_damage("heap: a run starts with an interior page");
    }
    page += pages;
  }
  transaction.set(header_->used_bytes, used_bytes);
}

}  // namespace miniray::store
