// What is found damaged poisons: nobody gets the lock any more, all learn why, and nothing is written through what was damaged. And numbers
// that have come round: a generation after the largest.
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "heap_fixture.hpp"
#include "recovery/dead_process.hpp"
#include "runtime/wait.hpp"
#include "testing.hpp"

namespace {

using miniray::debug::Damage;
using miniray::runtime::Domain;
using miniray::runtime::DomainUsage;
using miniray::runtime::ObjectKey;
using miniray::runtime::ObjectState;
using miniray::runtime::ProcessKind;
using miniray::runtime::Transaction;
using miniray::shm::Index;
using miniray::shm::LockWord;

constexpr std::uint32_t kDeadHolder = LockWord::holder(7, 3);

template <class Call>
bool throws_damage(Call call, const char* text) {
  try {
    call();
  } catch (const Damage& damage) {
    return std::strcmp(damage.text(), text) == 0;
  }
  return false;
}

void open(Domain& domain, ProcessKind kind = ProcessKind::kDriver) {
  miniray::runtime::DomainConfig config;
  config.object_capacity = 100;
  config.task_capacity = 10;
  config.process_capacity = 4;
  config.heap_bytes = 1 << 20;
  EXPECT(!domain.create("poison_scheduler", "poison_objectstore", config, DomainUsage::kSession, kind, true));
}

void attach(Domain& domain, const Domain& other) {
  EXPECT(!domain.attach_descriptors(other.control_file(), other.heap_file(), DomainUsage::kSession, ProcessKind::kWorker));
}

Index make_object(Domain& domain, ObjectState state) {
  EXPECT(domain.ensure_rows(1, 0, 0) == 0);
  Transaction transaction(domain.lock);
  const Index slot = domain.objects.create(transaction, state, 0);
  (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), slot);
  return slot;
}

void a_section_that_finds_damage_poisons_and_the_first_text_stays() {
  HeapFixture fixture(64);
  const std::uint64_t offset = fixture.allocate(100);
  EXPECT(throws_damage([&] { fixture.free(offset + 64ULL * 4096, 100); }, "heap: a payload lies outside"));
  EXPECT(fixture.lock.is_poisoned() && fixture.lock.block().word.load_relaxed() == 0);
  fixture.lock.poison("another reason");
  EXPECT(throws_damage([&] { fixture.free(offset, 100); }, "heap: a payload lies outside"));
  const auto before = fixture.lock.block().committed.load_relaxed();
  EXPECT(throws_damage([&] { (void)fixture.allocate(100); }, "heap: a payload lies outside"));
  EXPECT(fixture.lock.block().committed.load_relaxed() == before);
}

// A journal entry that names no cell is not written back.
void a_damaged_journal_is_not_undone(std::uint64_t location, const char* text) {
  HeapFixture fixture(64);
  miniray::shm::LockBlock& block = fixture.lock.block();
  block.journal[0] = {location, 0x5A5A5A5A5A5A5A5AULL};
  block.journal_count.store_relaxed(1);
  block.active.store_relaxed(block.committed.load_relaxed() + 1);
  block.word.store_relaxed(kDeadHolder);
  fixture.dead = true;
  EXPECT(fixture.lock.recover_from(kDeadHolder));
  EXPECT(throws_damage([&] { (void)fixture.allocate(100); }, text));
}

void a_journal_without_end_is_not_undone() {
  HeapFixture fixture(64);
  miniray::shm::LockBlock& block = fixture.lock.block();
  block.journal_count.store_relaxed(~0U);
  block.active.store_relaxed(block.committed.load_relaxed() + 1);
  block.word.store_relaxed(kDeadHolder);
  EXPECT(fixture.lock.recover_from(kDeadHolder));
  EXPECT(throws_damage([&] { (void)fixture.allocate(100); }, "lock: the journal has more entries than room"));
}

void a_living_process_that_seems_to_hold_the_lock_for_ever_is_noticed() {
  HeapFixture fixture(64);
  fixture.lock.block().word.store_relaxed(LockWord::holder(9, 9));
  EXPECT(throws_damage([&] { (void)fixture.allocate(100); }, "lock: its word names a living process that does not let it go"));
}

// However long it was stopped, from then on it has as long as any other.
void a_holder_that_was_stopped_is_waited_for() {
  const std::int64_t patience_ns = std::exchange(miniray::debug::patience_ns, 200'000'000);
  HeapFixture fixture(64);
  fixture.lock.block().word.store_relaxed(LockWord::holder(9, 9));
  int looks = 0;
  std::uint64_t stopped_ns = 0;
  fixture.on_stall = [&](const miniray::shm::Stall& stall, miniray::shm::LockBlock& block) {
    ++looks;
    if (looks <= 6) stopped_ns = stall.waited_ns;
    if (looks == 8) block.word.store_release(0);
    return looks <= 6;
  };
  EXPECT(fixture.allocate(100) != 0);
  EXPECT(looks == 8 && stopped_ns > 200'000'000);
  miniray::debug::patience_ns = patience_ns;
}

void a_thread_that_waits_for_the_lock_learns_of_it() {
  HeapFixture fixture(64);
  EXPECT(fixture.lock.acquire());
  std::atomic<bool> is_told = false;
  std::thread waiting([&] { is_told = throws_damage([&] { (void)fixture.allocate(100); }, "said by the holder"); });
  fixture.lock.poison("said by the holder");
  fixture.lock.release();
  waiting.join();
  EXPECT(is_told);
}

void a_wait_and_an_idle_worker_learn_of_it() {
  Domain driver;
  Domain worker;
  open(driver);
  attach(worker, driver);
  const Index slot = make_object(driver, ObjectState::kPending);
  const ObjectKey key = driver.objects.key(slot);
  const std::atomic<bool> ends = false;
  std::atomic<int> told = 0;
  std::atomic<int> started = 0;
  std::thread waiting([&] {
    miniray::runtime::ObjectWait wait(driver);
    bool no_room = false;
    EXPECT(!wait.begin(&key, 1, 1, true, no_room) && !no_room);
    ++started;
    told += throws_damage([&] { (void)wait.sleep(miniray::platform::kForever, ends); }, "the test says so") ? 1 : 0;
  });
  std::thread idle([&] {
    ++started;
    told += throws_damage([&] { (void)miniray::runtime::wait_for_lease(worker, 1, 0, miniray::platform::kForever); },
                          "the test says so")
                ? 1
                : 0;
  });
  while (started.load() != 2) std::this_thread::yield();
  driver.poison("the test says so");
  waiting.join();
  idle.join();
  EXPECT(told == 2);
  Domain late;
  EXPECT(
      late.attach_descriptors(driver.control_file(), driver.heap_file(), DomainUsage::kSession, ProcessKind::kWorker).error ==
      miniray::runtime::DomainError::kCorrupt);
}

void an_audit_poisons_when_it_finds_a_fault_twice() {
  Domain driver;
  open(driver);
  (void)make_object(driver, ObjectState::kPending);  // which no task will make
  const char* suspected = nullptr;
  driver.audit(suspected);
  EXPECT(suspected != nullptr && !driver.is_poisoned());
  EXPECT(throws_damage([&] { driver.audit(suspected); }, "objects: one that is to be made has no task that makes it"));
  EXPECT(driver.is_poisoned());
}

// --- numbers that come round ------------------------------------------------------------------------------------------------

void an_objects_generation_comes_round() {
  Domain domain;
  open(domain);
  Index slot = make_object(domain, ObjectState::kWriting);
  const auto end = [&](Index ended) {
    Transaction transaction(domain.lock);
    (void)domain.objects.unhold(transaction, domain.self(), ended);
  };
  end(slot);
  {
    Transaction transaction(domain.lock);
    transaction.set(domain.objects[slot].generation, ~0U);
  }
  const Index last = make_object(domain, ObjectState::kWriting);
  EXPECT(last == slot && domain.objects.key(last).generation == ~0U);
  const ObjectKey old = domain.objects.key(last);
  end(last);
  EXPECT(!domain.objects.is_current(old));
  for (int i = 0; i < 3; ++i) {
    slot = make_object(domain, ObjectState::kWriting);
    EXPECT(slot == old.slot && domain.objects.key(slot).generation != old.generation &&
           domain.objects.key(slot).generation != 0);
    EXPECT(domain.objects.is_current(domain.objects.key(slot)) && !domain.objects.is_current(old));
    EXPECT(domain.objects.find(domain.objects.key(slot).id(domain.objects.nonce())) == domain.objects.key(slot));
    end(slot);
  }
  EXPECT_VALID(domain);
}

void a_processs_generation_comes_round() {
  Domain driver;
  open(driver);
  std::uint32_t rounds = 0;
  std::uint32_t previous = 0;
  for (int i = 0; i < 40; ++i) {
    Domain other;
    attach(other, driver);
    const miniray::process::ProcessId self = other.self();
    rounds += i > 0 && self.generation < previous ? 1 : 0;
    previous = self.generation;
    EXPECT(other.processes.is_current(self));
    (void)make_object(other, ObjectState::kWriting);
    other.detach();
    EXPECT(!driver.processes.is_current(self));
    if (i == 10) {  // near the end of the numbers
      miniray::process::ProcessEntry& entry = driver.processes[self.slot];
      auto identity = miniray::process::Identity::unpack(entry.identity.load_acquire());
      identity.generation = LockWord::kGenerationMask - 5;
      entry.identity.store_release(identity.packed());
    }
    EXPECT_VALID(driver);
  }
  EXPECT(rounds == 1);
}

// All rows of processes taken: an error; and as many again when they have left.
void process_rows_run_out_and_come_back() {
  Domain driver;
  open(driver);
  for (int round = 0; round < 3; ++round) {
    Domain others[3];
    for (Domain& other : others) attach(other, driver);
    Domain late;
    EXPECT(
        late.attach_descriptors(driver.control_file(), driver.heap_file(), DomainUsage::kSession, ProcessKind::kWorker).error ==
        miniray::runtime::DomainError::kNoProcessSlot);
  }
  EXPECT_VALID(driver);
}

}  // namespace

int main() {
  miniray::debug::patience_ns = 20'000'000;
  a_section_that_finds_damage_poisons_and_the_first_text_stays();
  constexpr std::uint64_t kOutside = HeapFixture::kControlBytes;
  const char* const no_cell = "lock: an entry of the journal names no cell";
  a_damaged_journal_is_not_undone(kOutside << 1 | 1, no_cell);
  a_damaged_journal_is_not_undone((kOutside - 4) << 1 | 1, no_cell);
  a_damaged_journal_is_not_undone(~0ULL, no_cell);
  a_damaged_journal_is_not_undone((HeapFixture::kHeaderOffset + 2) << 1, no_cell);
  a_damaged_journal_is_not_undone((HeapFixture::kLockOffset + 8) << 1 | 1, no_cell);
  a_journal_without_end_is_not_undone();
  a_living_process_that_seems_to_hold_the_lock_for_ever_is_noticed();
  a_holder_that_was_stopped_is_waited_for();
  a_thread_that_waits_for_the_lock_learns_of_it();
  a_wait_and_an_idle_worker_learn_of_it();
  an_audit_poisons_when_it_finds_a_fault_twice();
  an_objects_generation_comes_round();
  a_processs_generation_comes_round();
  process_rows_run_out_and_come_back();
  std::puts("ok");
}
