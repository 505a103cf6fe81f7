// runtime/spilling.hpp - memory for a payload, whatever it takes: free memory, growth, objects that go to the spill file, the file.
//
// Order       1 a free run; 2 growth of the heap, if the machine has memory to spare; 3 what another process is freeing just now;
//             4 the least recently used objects that nobody looks at go to the file; 5 the payload itself goes there. One that is
//             larger than the whole heap goes there at once.
// Locks       none held on entry; no section here is longer than a batch of small changes, and files are written outside.
// Crash       store/spill.cpp; a half-written payload goes with its row (object_table.hpp O5).
#pragma once

#include "runtime/domain.hpp"

namespace miniray::runtime {

enum class ReserveResult {
  kInHeap,
  kInFreshHeap,  // pages that nobody has touched and that are not reserved: FreshWriter writes them
  kInFile,       // ObjectTable::view() and SpillPlace say where; PayloadWindow maps it
  kTooLarge,     // larger than the whole heap, and there is no file for it
  kFull,         // nothing may be spilled
  kFileFull,     // the spill file has reached its limit
  kDiskFull,     // `system_error`
  kSystem,       // control memory is short: `system_error`
};
struct Reservation {
  ReserveResult result;
  int system_error = 0;
};

// Only what takes no system call and no waiting; kFull: call reserve_payload().
[[nodiscard]] Reservation try_reserve_payload(Domain& domain, Index object, std::uint64_t size_bytes);
struct PayloadDemand {
  std::uint64_t size_bytes;
  std::uint32_t contained_count = 0;
  bool may_use_file = true;   // the spill file, when the heap is full
  bool may_be_fresh = false;  // kInFreshHeap will do
  bool may_grow = true;       // the heap
};
// Reserves memory for an object's payload and backs it; on failure the object has none. May write files and wait: without the GIL.
[[nodiscard]] Reservation reserve_payload(Domain& domain, Index object, const PayloadDemand& demand);

// Writes least recently used objects to the spill file until `wanted_bytes` are free. kInHeap: some are.
[[nodiscard]] Reservation make_room(Domain& domain, std::uint64_t wanted_bytes);

// Whether a spilled payload is what was written; the caller has pinned it. Reads all of it.
[[nodiscard]] bool spilled_is_intact(Domain& domain, Index object);

// Writes a payload into pages that nobody has touched, through the file: the kernel then neither clears nor maps each page before it is
// written, which takes half of the time. The pages are reserved at the end; until then a full system is an error and never a signal.
class FreshWriter {
 public:
  void begin(Domain& domain, Index object);
  void write(std::uint64_t position, const void* data, std::uint64_t size_bytes);
  // 0, or -errno when there was no room after all: the object has no payload then.
  [[nodiscard]] int finish(Domain& domain, Index object);

 private:
  platform::Descriptor file_ = -1;
  std::uint64_t start_ = 0;  // in the file
  std::uint64_t offset_ = 0;
  std::uint64_t size_bytes_ = 0;
  int error_ = 0;
};

// A place in the spill file, mapped for writing; its disk space is reserved, so writing cannot fail.
class PayloadWindow {
 public:
  PayloadWindow() = default;
  ~PayloadWindow() { close(); }
  PayloadWindow(const PayloadWindow&) = delete;
  PayloadWindow& operator=(const PayloadWindow&) = delete;
  [[nodiscard]] std::byte* open(Domain& domain, Index object);  // nullptr: no address space
  // The payload is complete: notes its checksum.
  void finish(Domain& domain, Index object);
  void close();

 private:
  std::byte* mapping_ = nullptr;
  std::uint64_t mapping_bytes_ = 0;
  std::byte* payload_ = nullptr;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace miniray::runtime
