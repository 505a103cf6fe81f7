// python/store_memory.hpp - Python objects whose memory is the store's: PayloadView (sealed, read-only), StoreBlock (being written).
//
// Invariants  M1 a PayloadView counts as one look at its object's payload (session.hpp Y2p), and points into the read-only mapping.
//             M2 a StoreBlock's object is kWriting, known to this process alone, until seal(); then it is an object like any other,
//                the block's buffer is read-only, and the block looks at it as a view does.
//             M3 the process knows by address what it looks at (StoreRegion), so that a buffer which lies in the store already is
//                referred to, whatever library wraps it.
// Crash       a block of a dead process goes with its hold bit (store/object_table.hpp O5).
#pragma once

#include <optional>

#include "python/object_ref.hpp"

namespace miniray::python {

// A payload that this process looks at, or a block it writes.
struct StoreRegion {
  ObjectKey key;
  std::uint64_t size_bytes = 0;
  PyObject* block = nullptr;  // borrowed; null: sealed
};
// Buffers of fewer bytes are copied: that is faster than a reference.
inline constexpr std::uint64_t kReferredBytes = 64 << 10;

void add_region(const std::byte* address, const StoreRegion& region);
void remove_region(const std::byte* address) noexcept;
// The region that holds all of the range, and where in it the range begins.
[[nodiscard]] std::optional<std::pair<StoreRegion, std::uint64_t>> find_region(const void* data, std::uint64_t size_bytes);
void forget_regions() noexcept;  // with their session

// An ObjectRef of a sealed object that this process looks at; nullptr, without an error, when nothing refers to it any more.
PyObject* refer_to_object(ObjectKey key);
[[nodiscard]] bool is_store_block(PyObject* object) noexcept;

// New reference to a read-only view of a payload which this process has pinned.
PyObject* make_view(const char* data, std::uint64_t size_bytes, Index object);
// Seals a block; nothing happens when it is sealed. Its object's key is a value from now on.
void seal_block(PyObject* block);
// Marks arrays over a sealed block as read-only: the exporter of its buffer, and what that is a view of.
void make_read_only(PyObject* exporter) noexcept;

bool add_store_memory(PyObject* module);

}  // namespace miniray::python
