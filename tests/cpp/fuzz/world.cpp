#include "world.hpp"

#include <cstring>

#include "runtime/spilling.hpp"
#include "testing.hpp"

namespace fuzz {

using miniray::runtime::ObjectState;
using miniray::runtime::ProcessKind;
using miniray::runtime::Wakes;
using miniray::store::ObjectTable;
using miniray::store::PayloadView;
namespace runtime = miniray::runtime;
namespace scheduler = miniray::scheduler;
namespace store = miniray::store;

namespace {

// Reads every byte, as whoever makes a value of it.
void touch(const std::byte* data, std::uint64_t size_bytes) {
  unsigned sum = 0;
  for (std::uint64_t i = 0; i < size_bytes; ++i) sum += static_cast<unsigned>(data[i]);
  asm volatile("" : : "r"(sum));  // it is needed, for all the compiler knows
}

std::uint32_t as_word(ObjectState state) { return static_cast<std::uint32_t>(state); }

}  // namespace

World::World(Dice& dice, platform::ProcessNumber dead_process)
    : dice_(dice), dead_process_(dead_process), is_low_level_(dice.one_in(4)) {
  open();
}

World::~World() {
  platform::close_descriptor(spill_file_);  // the attachments leave by themselves, in whatever state
}

void World::open() {
  runtime::DomainConfig config;
  config.placement_capacity = 8;
  config.bundle_capacity = 16;
  config.object_capacity = 200;
  config.task_capacity = 60;
  config.actor_capacity = 20;
  config.process_capacity = 12;
  config.processors = 1 + dice_.below(4);
  config.registered_worker_capacity = 8;
  config.heap_bytes = 512 << 10;
  config.spill_bytes = is_low_level_ ? 0 : 1 << 20;
  config.records_call_sites = dice_.below(2);
  const auto usage = runtime::DomainUsage::kSession;
  EXPECT(!driver_.create("fuzz_scheduler", "fuzz_objectstore", config, usage, ProcessKind::kDriver, true));
  if (config.spill_bytes != 0) {
    spill_file_ = platform::create_anonymous_file("fuzz-spill", config.spill_bytes + platform::kPageBytes);
    EXPECT(spill_file_ >= 0 && driver_.set_spill_file(platform::duplicate_descriptor(spill_file_)) == 0);
  }
  attach(worker_);
  attach(other_);
  attach(host_);
}

void World::attach(Domain& domain) {
  if (domain.attach_descriptors(driver_.control_file(), driver_.heap_file(), runtime::DomainUsage::kSession,
                                ProcessKind::kWorker))
    throw Refused{};
  if (spill_file_ >= 0) EXPECT(domain.set_spill_file(platform::duplicate_descriptor(spill_file_)) == 0);
}

Domain& World::somebody() { return *attached()[dice_.below(4)]; }

ObjectKey World::any_key() {
  if (keys_.empty()) throw Refused{};
  return keys_[dice_.below(static_cast<std::uint32_t>(keys_.size()))];
}

// --- a program in the middle ----------------------------------------------------------------------------------------

void World::make_function() {
  const Index slot = begin_object(driver_, 64);
  std::byte* payload = driver_.objects.payload_for_write(slot);
  std::memset(payload, 0, 64);
  payload[0] = std::byte{scheduler::kFunctionFormat};
  const std::uint32_t length = 4;
  std::memcpy(payload + 4, &length, sizeof(length));
  std::memcpy(payload + 8, "task", 4);
  seal(driver_, slot);
  function_ = slot;
  const Index described = begin_object(driver_, 8);
  seal(driver_, described);
  Transaction transaction(driver_.lock);
  scheduler::Resource& resource = driver_.scheduler.resource(scheduler::kCpu);
  transaction.set(resource.total, 2 * scheduler::kResourceUnit);
  transaction.set(resource.available, 2 * scheduler::kResourceUnit);
  const scheduler::Demand demand{scheduler::kCpu, 0, scheduler::kResourceUnit};
  shape_ = machine_shape_ = driver_.scheduler.find_shape(transaction, &demand, 1);
  const std::uint32_t environment = driver_.scheduler.find_environment(transaction, described);
  other_shape_ = driver_.scheduler.find_shape(transaction, &demand, 1, {.environment = environment});
}

void World::build() {
  const auto some = [this](std::uint32_t least, std::uint32_t more, auto what) {
    for (std::uint32_t count = least + dice_.below(more + 1); count > 0; --count) {
      try {
        what();
      } catch (const Refused&) {  // as in any program
      }
    }
  };
  if (is_low_level_) {
    some(10, 30, [this] { step_low_level(); });
  } else {
    make_function();
    some(3, 10, [this] { (void)put(driver_, dice_.below(600), dice_.below(3)); });
    some(0, 4, [this] { (void)put(driver_, 5000 + dice_.below(30000), 0); });
    some(2, 8, [this] { submit(); });
    Wakes wakes;
    Transaction transaction(worker_.lock);
    worker_.scheduler.add_worker(transaction, worker_.self(), wakes);
    transaction.close();
    worker_.perform(wakes);
    some(0, 3, [this] { make_actor(); });
    some(5, 30, [this] { step(); });
  }
  if (!dice_.one_in(3)) die(dice_.one_in(2));
}

// Somebody ends without a word: with references, pins, a wait, half-made objects; perhaps in the middle of a section.
void World::die(bool in_a_section) {
  Domain& domain = left_.emplace_back();
  attach(domain);
  dead_.push_back(domain.self());
  if (!is_low_level_) {
    Wakes wakes;
    Transaction transaction(domain.lock);
    if (!keys_.empty() && dice_.one_in(2))
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), any_key().slot);
    if (dice_.one_in(4)) domain.own_entry().environment.store_ordered(1);
    if (dice_.one_in(2)) domain.scheduler.add_worker(transaction, domain.self(), wakes);
    transaction.close();
    if (dice_.one_in(2)) (void)begin_object(domain, 10 + dice_.below(3000));
  }
  miniray::process::ProcessEntry& entry = domain.own_entry();
  auto identity = miniray::process::Identity::unpack(entry.identity.load_acquire());
  identity.number = dead_process_;
  entry.identity.store_release(identity.packed());
  entry.start_time.store_release(1);
  if (!in_a_section) return;
  // Never destroyed: its process is dead.
  alignas(Transaction) static std::byte storage[sizeof(Transaction)];
  auto* transaction = new (storage) Transaction(domain.lock);
  const Index slot = domain.objects.create(*transaction, ObjectState::kWriting, 0);
  if (slot != kNone) {
    (void)domain.objects.hold(*transaction, domain.own_entry(), domain.self(), slot);
    (void)domain.objects.reserve(*transaction, slot, 100, false);
  }
}

// --- objects --------------------------------------------------------------------------------------------------------

Index World::begin_object(Domain& domain, std::uint64_t size_bytes) {
  if (domain.ensure_rows(1, 0, 0) != 0) throw Refused{};
  Index slot = kNone;
  {
    Transaction transaction(domain.lock);
    slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
    if (slot == kNone) throw Refused{};
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot);
  }
  runtime::Reservation reserved = runtime::try_reserve_payload(domain, slot, size_bytes);
  if (reserved.result == runtime::ReserveResult::kInHeap && domain.objects.is_backed(slot)) return slot;
  if (reserved.result != runtime::ReserveResult::kInHeap && domain.heap.used_bytes() < domain.heap.capacity_bytes() / 2)
    reserved = runtime::reserve_payload(domain, slot, {.size_bytes = size_bytes, .may_use_file = false});
  if (reserved.result == runtime::ReserveResult::kInHeap) return slot;
  Transaction transaction(domain.lock);
  domain.objects.discard_payload(transaction, slot);
  (void)domain.objects.unhold(transaction, domain.self(), slot);
  throw Refused{};
}

void World::seal(Domain& domain, Index slot) {
  Wakes wakes;
  Transaction transaction(domain.lock);
  domain.scheduler.seal(transaction, slot, ObjectState::kSealed, wakes);
  transaction.close();
  domain.perform(wakes);
}

ObjectKey World::put(Domain& domain, std::uint64_t size_bytes, std::uint32_t contained_count) {
  if (keys_.empty()) contained_count = 0;
  size_bytes = (size_bytes + 7) / 8 * 8;
  const Index slot = begin_object(domain, size_bytes + 8ULL * contained_count);
  if (size_bytes != 0) std::memset(domain.objects.payload_for_write(slot), 0x5A, size_bytes);
  {
    Transaction transaction(domain.lock);
    for (std::uint32_t i = 0; i < contained_count; ++i) domain.objects.add_contained(transaction, slot, any_key());
  }
  seal(domain, slot);
  const ObjectKey key = domain.objects.key(slot);
  if (&domain == &driver_) {
    keys_.push_back(key);
  } else {
    Transaction transaction(domain.lock);
    (void)domain.objects.unhold(transaction, domain.self(), slot);
  }
  return key;
}

void World::drop_one() {
  const ObjectKey key = any_key();
  std::erase(keys_, key);
  {
    Transaction transaction(driver_.lock);
    (void)driver_.objects.unhold(transaction, driver_.self(), key.slot);
  }
  if (dice_.one_in(2)) driver_.reclaim();
}

void World::read_one() {
  const ObjectKey key = any_key();
  PayloadView view;
  if (driver_.objects.try_read(driver_.lock, key, view) != ObjectTable::ReadResult::kReady) throw Refused{};
  std::byte copy[2048];
  if (!view.is_spilled && view.value_bytes() <= sizeof(copy) && driver_.objects.try_copy(key, view, copy))
    touch(copy, view.value_bytes());
  for (std::uint32_t i = 0; i < view.contained_count; ++i)
    (void)driver_.objects.is_current(driver_.objects.contained(key.slot, i));
}

void World::pin_one() {
  if (!pinned_.empty() && dice_.one_in(2)) {
    const ObjectKey key = pinned_.back();
    pinned_.pop_back();
    Transaction transaction(driver_.lock);
    (void)driver_.objects.unpin(transaction, driver_.self(), key.slot);
    return;
  }
  const ObjectKey key = any_key();
  PayloadView view;
  {
    Transaction transaction(driver_.lock);
    if (!driver_.objects.is_current(key) || driver_.objects[key.slot].state.get() != as_word(ObjectState::kSealed))
      throw Refused{};
    if (driver_.objects.pin(transaction, driver_.own_entry(), driver_.self(), key.slot)) pinned_.push_back(key);
    view = driver_.objects.view(key.slot);
  }
  if (view.is_spilled && !runtime::spilled_is_intact(driver_, key.slot)) throw Refused{};
  touch(view.data, view.value_bytes());
}

void World::begin_spill() {
  store::SpillVictim victims[8];
  std::uint32_t count = 0;
  if (driver_.spill.ensure_rows(100'000) != 0) throw Refused{};
  {
    Transaction transaction(driver_.lock);
    (void)driver_.objects.begin_spill(transaction, driver_.own_entry(), 1 + dice_.below(20'000), victims, 8, count);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (platform::write_file(driver_.spill_file(), victims[i].file_offset, victims[i].payload, victims[i].value_bytes) == 0)
      victims[i].is_written = true;
    victims[i].checksum = 1;
    if (dice_.one_in(4)) continue;  // by a thread that is slow
    Transaction transaction(driver_.lock);
    (void)driver_.objects.end_spill(transaction, driver_.own_entry(), victims[i]);
  }
}

void World::spill() {
  if (is_low_level_) throw Refused{};
  switch (dice_.below(4)) {
    case 0:
      (void)runtime::make_room(driver_, 1 + dice_.below(50'000));
      return;
    case 1: {
      Transaction transaction(driver_.lock);
      (void)driver_.objects.abort_spill_step(transaction, driver_.own_entry());
      return;
    }
    case 2: {  // straight to the file
      const Index slot = begin_object(driver_, 16);
      {
        Transaction transaction(driver_.lock);
        driver_.objects.discard_payload(transaction, slot);
      }
      const std::uint64_t size_bytes = driver_.heap.capacity_bytes() + 1;
      const auto result = runtime::reserve_payload(driver_, slot, {.size_bytes = size_bytes}).result;
      if (result == runtime::ReserveResult::kInFile) {
        runtime::PayloadWindow window;
        if (std::byte* payload = window.open(driver_, slot); payload != nullptr) {
          payload[0] = payload[size_bytes - 1] = std::byte{1};
          window.finish(driver_, slot);
        }
      }
      Transaction transaction(driver_.lock);
      driver_.objects.discard_payload(transaction, slot);
      (void)driver_.objects.unhold(transaction, driver_.self(), slot);
      return;
    }
    default:
      begin_spill();
  }
}

}  // namespace fuzz
