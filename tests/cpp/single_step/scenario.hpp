// scenario.hpp - one operation of the core to be killed at every instruction, and the domain it runs in.
//
// Processes   the harness's own process is the driver and whoever else is in the domain; the victim is a child, made after `prepare`.
//             `before` runs in the victim at full speed, `operate` one instruction at a time. A scenario's variables belong to the
//             World, which the victim gets a copy of.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "image.hpp"
#include "runtime/blob_store.hpp"
#include "runtime/task_queue.hpp"
#include "runtime/wait.hpp"
#include "trace.hpp"

namespace single_step {

using miniray::runtime::Domain;
using miniray::runtime::DomainConfig;
using miniray::runtime::ObjectKey;
using miniray::runtime::ObjectState;
using miniray::runtime::Transaction;
using miniray::runtime::Wakes;
using miniray::shm::Index;
using miniray::shm::kNone;

struct World {
  Domain driver;
  std::deque<Domain> others;    // more processes of the domain, alive
  Domain victim;                // attached in the victim only, except where `operate` attaches it
  std::vector<ProcessId> dead;  // other processes of the domain that are dead already
  platform::Descriptor spill_file = -1;

  std::vector<ObjectKey> keys;
  Index function = kNone;
  Index shape = kNone;
  Index slot = kNone;
  miniray::runtime::TakenTask taken;

  void open(const DomainConfig& config);
  void attach(Domain& domain) const;
  Domain& join();  // one more living process
  // A process that does `work` and dies without a word.
  void die_after(const std::function<void(Domain&)>& work);
};

struct Scenario {
  const char* name;
  std::function<void(World&)> prepare = [](World&) {};
  std::function<void(World&)> before = [](World&) {};
  std::function<void(World&)> operate;
  void (*configure)(DomainConfig&) = [](DomainConfig&) {};
  bool attaches_itself = false;  // `operate` does; nothing is attached before
  bool is_long = false;          // thousands of states: a sample of them unless all are asked for
};

[[nodiscard]] std::vector<Scenario> all_scenarios();
void add_store_scenarios(std::vector<Scenario>& list);
void add_spill_scenarios(std::vector<Scenario>& list);
void add_table_scenarios(std::vector<Scenario>& list);
void add_scheduler_scenarios(std::vector<Scenario>& list);
void add_environment_scenarios(std::vector<Scenario>& list);
void add_lookout_scenarios(std::vector<Scenario>& list);
void add_actor_scenarios(std::vector<Scenario>& list);
void add_stream_scenarios(std::vector<Scenario>& list);
void add_placement_scenarios(std::vector<Scenario>& list);
void add_recovery_scenarios(std::vector<Scenario>& list);

// --- words of the scenarios -------------------------------------------------------------------------------------------------

void change(Domain& domain, const std::function<void(Transaction&, Wakes&)>& work);  // one section, and its wakes
// What the Python layer does, in the same sections: cpp/python/objects.cpp, caller.cpp, executor.cpp.
[[nodiscard]] Index begin_object(Domain& domain, std::uint64_t size_bytes);  // held, with memory, not sealed
void end_object(Domain& domain, Index slot, const std::vector<ObjectKey>& contained);
ObjectKey put(Domain& domain, std::uint64_t size_bytes, const std::vector<ObjectKey>& contained = {});
void drop(Domain& domain, ObjectKey key);
void set_processors(World& world, int count);  // makes the function and the shape (one CPU) too
struct Call {
  std::uint32_t result_count = 1;
  std::uint32_t retries = 0;
  std::vector<ObjectKey> dependencies = {};
  std::uint64_t argument_bytes = 0;  // more than fits inline: an object
  bool streams = false;              // with two results: given are that of completed(), and the stream
  std::uint32_t stream_limit = 0;
};
std::vector<ObjectKey> submit(World& world, Domain& domain, const Call& call);
void start_worker(Domain& domain);
void seal_results(Domain& domain, Transaction& transaction, Wakes& wakes, std::uint64_t size_bytes = 16,
                  ObjectState state = ObjectState::kSealed);
void finish_task(Domain& domain);

}  // namespace single_step
