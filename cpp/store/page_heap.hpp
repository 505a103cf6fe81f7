// store/page_heap.hpp - memory of payloads: runs of pages, and slabs of small blocks inside runs of four pages.
//
// Invariants  H1 page 0 is never handed out; offset 0 is "no memory". Runs tile pages 1 .. high_page - 1 without gap or overlap.
//                What lies from high_page on is the wilderness: untouched, or free again and joined to it; no row there is read.
//             H2 truth: high_page, kind and page_count of a run's first page, the bits of a slab, `discarding`. Derived: `first` of
//                the last page, bins, bitmaps, partial lists, used counts, the list of runs to discard.
//             H3 two free runs never touch each other, and none touches the wilderness: free() merges them.
//             H4 pages below `backed_pages` are reserved in the file, so writing there cannot fail; callers ensure_backed() what they
//                were given before they write, outside the lock. Rows below `backed_rows` likewise.
//             H5 blocks start on 64 bytes, runs on a page.
//             H6 a heap that discards (a spill file) hands a freed run out again only after its disk space was given back, or when
//                nothing else is left; the run that is being given back (`discarding`) never.
//             H7 trim: what lies between the wilderness's beginning and `backed_pages` is memory of the system that nobody uses. A part at
//                its end is given back under the lock: first the limit, then the pages. Whoever has taken a run, and backs it outside the
//                lock, lies below the wilderness: no part of it is given back, and who finds the limit lower than before backs again.
// Cost        every operation is O(1): two-level segregated fit (Masmano et al., "TLSF", 2004) over pages; what was used before
//             comes before the wilderness, last freed first, because pages that were touched before copy many times faster.
// Crash       journaled whole. A block reserved for an object that is being written belongs to that object's row. A discard that was
//             cut off is done again.
#pragma once

#include "platform/platform.hpp"
#include "shm/transaction.hpp"

namespace miniray::store {

using shm::Atomic;
using shm::Cell;
using shm::Transaction;

inline constexpr std::uint64_t kPageBytes = platform::kPageBytes;
inline constexpr std::uint64_t kBlockAlignment = 64;
inline constexpr std::uint32_t kSlabPages = 4;
// Those above 2,048 divide a slab into six, five, four and three, where whole pages would waste up to half.
inline constexpr std::uint32_t kBlockSizes[] = {64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 2688, 3264, 4096, 5440};
inline constexpr std::uint32_t kClassCount = sizeof(kBlockSizes) / sizeof(kBlockSizes[0]);
inline constexpr std::uint64_t kLargestBlock = kBlockSizes[kClassCount - 1];
inline constexpr std::uint32_t kFirstLevels = 30;
inline constexpr std::uint32_t kSecondLevels = 8;

enum class RunKind : std::uint32_t { kInterior = 0, kFree = 1, kUsed = 2, kSlab = 3, kDiscard = 4 };

struct PageRow {
  Cell<std::uint32_t> kind;        // RunKind on a run's first page, kInterior elsewhere
  Cell<std::uint32_t> page_count;  // on the first page
  Cell<std::uint32_t> first;       // first page of the run; valid on its last page,
                                   // and on every page of a slab
  Cell<std::uint32_t> next;        // bin (free run), partial list (slab), or list of runs to discard
  Cell<std::uint32_t> previous;
  Cell<std::uint32_t> slab;  // size class << 16 | used blocks, on a slab's first page
  Cell<std::uint64_t> bits;  // on each page of a slab: used blocks, 64 to a word
};
static_assert(shm::kShareable<PageRow> && sizeof(PageRow) == 32);

struct PageHeapHeader {
  Cell<std::uint32_t> bins[kFirstLevels][kSecondLevels];
  Cell<std::uint32_t> first_level_bits;
  Cell<std::uint32_t> second_level_bits[kFirstLevels];
  Cell<std::uint32_t> partial[kClassCount];
  Cell<std::uint32_t> high_page;     // where the wilderness begins
  Cell<std::uint32_t> peak_page;     // the highest that it began since begin_trim()
  Cell<std::uint32_t> discard_head;  // freed runs whose disk space is to be given back
  Cell<std::uint32_t> discarding;    // the run whose space is being given back; kNone: none
  std::uint32_t padding;
  Cell<std::uint64_t> used_bytes;
  Atomic<std::uint32_t> discard_wanted;  // 1: there are runs to discard; 2: the supervisor has been told
  std::uint32_t discards;                // 1: freed runs are discarded before they are free
  Atomic<std::uint64_t> backed_pages;
  Atomic<std::uint64_t> backed_rows;
  std::uint64_t page_count;
  std::uint64_t rows_offset;
};
static_assert(shm::kShareable<PageHeapHeader>);

enum class AllocateResult { kDone, kFull, kNeedsBacking };

class PageHeap {
 public:
  PageHeap() = default;
  PageHeap(std::byte* region, PageHeapHeader* header, const PageHeapHeader& layout, platform::Descriptor control_file,
           platform::Descriptor heap_file, std::uint64_t heap_file_offset, Atomic<std::uint32_t>* trim_wanted) noexcept
      : header_(header),
        rows_(reinterpret_cast<PageRow*>(region + layout.rows_offset)),
        page_count_(layout.page_count),
        rows_offset_(layout.rows_offset),
        discards_(layout.discards != 0),
        control_file_(control_file),
        heap_file_(heap_file),
        heap_file_offset_(heap_file_offset),
        trim_wanted_(trim_wanted) {}

  // Makes everything wilderness; the creator calls it once, before others attach.
  void initialize(Transaction& transaction);

  // `may_grow` false: only from pages that are backed already.
  [[nodiscard]] AllocateResult allocate(Transaction& transaction, std::uint64_t size_bytes, std::uint64_t& offset,
                                        bool may_grow = true);
  void free(Transaction& transaction, std::uint64_t offset, std::uint64_t size_bytes);

  // Outside the lock, before allocate(): rows for a run of that size. 0 or
  // -errno.
  [[nodiscard]] int ensure_rows(std::uint64_t size_bytes);
  // Outside the lock, after allocate() and before the first write: pages of
  // that run. 0 or -errno.
  [[nodiscard]] int ensure_backed(std::uint64_t offset, std::uint64_t size_bytes);

  // Down to which page trim_part() is to give memory back (H7): it keeps what was used since the last begin_trim(), a spare, and half of the
  // rest, so that what comes and goes within seconds is not given back each time. kNone: nothing.
  [[nodiscard]] std::uint32_t begin_trim(Transaction& transaction);
  // Some megabytes; how many bytes. 0: nothing is left above that page.
  [[nodiscard]] std::uint64_t trim_part(const Transaction& transaction, std::uint32_t keep);
  // Whether there is more than the spare.
  [[nodiscard]] bool is_trimmable() const {
    return header_->backed_pages.load_acquire() >= header_->high_page.get() + spare_pages() + part_pages();
  }

  // Takes the next run to discard; the caller gives back its space outside the lock and calls end_discard(). False: none.
  [[nodiscard]] bool begin_discard(Transaction& transaction, std::uint64_t& offset, std::uint64_t& size_bytes);
  void end_discard(Transaction& transaction);
  [[nodiscard]] bool has_discards() const {
    return header_->discard_head.get() != shm::kNone || header_->discarding.get() != shm::kNone;
  }
  [[nodiscard]] Atomic<std::uint32_t>& discard_wanted() const noexcept { return header_->discard_wanted; }

  [[nodiscard]] bool is_backed(std::uint64_t offset, std::uint64_t size_bytes) const {
    return offset + size_bytes <= header_->backed_pages.load_acquire() * kPageBytes;
  }

  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return header_->used_bytes.get(); }
  [[nodiscard]] std::uint64_t capacity_bytes() const noexcept { return (page_count_ - 1) * kPageBytes; }
  // How much of the file is reserved: what the heap has needed at once, less what was trimmed.
  [[nodiscard]] std::uint64_t backed_bytes() const noexcept { return header_->backed_pages.load_acquire() * kPageBytes; }
  [[nodiscard]] static std::uint64_t charged_bytes(std::uint64_t size_bytes) noexcept;  // what a block of that size takes
  [[nodiscard]] bool is_valid_range(std::uint64_t offset, std::uint64_t size_bytes) const noexcept {
    const std::uint64_t end = page_count_ * kPageBytes;
    return offset >= kPageBytes && offset < end && size_bytes <= end - offset;
  }

  [[nodiscard]] const char* validate() const;
  // Whether the first of each list may stand there; under the lock, of a header whose indices are within bounds.
  [[nodiscard]] bool heads_are_sound() const;
  void rebuild(Transaction& transaction);

 private:
  // What trimming leaves, for the next burst, and what it gives back at a time: some tenths of a millisecond, for which all others wait.
  [[nodiscard]] std::uint64_t spare_pages() const noexcept {
    return page_count_ / 8 < kSparePages ? page_count_ / 8 : kSparePages;
  }
  [[nodiscard]] std::uint64_t part_pages() const noexcept {
    return page_count_ / 16 < kPartPages ? page_count_ / 16 : kPartPages;
  }
  static constexpr std::uint64_t kSparePages = (16U << 20) / kPageBytes;
  static constexpr std::uint64_t kPartPages = (4U << 20) / kPageBytes;

  [[nodiscard]] PageRow& row(std::uint64_t page) const {
    MINIRAY_SOUND(page < page_count_, "heap: a number of a page that is not there");
    return rows_[page];
  }
  [[nodiscard]] RunKind kind_of(std::uint32_t page) const { return static_cast<RunKind>(row(page).kind.get()); }
  // Pages of the run that begins there, which lies below the wilderness.
  [[nodiscard]] std::uint32_t pages_of(std::uint32_t page) const;
  [[nodiscard]] std::uint64_t checked_pages(const Atomic<std::uint64_t>& backed) const;
  [[nodiscard]] std::uint32_t take_run(Transaction& transaction, std::uint32_t pages, bool may_grow, AllocateResult& result);
  [[nodiscard]] std::uint32_t take_wilderness(Transaction& transaction, std::uint32_t pages, bool may_grow,
                                              AllocateResult& result);
  bool make_runs(Transaction& transaction);  // from empty slabs and runs to discard; false: nothing more
  void release_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages);  // free, or to be discarded
  void put_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages);
  void bin_insert(Transaction& transaction, std::uint32_t page, std::uint32_t pages);
  void bin_remove(Transaction& transaction, std::uint32_t page, std::uint32_t pages);
  void mark_run(Transaction& transaction, std::uint32_t page, std::uint32_t pages, RunKind kind);
  [[nodiscard]] std::uint32_t find_run(std::uint32_t pages, int looks) const;
  [[nodiscard]] std::uint64_t take_block(Transaction& transaction, std::uint32_t size_class, bool may_grow,
                                         AllocateResult& result);
  void put_block(Transaction& transaction, std::uint64_t offset, std::uint32_t size_class);
  void partial_push(Transaction& transaction, std::uint32_t page, std::uint32_t size_class);
  void partial_remove(Transaction& transaction, std::uint32_t page, std::uint32_t size_class);
  // The rows of a slab's pages.
  [[nodiscard]] PageRow* slab_rows(std::uint32_t page, std::uint32_t size_class) const;
  bool release_empty_slab(Transaction& transaction, std::uint32_t size_class);  // false: none
  [[nodiscard]] const char* validate_slabs(const std::uint64_t (&partial_slabs)[kClassCount]) const;
  [[nodiscard]] const char* validate_bins(std::uint64_t free_runs, std::uint64_t discard_runs) const;

  PageHeapHeader* header_ = nullptr;
  PageRow* rows_ = nullptr;
  std::uint64_t page_count_ = 1;
  std::uint64_t rows_offset_ = 0;
  bool discards_ = false;
  platform::Descriptor control_file_ = -1;
  platform::Descriptor heap_file_ = -1;
  std::uint64_t heap_file_offset_ = 0;
  Atomic<std::uint32_t>* trim_wanted_ = nullptr;  // null: it is never trimmed
};

}  // namespace miniray::store
