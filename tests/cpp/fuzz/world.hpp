// world.hpp - a domain with a bit of everything in it, and the operations that processes of a session do with it, by dice.
//
// Processes   the driver, a worker and one more are three attachments of this process; the dead are attachments that were left without a
//             word, under the number of a process that has ended.
// Outcomes    an operation returns, or throws Refused (an ordinary error: no room, nothing there), or Damage.
#pragma once

#include <array>
#include <deque>
#include <exception>
#include <random>
#include <vector>

#include "runtime/blob_store.hpp"
#include "runtime/domain.hpp"

namespace fuzz {

namespace platform = miniray::platform;
using miniray::process::ProcessId;
using miniray::runtime::Domain;
using miniray::runtime::ObjectKey;
using miniray::runtime::Transaction;
using miniray::shm::Index;
using miniray::shm::kNone;

struct Refused final : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return "refused"; }
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t word() { return random_(); }
  std::uint32_t below(std::uint32_t end) { return static_cast<std::uint32_t>(random_() % end); }  // end > 0
  bool one_in(std::uint32_t count) { return below(count) == 0; }

 private:
  std::mt19937_64 random_;
};

class World {
 public:
  // `dead_process` is the number of one that has ended.
  World(Dice& dice, platform::ProcessNumber dead_process);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void build();   // a state like that in the middle of a program; nothing is damaged yet
  void step();    // one operation
  void finish();  // what ends a session, and what looks at one: each part runs whatever the others found
  [[nodiscard]] Domain& driver() noexcept { return driver_; }
  [[nodiscard]] std::array<Domain*, 3> attached() noexcept { return {&driver_, &worker_, &other_}; }

 private:
  [[nodiscard]] Domain& somebody();
  [[nodiscard]] ObjectKey any_key();
  void attach(Domain& domain);
  void open();
  void make_function();
  void die(bool in_a_section);

  Index begin_object(Domain& domain, std::uint64_t size_bytes);
  ObjectKey put(Domain& domain, std::uint64_t size_bytes, std::uint32_t contained_count);
  void seal(Domain& domain, Index slot);
  void drop_one();
  void read_one();
  void pin_one();
  void submit();
  void run_task();
  void block_worker();
  void give_lease_back();
  void wait();
  void leave_waiting();
  void spill();
  void begin_spill();
  void give_back();
  void use_queue();
  void use_registry();
  void use_placement_group();
  void use_outside_id();
  void use_blob_store();
  void supervise();
  void recover();
  void look();
  void join_and_leave();
  void step_low_level();
  void rebuild();

  Dice& dice_;
  platform::ProcessNumber dead_process_;
  bool is_low_level_;
  Domain driver_;
  Domain worker_;
  Domain other_;
  miniray::runtime::BlobStore blobs_{driver_};
  std::deque<Domain> left_;  // attachments of the dead: their memory alone
  platform::Descriptor spill_file_ = -1;
  std::vector<ObjectKey> keys_;  // held by the driver
  std::vector<ObjectKey> pinned_;
  std::vector<miniray::store::ObjectId> ids_;
  std::vector<ProcessId> dead_;
  Index function_ = kNone;
  Index shape_ = kNone;
  Index machine_shape_ = kNone;
  std::vector<Index> groups_;
};

}  // namespace fuzz
