// runtime/blob_store.hpp - a domain as a store of byte strings that live until they are deleted or evicted: the low-level module's.
//
// Invariants  B1 an object is being written (held by its writer alone), cached (sealed, in the list of recent use), or doomed: deleted
//                while somebody reads it, found by nobody, freed with the last pin.
//             B2 this process has one pin bit per object; pins_ counts the readers behind it.
// Threads     of one process exclude each other by the GIL, which the caller holds; processes by the domain's lock.
// Crash       a dead writer's object goes with its hold bit, a dead reader's pins with its row (recovery/dead_process.cpp).
#pragma once

#include <optional>
#include <unordered_map>

#include "runtime/domain.hpp"

namespace miniray::runtime {

enum class BlobResult { kDone, kExists, kNoName, kFull, kTooLarge, kNoSlot, kSystem };

class BlobStore {
 public:
  explicit BlobStore(Domain& domain) noexcept : domain_(domain) {}

  // Room for one object, its pages reserved; kDone: `slot` is to be filled, then published or discarded. `system_error` is -errno.
  [[nodiscard]] BlobResult reserve(std::uint64_t size_bytes, const std::optional<ObjectId>& id, bool evict, Index& slot,
                                   int& system_error);
  [[nodiscard]] std::byte* writable(Index slot) const { return domain_.objects.payload_for_write(slot); }
  // kExists: another process was faster with that id; the object is discarded.
  [[nodiscard]] BlobResult publish(Index slot, const std::optional<ObjectId>& id);
  void discard(Index slot);

  [[nodiscard]] bool contains(ObjectId id);
  // Finds an object, marks it as recently used and pins it; false: unknown. The view is valid until unpin().
  [[nodiscard]] bool pin(ObjectId id, Index& slot, store::PayloadView& view);
  void unpin(Index slot);
  [[nodiscard]] bool erase(ObjectId id);  // false: unknown
  void forget_pins() { pins_.clear(); }   // in a forked child: they are the parent's

 private:
  Domain& domain_;
  std::unordered_map<Index, std::uint32_t> pins_;
};

}  // namespace miniray::runtime
