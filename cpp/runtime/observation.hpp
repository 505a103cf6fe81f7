// runtime/observation.hpp - what a domain holds and who holds it, seen from outside, without costing the domain anything.
//
// Invariants  V1 the domain's files are only read, by copying (platform::read_file): no lock, no row, no wake-up, no page for a hole,
//                and no fault when a chunk is given back or the session ends meanwhile. What is gone reads as zeros or is missing.
//             V2 a row in the result existed from before its holders were read until after: its generation was the same in both passes;
//                state, flags, place and size come from two equal copies. Counts of different rows belong to slightly different moments.
//             V3 every index, offset and length that was read is compared with its bounds before use.
//             V4 an unknown flag or state is shown, never followed.
// Cost        linear in rows in use, 128 bytes each, plus a bit row for each process; for the watcher alone.
#pragma once

#include <string>
#include <vector>

#include "runtime/domain.hpp"

namespace miniray::runtime {

// Where a payload lies. kNone: there is none yet.
enum class PayloadPlace { kNone, kInline, kHeap, kSpilled };
// The one place that decides it, from what a row says.
[[nodiscard]] PayloadPlace payload_place(std::uint32_t flags, std::uint64_t offset, std::uint64_t size_bytes) noexcept;

struct ObservedHolder {
  platform::ProcessNumber number;
  process::ProcessKind kind;
  bool is_view;  // memory that values of the process use; otherwise ObjectRefs
};

struct ObservedObject {
  Index slot;
  std::uint32_t generation;
  ObjectId id;
  std::uint32_t state;
  std::uint32_t flags;
  std::uint64_t offset;
  std::uint64_t size_bytes;
  std::uint32_t references;
  std::uint32_t pins;
  std::uint32_t contained_count;
  std::uint32_t pair_bytes;           // of a spilled one: the block in the heap with its contained references
  std::uint32_t task_count = 0;       // tasks that have it as function or argument
  std::uint32_t container_count = 0;  // objects, and streams, that hold a reference to it
  std::vector<ObservedHolder> holders;
  std::string call_site;  // empty: not recorded
};

struct ObservedProcess {
  platform::ProcessNumber number;
  process::ProcessKind kind;
  process::ProcessState state;
  std::uint32_t worker_state;
  std::uint64_t tasks_run;
};

struct ObservedCounts {
  std::uint32_t objects = 0;
  std::uint32_t tasks = 0;
};

class Observation {
 public:
  // Reads the header. 0, a negative errno, or -ENODATA: the files do not hold a whole one any more. The files stay the caller's.
  [[nodiscard]] int begin(DomainFiles files);
  [[nodiscard]] const ControlHeader& header() const noexcept { return header_.front(); }
  [[nodiscard]] std::vector<ObservedObject> objects();
  [[nodiscard]] std::vector<ObservedProcess> processes();
  [[nodiscard]] ObservedCounts counts();
  [[nodiscard]] std::uint64_t control_resident_bytes() const noexcept { return platform::file_resident_bytes(files_.control); }
  [[nodiscard]] std::uint64_t heap_resident_bytes() const noexcept { return platform::file_resident_bytes(files_.heap); }

 private:
  template <class T>
  [[nodiscard]] bool read(std::uint64_t offset, T* destination, std::uint64_t count) const noexcept;
  template <class R, class Visit>
  void visit_rows(const shm::SlotTableHeader& table, Visit visit) const;
  [[nodiscard]] std::vector<shm::SlotChunk> chunks(const shm::SlotTableHeader& table, std::uint64_t record_bytes) const;
  [[nodiscard]] std::uint32_t used(const shm::SlotTableHeader& table, std::uint64_t record_bytes) const;
  [[nodiscard]] std::vector<process::ProcessEntry> process_rows() const;
  [[nodiscard]] ObservedObject* find(Index slot) noexcept;

  void list_objects();
  void add_holders();
  void add_task_counts();
  void add_call_sites();
  void keep_settled();
  [[nodiscard]] bool settle(ObservedObject& object) const;
  void add_container_counts();
  void add_stream_counts();

  DomainFiles files_;
  std::uint64_t control_bytes_ = 0;
  std::uint64_t heap_file_bytes_ = 0;
  std::vector<ControlHeader> header_;  // one; too large for a stack
  std::vector<ObservedObject> objects_;
  std::vector<std::uint32_t> positions_;  // by slot: place in objects_ + 1
};

}  // namespace miniray::runtime
