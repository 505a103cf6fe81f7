// store/object_table.hpp - one row per object: its state, where its payload lies, who keeps it.
//
// Invariants  O1 a payload never changes once the state is kSealed or kError.
//             O2 truth: state, generation, flags (but kListed), id, offset, size, SpillPlace, contained_count, each process's hold and
//                pin bits, its chain of objects being spilled, and what tasks hold (scheduler). Derived: references = hold bits +
//                holds of tasks + places in other objects; pins = pin bits + one while it is being spilled; hash chains; the list of
//                objects that may go (kListed).
//             O3 references == 0 and sealed: nobody finds it any more, in the same section; its memory goes at once, or with the last
//                pin. Cached objects (kCached, low-level store) stay until they are evicted or deleted.
//             O4 references == 0 and pending: stays until its task ends, which then frees it.
//             O5 kWriting: only the writer knows the object; its hold bit is the writer's, so a dead writer's row frees it.
//             O6 contained reference k is the pair (slot, generation) 8 * (k + 1) bytes before the end of the payload; of an object in
//                the spill file, before the end of a heap block that holds the pairs alone. contained_count grows as they are
//                counted, so an object that is cut off while being written drops exactly what it counted.
//             O7p pins > 0: payload neither moves nor goes. Who reads a payload outside the lock has a pin, unless it lies inline, or
//                the reader copies it and then finds the row unchanged (try_copy).
//             O8 the list holds, least recently used first: cached objects; else sealed ones in the heap without a pin that may be
//                spilled (not those with an outside id, nor those that are references for the most part).
// Readers     [O7] seal(): payload, then seal_sequence, then state, then commit -> try_read(): state, then committed sequence,
//             then state again. A value is used only when the section that sealed it is whole; a sealer killed before its
//             commit is undone.
// Crash       hold and pin bits of a dead process are dropped by recovery/dead_process.cpp, a few objects a section, and what it was
//             spilling stays in memory.
#pragma once

#include "process/process_table.hpp"
#include "shm/slot_table.hpp"
#include "store/object_id.hpp"
#include "store/page_heap.hpp"

namespace miniray::store {

using process::ProcessId;
using shm::Index;
using shm::kNone;

enum class ObjectState : std::uint32_t {
  kFree = 0,
  kPending = 1,
  kWriting = 2,
  kSealed = 3,
  kError = 4,
  kReclaiming = 5,
  kOrphaned = 6
};
// kOrphaned: nobody refers to it, somebody looks at its payload. kReclaiming: the references inside it are being dropped.
enum ObjectFlags : std::uint32_t {
  kCached = 1,       // of the low-level store
  kOutsideId = 2,    // id_high, id_low are its name
  kSpilled = 8,      // the payload lies in the spill file: SpillPlace
  kSpilling = 16,    // a process writes it there: it is in that process's chain, and pinned by it
  kListed = 32,      // in the list of objects that may go
  kHandle = 64,      // of an actor, whose index is `next_result`
  kDropped = 128,    // such a one is in the list of those whose last reference went
  kStream = 256,     // with kHandle: of no actor, but a stream (scheduler/stream_entry.hpp)
  kPlacement = 512,  // sealed when a placement group is placed, whose index is `next_result`
};

inline constexpr std::uint32_t kInlineBytes = 32;

// Where a spilled payload lies; in the place of the inline payload, which such an object has not.
struct SpillPlace {
  Cell<std::uint64_t> offset;       // in the spill file
  Cell<std::uint64_t> value_bytes;  // the payload without the contained references
  Cell<std::uint32_t> checksum;
  Cell<std::uint32_t> pair_bytes;  // of the heap block with the contained references; `offset` of the row is its place
};

struct alignas(64) ObjectEntry {
  static constexpr const char* kDamagedIndex = "objects: a number of a row that is not there";
  Cell<std::uint32_t> state;
  Cell<std::uint32_t> generation;
  Cell<Index> next_free;  // free list, or the list of objects being reclaimed
  Cell<std::uint32_t> references;
  Cell<std::uint32_t> pins;
  Cell<std::uint32_t> flags;
  Cell<Index> waiters;      // scheduler/wait_table.hpp: who waits for the seal
  Cell<Index> producer;     // task that will make it
  Cell<Index> next_result;  // next result of the same task; of a handle object its actor
  Cell<Index> hash_next;
  Cell<Index> newer;  // list of objects that may go; or the chain of a process that spills
  Cell<Index> older;
  Cell<std::uint32_t> contained_count;
  Cell<std::uint32_t> maker;          // for people: number of the task that makes it, modulo 2**32; 0: the driver
  Cell<std::uint64_t> offset;         // in the heap; 0: the payload is inline
  Cell<std::uint64_t> size_bytes;     // of the payload, with the contained references
  Cell<std::uint64_t> seal_sequence;  // [O7] number of the section that sealed it
  Cell<std::uint64_t> id_high;        // outside ids only
  Cell<std::uint64_t> id_low;
  alignas(8) std::byte inline_bytes[kInlineBytes];

  [[nodiscard]] SpillPlace& spill_place() noexcept { return *reinterpret_cast<SpillPlace*>(inline_bytes); }
  [[nodiscard]] const SpillPlace& spill_place() const noexcept { return *reinterpret_cast<const SpillPlace*>(inline_bytes); }
  [[nodiscard]] bool has(ObjectFlags flag) const noexcept { return (flags.get() & flag) != 0; }
  [[nodiscard]] bool is_free() const noexcept { return state.get() == static_cast<std::uint32_t>(ObjectState::kFree); }
  [[nodiscard]] ObjectState current_state() const noexcept { return static_cast<ObjectState>(state.get()); }
};
static_assert(shm::kShareable<ObjectEntry> && sizeof(ObjectEntry) == 128 && sizeof(SpillPlace) <= kInlineBytes);

// Where an object was made, for people: kept only by sessions that record it. [CS] the maker writes text, then generation; a text
// counts for the row of that generation alone, so nobody has to clear it.
struct CallSite {
  shm::Atomic<std::uint32_t> generation;
  char text[60];  // `file:line function`, its end when it is longer; zero-padded
};
static_assert(shm::kShareable<CallSite> && sizeof(CallSite) == 64);

struct ObjectTableHeader {
  shm::SlotTableHeader slots;
  Cell<Index> reclaim_head;  // objects whose contained references are still to be dropped
  Cell<Index> oldest;        // objects that may go
  Cell<Index> newest;
  Cell<std::uint32_t> listed_count;
  Cell<Index> dropped_head;  // handle objects whose last reference went (kDropped), chained by next_free
  std::uint32_t more_padding;
  std::uint64_t hold_rows_offset;
  std::uint64_t pin_rows_offset;
  std::uint64_t row_bytes;  // of one process, a multiple of the page size
  std::uint64_t buckets_offset;
  std::uint32_t bucket_count;  // a power of two
  std::uint32_t padding;
  std::uint64_t nonce;              // high half of the ids this domain makes
  std::uint64_t call_sites_offset;  // of the CallSites, one for each row; 0: not recorded
};

struct PayloadView {
  const std::byte* data = nullptr;
  std::uint64_t size_bytes = 0;  // with contained references
  std::uint32_t contained_count = 0;
  bool is_error = false;
  bool in_heap = false;  // in the heap or in the spill file: needs a pin (O7p)
  bool is_spilled = false;
  [[nodiscard]] std::uint64_t value_bytes() const noexcept { return size_bytes - 8ULL * contained_count; }
};

// An object that its process writes to the spill file; see begin_spill().
struct SpillVictim {
  ObjectKey key;
  const std::byte* payload;
  std::uint64_t value_bytes;
  std::uint64_t file_offset;
  std::uint32_t checksum = 0;
  bool is_written = false;
};

class ObjectTable {
 public:
  ObjectTable() = default;
  ObjectTable(std::byte* region, ObjectTableHeader* header, const ObjectTableHeader& layout, PageHeap* heap, PageHeap* spill,
              std::byte* heap_write, const std::byte* heap_read, platform::Descriptor file, std::uint64_t file_offset,
              shm::Atomic<std::uint32_t>* trim_wanted) noexcept
      : slots(region, &header->slots, layout.slots, file, file_offset, trim_wanted),
        header_(header),
        region_(region),
        buckets_(reinterpret_cast<Cell<Index>*>(region + layout.buckets_offset)),
        bucket_mask_(layout.bucket_count - 1),
        hold_rows_offset_(layout.hold_rows_offset),
        pin_rows_offset_(layout.pin_rows_offset),
        row_bytes_(layout.row_bytes),
        nonce_(layout.nonce),
        heap_(heap),
        spill_(spill),
        heap_write_(heap_write),
        heap_read_(heap_read),
        file_(file),
        file_offset_(file_offset) {}

  shm::SlotTable<ObjectEntry> slots;

  void set_spill_map(const std::byte* map) { spill_read_ = map; }
  [[nodiscard]] ObjectEntry& operator[](Index slot) const { return slots[slot]; }
  [[nodiscard]] ObjectKey key(Index slot) const { return {slot, slots[slot].generation.get()}; }
  [[nodiscard]] bool is_current(ObjectKey key) const {
    return slots.is_valid_index(key.slot) && slots[key.slot].generation.get() == key.generation && !slots[key.slot].is_free();
  }
  [[nodiscard]] std::uint64_t nonce() const noexcept { return nonce_; }
  [[nodiscard]] ObjectId id(Index slot) const;
  [[nodiscard]] ObjectKey find(ObjectId id) const;  // under the lock; kNone when unknown
  // Whether an object may get that id from outside. Of the ids that rows have of themselves, only those of objects that are gone.
  [[nodiscard]] bool may_name(ObjectId id) const;

  // --- life ---------------------------------------------------------------------------------------------------------
  // A fresh row with no reference; kNone when the table is full or must be backed first.
  [[nodiscard]] Index create(Transaction& transaction, ObjectState state, std::uint32_t flags);
  void set_outside_id(Transaction& transaction, Index slot, ObjectId id);
  // Gives the object memory for its payload: inline when it fits, else from the heap.
  [[nodiscard]] AllocateResult reserve(Transaction& transaction, Index slot, std::uint64_t size_bytes, bool fresh,
                                       bool may_grow = true);
  // The same in the spill file, with a heap block for the contained references. kFull: one of the two has no room.
  [[nodiscard]] AllocateResult reserve_in_file(Transaction& transaction, Index slot, std::uint64_t size_bytes,
                                               std::uint32_t contained_count);
  // Counts one more contained reference of an object that is being written; the target is held by the caller.
  void add_contained(Transaction& transaction, Index slot, ObjectKey target);
  [[nodiscard]] std::byte* payload_for_write(Index slot) const;
  // Takes back what reserve() and add_contained() gave an object that is not sealed.
  void discard_payload(Transaction& transaction, Index slot);
  // Whether the payload's pages are reserved already, so that a small one may be written under the lock.
  [[nodiscard]] bool is_backed(Index slot) const {
    const ObjectEntry& entry = slots[slot];
    const std::uint64_t offset = entry.offset.get();
    return offset == 0 || heap_->is_backed(offset, heap_bytes(entry));
  }
  // Publishes; returns the head of the list of waiters, now detached. Each contained reference must be counted by the caller
  // before.
  [[nodiscard]] Index seal(Transaction& transaction, Index slot, ObjectState state);
  void add_reference(Transaction& transaction, Index slot) { transaction.add(slots[slot].references, 1); }
  void drop_reference(Transaction& transaction, Index slot);
  // Frees whatever the state; for half-made objects, deleted ones and finished results that nobody wants.
  void free(Transaction& transaction, Index slot);
  // Drops some contained references of objects being reclaimed; true while more are left.
  bool reclaim_step(Transaction& transaction);
  // A handle object, or a stream, whose last reference went; kNone. take_dropped() takes it off the list.
  [[nodiscard]] Index first_dropped() const { return header_->dropped_head.get(); }
  void take_dropped(Transaction& transaction);
  void put_dropped(Transaction& transaction, Index slot);  // on the list, unless it is
  [[nodiscard]] bool has_reclaimable() const { return header_->reclaim_head.get() != kNone; }

  // --- processes ----------------------------------------------------------------------------------------------------
  bool hold(Transaction& transaction, process::ProcessEntry& entry, ProcessId process,
            Index slot);  // false: held already
  bool unhold(Transaction& transaction, ProcessId process, Index slot);
  bool pin(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, Index slot);
  bool unpin(Transaction& transaction, ProcessId process, Index slot);
  [[nodiscard]] int back_rows(ProcessId process);  // reserves this process's rows; 0 or -errno
  // Drops up to `limit` bits of a process's rows; true while more may be left.
  bool drop_rows(Transaction& transaction, process::ProcessEntry& entry, ProcessId process, std::uint32_t limit);

  // --- reading ------------------------------------------------------------------------------------------------------
  enum class ReadResult { kReady, kNotReady, kGone };
  // Without the lock [O7], of an object that this process or its task keeps. A view in the heap is valid under a pin only.
  // Takes the lock only to make sure that a row which cannot be true is damaged, and not just being changed.
  [[nodiscard]] ReadResult try_read(shm::Lock& lock, ObjectKey key, PayloadView& view) const;
  // Copies the payload of `view`, which try_read gave; false: it moved meanwhile.
  [[nodiscard]] bool try_copy(ObjectKey key, const PayloadView& view, std::byte* destination) const;
  [[nodiscard]] PayloadView view(Index slot) const;
  [[nodiscard]] ObjectKey contained(Index slot, std::uint32_t position) const;

  // --- objects that may go ------------------------------------------------------------------------------------------
  void touch(Transaction& transaction, Index slot);  // of a cached one: most recently used
  bool evict_one(Transaction& transaction);          // the least recently used cached one; false: none
  [[nodiscard]] std::uint32_t listed_count() const { return header_->listed_count.get(); }

  // --- spilling (spill.cpp) -----------------------------------------------------------------------------------------
  // Takes least recently used objects until their payloads have `wanted_bytes` together, gives each a place in the spill file and
  // pins it; the caller writes them there outside the lock and calls end_spill() for each. kNeedsBacking: rows of the spill heap are
  // missing. kFull: the file has no room. With kDone and a count of 0 nothing may go.
  [[nodiscard]] AllocateResult begin_spill(Transaction& transaction, process::ProcessEntry& entry, std::uint64_t wanted_bytes,
                                           SpillVictim* victims, std::uint32_t capacity, std::uint32_t& count);
  // The object moves to the file when it was written and nobody looks at it; else it stays. True: its memory is free.
  bool end_spill(Transaction& transaction, process::ProcessEntry& entry, const SpillVictim& victim);
  // For a dead process: what it was spilling stays in memory. True while more is left.
  bool abort_spill_step(Transaction& transaction, process::ProcessEntry& entry);
  void set_checksum(Transaction& transaction, Index slot, std::uint32_t checksum) {
    transaction.set(slots[slot].spill_place().checksum, checksum);
  }

  // Truth against derived, under the lock, in time linear in rows, bits and contained references. `references` and `pins` have
  // capacity + 1 elements; `references` comes in with what tasks hold.
  [[nodiscard]] const char* validate(process::ProcessTable& processes, std::uint32_t* references, std::uint32_t* pins) const;

 private:
  [[nodiscard]] static ObjectKey own_key(ObjectId id) noexcept {
    return {static_cast<Index>(id.low), static_cast<std::uint32_t>(id.low >> 32)};
  }
  [[nodiscard]] Cell<std::uint64_t>& row_word(std::uint64_t rows_offset, Index process, Index slot) const {
    MINIRAY_SOUND(slot <= slots.capacity(), "objects: a bit of a row that is not there");
    return *reinterpret_cast<Cell<std::uint64_t>*>(region_ + rows_offset + process * row_bytes_ + slot / 64 * 8);
  }
  void count_bits(std::uint64_t rows_offset, Index process, std::uint32_t high_water, std::uint32_t* counts) const;
  // What the row has in the heap: its payload, or for a spilled one the block of its contained references.
  [[nodiscard]] static std::uint64_t heap_bytes(const ObjectEntry& entry) noexcept {
    return entry.has(kSpilled) ? entry.spill_place().pair_bytes.get() : entry.size_bytes.get();
  }
  // What a row says about its payload, and the one offset that it was made of; false: it cannot be true.
  [[nodiscard]] bool read_view(const ObjectEntry& entry, PayloadView& view, std::uint64_t& offset) const noexcept;
  [[nodiscard]] bool has_sound_place(std::uint64_t offset, std::uint64_t size_bytes) const noexcept {
    return offset == 0 ? size_bytes <= kInlineBytes : heap_->is_valid_range(offset, size_bytes);
  }
  [[nodiscard]] const std::byte* contained_end(const ObjectEntry& entry) const;
  [[nodiscard]] ObjectKey pair_before(const std::byte* end, std::uint64_t position) const noexcept;
  [[nodiscard]] bool may_go(const ObjectEntry& entry) const;
  void list_append(Transaction& transaction, Index slot);
  void list_remove(Transaction& transaction, Index slot);
  void list_if_may_go(Transaction& transaction, Index slot);
  void chain_remove(Transaction& transaction, process::ProcessEntry& entry, Index slot);
  void drop_pin(Transaction& transaction, Index slot);
  void release_payload(Transaction& transaction, Index slot);
  [[nodiscard]] const char* validate_list(process::ProcessTable& processes, std::uint32_t* pins) const;
  void hash_remove(Transaction& transaction, Index slot);
  void release_row(Transaction& transaction, Index slot);

  ObjectTableHeader* header_ = nullptr;
  std::byte* region_ = nullptr;
  Cell<Index>* buckets_ = nullptr;
  std::uint64_t bucket_mask_ = 0;
  std::uint64_t hold_rows_offset_ = 0;
  std::uint64_t pin_rows_offset_ = 0;
  std::uint64_t row_bytes_ = 0;  // of one process
  std::uint64_t nonce_ = 0;
  PageHeap* heap_ = nullptr;
  PageHeap* spill_ = nullptr;  // places in the spill file
  std::byte* heap_write_ = nullptr;
  const std::byte* heap_read_ = nullptr;
  const std::byte* spill_read_ = nullptr;  // the spill file, mapped read-only; null without one
  platform::Descriptor file_ = -1;
  std::uint64_t file_offset_ = 0;
};

}  // namespace miniray::store
