// Threads on one mapping: objects that hold others, are looked at and go to the spill file, tasks through the queue, waits across
// threads, tables that are trimmed under way. At the end nothing is in use and validate() agrees. Meant for the sanitizers; the seed is
// printed.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/spilling.hpp"
#include "runtime/task_queue.hpp"
#include "runtime/wait.hpp"
#include "testing.hpp"

namespace {

using miniray::runtime::Domain;
using miniray::runtime::ObjectKey;
using miniray::runtime::ObjectState;
using miniray::runtime::TaskQueue;
using miniray::runtime::Transaction;
using miniray::shm::Index;
using miniray::shm::kNone;
using miniray::store::AllocateResult;
using miniray::store::ObjectTable;
using miniray::store::PayloadView;

constexpr int kThreads = 4;

int scaled(int count) {
  const char* scale = std::getenv("MINIRAY_TEST_SCALE");
  const double factor = scale == nullptr ? 1.0 : std::strtod(scale, nullptr);
  return count * factor < 50 ? 50 : static_cast<int>(count * factor);
}

std::byte pattern(Index slot) { return static_cast<std::byte>(slot * 7 + 1); }

// A sealed object of this process that holds `contained`.
ObjectKey make_object(Domain& domain, std::uint64_t size, const std::vector<ObjectKey>& contained) {
  Index slot = kNone;
  if (!contained.empty()) size = (size + 7) & ~7ULL;  // the pairs at the end are aligned
  const std::uint64_t total = size + 8 * contained.size();
  for (;;) {
    EXPECT(domain.ensure_rows(1, 0, 0) == 0);
    EXPECT(domain.heap.ensure_rows(total) == 0);
    Transaction transaction(domain.lock);
    slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
    if (slot == kNone) continue;
    EXPECT(domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot));
    const AllocateResult result = domain.objects.reserve(transaction, slot, total, false);
    if (result == AllocateResult::kDone) break;
    EXPECT(result == AllocateResult::kNeedsBacking);
    EXPECT(domain.objects.unhold(transaction, domain.self(), slot));
  }
  if (const std::uint64_t offset = domain.objects[slot].offset.get(); offset != 0) {
    EXPECT(domain.heap.ensure_backed(offset, total) == 0);
  }
  std::memset(domain.objects.payload_for_write(slot), static_cast<int>(pattern(slot)), size);
  Transaction transaction(domain.lock);
  for (const ObjectKey& key : contained) domain.objects.add_contained(transaction, slot, key);
  (void)domain.objects.seal(transaction, slot, ObjectState::kSealed);
  return domain.objects.key(slot);
}

void check_object(Domain& domain, ObjectKey key) {
  PayloadView view;
  while (domain.objects.try_read(domain.lock, key, view) != ObjectTable::ReadResult::kReady) std::this_thread::yield();
  for (std::uint64_t i = 0; i < view.value_bytes(); ++i) EXPECT(view.data[i] == pattern(key.slot));
}

void drop(Domain& domain, ObjectKey key) {
  {
    Transaction transaction(domain.lock);
    EXPECT(domain.objects.unhold(transaction, domain.self(), key.slot));
  }
  domain.reclaim();
}

void work_on_objects(Domain& domain, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<ObjectKey> mine;
  for (int i = scaled(40000); i > 0; --i) {
    std::vector<ObjectKey> contained;
    for (unsigned wanted = random() % 4; wanted > 0 && !mine.empty(); --wanted)
      contained.push_back(mine[random() % mine.size()]);
    mine.push_back(make_object(domain, random() % (random() % 10 == 0 ? 50'000 : 300), contained));
    check_object(domain, mine[random() % mine.size()]);
    if (mine.size() > 40 || random() % 3 == 0) {
      const std::size_t victim = random() % mine.size();
      drop(domain, mine[victim]);
      mine[victim] = mine.back();
      mine.pop_back();
    }
    if (random() % 500 == 0) (void)domain.trim();
  }
  for (const ObjectKey& key : mine) drop(domain, key);
}

// What is looked at stays where it is, whatever others spill meanwhile; what was spilled is what was written.
void look_at_object(Domain& domain, ObjectKey key) {
  PayloadView view;
  bool is_first = false;
  {
    Transaction transaction(domain.lock);
    is_first = domain.objects.pin(transaction, domain.own_entry(), domain.self(), key.slot);
    view = domain.objects.view(key.slot);
  }
  EXPECT(is_first);  // objects are their thread's own
  if (view.is_spilled) EXPECT(miniray::runtime::spilled_is_intact(domain, key.slot));
  std::this_thread::yield();
  for (std::uint64_t i = 0; i < view.value_bytes(); ++i) EXPECT(view.data[i] == pattern(key.slot));
  Transaction transaction(domain.lock);
  EXPECT(domain.objects.unpin(transaction, domain.self(), key.slot));
}

// More than the heap holds: memory as a put gets it, a look as a get takes it.
void work_on_large_objects(Domain& domain, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<ObjectKey> mine;
  for (int i = scaled(4000); i > 0; --i) {
    EXPECT(domain.ensure_rows(1, 0, 0) == 0);
    Index slot = kNone;
    {
      Transaction transaction(domain.lock);
      slot = domain.objects.create(transaction, ObjectState::kWriting, 0);
      if (slot == kNone) continue;
      EXPECT(domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot));
    }
    const std::uint64_t value_bytes = (1000 + random() % 199'000) / 8 * 8;
    const bool refers = !mine.empty() && random() % 3 == 0;
    const auto reserved = miniray::runtime::reserve_payload(domain, slot, {value_bytes + (refers ? 8 : 0), refers ? 1U : 0U});
    if (reserved.result == miniray::runtime::ReserveResult::kInFile) {
      miniray::runtime::PayloadWindow window;
      std::memset(window.open(domain, slot), static_cast<int>(pattern(slot)), value_bytes);
      window.finish(domain, slot);
    } else {
      EXPECT(reserved.result == miniray::runtime::ReserveResult::kInHeap);
      std::memset(domain.objects.payload_for_write(slot), static_cast<int>(pattern(slot)), value_bytes);
    }
    {
      Transaction transaction(domain.lock);
      if (refers) domain.objects.add_contained(transaction, slot, mine[random() % mine.size()]);
      (void)domain.objects.seal(transaction, slot, ObjectState::kSealed);
      mine.push_back(domain.objects.key(slot));
    }
    look_at_object(domain, mine[random() % mine.size()]);
    if (mine.size() > 100 || random() % 4 == 0) {
      const std::size_t victim = random() % mine.size();
      drop(domain, mine[victim]);
      mine[victim] = mine.back();
      mine.pop_back();
    }
  }
  for (const ObjectKey& key : mine) drop(domain, key);
}

// Two threads spill at once; a third gives disk space back, as the supervisor does, one at a time.
void fill_a_small_store(unsigned seed) {
  Domain domain;
  miniray::runtime::DomainConfig config;
  config.object_capacity = 10'000;
  config.task_capacity = 100;
  config.heap_bytes = 4 << 20;
  config.spill_bytes = 64 << 20;
  EXPECT(!domain.create("miniray_stress-spilling_scheduler", "miniray_stress-spilling_objectstore", config,
                        miniray::runtime::DomainUsage::kSession, miniray::runtime::ProcessKind::kDriver, true));
  EXPECT(domain.set_spill_file(miniray::platform::create_anonymous_file(
             "stress-spill", domain.header().spill.page_count * miniray::store::kPageBytes)) == 0);
  std::vector<std::thread> threads;
  std::atomic<bool> ends = false;
  for (unsigned i = 0; i < 2; ++i) threads.emplace_back([&, i] { work_on_large_objects(domain, seed + i); });
  std::thread validator([&] {
    while (!ends.load()) {
      EXPECT(domain.validate() == nullptr);
      domain.discard_freed_places(0xFFFFFFFF);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  for (std::thread& thread : threads) thread.join();
  ends.store(true);
  validator.join();
  EXPECT(domain.validate() == nullptr);
  EXPECT(domain.heap.used_bytes() == 0 && domain.spill.used_bytes() == 0 && domain.objects.slots.used_count() == 0);
}

void submit_and_take(Domain& domain, unsigned seed, std::atomic<long>& balance) {
  std::mt19937 random(seed);
  TaskQueue queue(domain);
  std::vector<std::byte> bytes(3000);
  for (int i = scaled(40000); i > 0; --i) {
    const std::uint64_t function = random() % 100;
    const std::uint64_t arguments = random() % (random() % 4 == 0 ? 2000 : 60);
    for (std::uint64_t k = 0; k < function + arguments; ++k) bytes[k] = static_cast<std::byte>(function + k);
    int error = 0;
    EXPECT(queue.submit({1, function}, {bytes.data(), function}, {bytes.data() + function, arguments}, error) ==
           miniray::runtime::SubmitResult::kDone);
    balance.fetch_add(1);
    miniray::runtime::TakenTask task;
    if (random() % 3 == 0 || !queue.take(task)) continue;
    balance.fetch_sub(1);
    EXPECT(task.function_bytes == task.tag.low);
    for (std::uint64_t k = 0; k < task.function_bytes + task.argument_bytes; ++k) {
      EXPECT(task.data[k] == static_cast<std::byte>(task.function_bytes + k));
    }
    queue.release(task);
  }
  miniray::runtime::TakenTask task;
  while (queue.take(task)) {
    balance.fetch_sub(1);
    queue.release(task);
  }
}

// One thread makes pending objects and seals them, another waits for each.
void wait_for_each_other(Domain& domain) {
  constexpr int kRing = 16;
  std::array<std::atomic<std::uint64_t>, kRing> ring{};
  const int rounds = scaled(30000);
  std::thread sealer([&] {
    for (int i = 0; i < rounds; ++i) {
      std::atomic<std::uint64_t>& place = ring[static_cast<std::size_t>(i % kRing)];
      while (place.load() != 0) std::this_thread::yield();
      ObjectKey key;
      for (;;) {
        EXPECT(domain.ensure_rows(1, 0, 1) == 0);
        Transaction transaction(domain.lock);
        const Index slot = domain.objects.create(transaction, ObjectState::kPending, 0);
        if (slot == kNone) continue;
        EXPECT(domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot));
        key = domain.objects.key(slot);
        break;
      }
      place.store(std::uint64_t{key.generation} << 32 | key.slot);
      if (i % 3 == 0) std::this_thread::yield();
      miniray::scheduler::Wakes wakes;
      {
        Transaction transaction(domain.lock);
        domain.scheduler.seal(transaction, key.slot, ObjectState::kSealed, wakes);
      }
      domain.perform(wakes);
    }
  });
  const std::atomic<bool> ends = false;
  for (int i = 0; i < rounds; ++i) {
    std::atomic<std::uint64_t>& place = ring[static_cast<std::size_t>(i % kRing)];
    std::uint64_t word = 0;
    while ((word = place.load()) == 0) std::this_thread::yield();
    const ObjectKey key{static_cast<Index>(word), static_cast<std::uint32_t>(word >> 32)};
    {
      miniray::runtime::ObjectWait wait(domain);
      bool no_room = false;
      if (!wait.begin(&key, 1, 1, true, no_room)) {
        EXPECT(!no_room);
        while (wait.sleep(miniray::platform::kForever, ends) != miniray::runtime::WaitOutcome::kReady) {
        }
      }
    }
    check_object(domain, key);
    place.store(0);
    drop(domain, key);
  }
  sealer.join();
}

}  // namespace

int main() {
  const unsigned seed = std::getenv("MINIRAY_TEST_SEED") != nullptr
                            ? static_cast<unsigned>(std::strtoul(std::getenv("MINIRAY_TEST_SEED"), nullptr, 10))
                            : std::random_device{}();
  std::printf("seed %u\n", seed);
  const std::string name = "miniray_stress" + std::to_string(miniray::platform::current_process());
  Domain domain;
  miniray::runtime::DomainConfig config;
  config.object_capacity = 100'000;
  config.task_capacity = 100'000;
  config.heap_bytes = 256 << 20;
  EXPECT(!domain.create(name.c_str(), name.c_str(), config, miniray::runtime::DomainUsage::kScheduler,
                        miniray::runtime::ProcessKind::kDriver));
  std::atomic<long> balance{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back(
        [&, i] { i % 2 == 0 ? work_on_objects(domain, seed + i) : submit_and_take(domain, seed + i, balance); });
  }
  wait_for_each_other(domain);
  for (std::thread& thread : threads) thread.join();
  miniray::runtime::TakenTask task;
  TaskQueue queue(domain);
  while (queue.take(task)) {
    balance.fetch_sub(1);
    queue.release(task);
  }
  EXPECT(balance.load() == 0);
  (void)domain.trim();
  const char* fault = domain.validate();
  if (fault != nullptr) std::fprintf(stderr, "%s\n", fault);
  EXPECT(fault == nullptr);
  EXPECT(domain.heap.used_bytes() == 0);
  EXPECT(domain.objects.slots.used_count() == 0);
  EXPECT(domain.scheduler.tasks.used_count() == 0);
  domain.detach();
  Domain::unlink(name.c_str(), name.c_str());
  fill_a_small_store(seed);
  std::printf("ok\n");
}
