// Three processes' handles on one domain, one thread: random lives of objects against a model. Whatever order creating, sealing,
// pinning, dropping, spilling, discarding and dying come in, and wherever in a section a death falls, the structures agree, no byte of
// a payload changes, and no memory is lost. Seeds are printed; MINIRAY_TEST_SEED runs one alone.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "recovery/dead_process.hpp"
#include "store/checksum.hpp"
#include "testing.hpp"

namespace {

namespace platform = miniray::platform;
using miniray::runtime::Domain;
using miniray::runtime::DomainConfig;
using miniray::runtime::DomainUsage;
using miniray::runtime::ObjectKey;
using miniray::runtime::ObjectState;
using miniray::runtime::PageHeap;
using miniray::runtime::ProcessKind;
using miniray::runtime::Transaction;
using miniray::shm::Index;
using miniray::shm::kNone;
using miniray::store::AllocateResult;
using miniray::store::ObjectTable;
using miniray::store::PayloadView;
using miniray::store::SpillVictim;

constexpr int kProcesses = 3;  // the first one never dies: it recovers the others
constexpr std::uint64_t kHeapBytes = 2 << 20;
constexpr std::uint64_t kFileBytes = 3 << 20;
constexpr platform::ProcessNumber kNobody = 0x3FFFFFFF;  // no process has that number

struct Object {
  unsigned seed = 0;
  std::uint64_t value_bytes = 0;
  std::vector<std::uint64_t> contained;
  std::set<int> holders;
  std::uint32_t contained_in = 0;  // places in living objects
  bool is_sealed = false;
  std::vector<std::uint64_t> wanted;  // while it is made: what it is to contain
  bool is_reserved = false;
  [[nodiscard]] bool lives() const { return !holders.empty() || contained_in != 0; }
};

struct Pin {
  const std::byte* data;
  unsigned seed;
  std::uint64_t value_bytes;
};

std::uint64_t word_of(ObjectKey key) { return std::uint64_t{key.generation} << 32 | key.slot; }
ObjectKey key_of(std::uint64_t word) { return {static_cast<Index>(word), static_cast<std::uint32_t>(word >> 32)}; }

std::byte pattern(unsigned seed, std::uint64_t position) {
  return static_cast<std::byte>(seed * 131 + position * 7 + (position >> 12));
}

void fill(std::byte* data, unsigned seed, std::uint64_t size) {
  for (std::uint64_t i = 0; i < size; ++i) data[i] = pattern(seed, i);
}

// Both ends and some bytes between: all of them, every step, would take too long.
bool is_filled(const std::byte* data, unsigned seed, std::uint64_t size) {
  for (std::uint64_t i = 0; i < size; i += i < 64 || i + 64 > size ? 1 : 509) {
    if (data[i] != pattern(seed, i)) return false;
  }
  return size == 0 || data[size - 1] == pattern(seed, size - 1);
}

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {
    DomainConfig config;
    config.object_capacity = 3000;
    config.task_capacity = 100;
    config.process_capacity = 16;
    config.heap_bytes = kHeapBytes;
    config.spill_bytes = kFileBytes;
    EXPECT(!self().create("miniray_test-world_scheduler", "miniray_test-world_objectstore", config, DomainUsage::kSession,
                          ProcessKind::kDriver, true));
    file_ = platform::create_anonymous_file("test-spill", self().header().spill.page_count * miniray::store::kPageBytes);
    open_spill_file(self());
    for (int p = 1; p < kProcesses; ++p) attach(p);
  }
  ~World() { platform::close_descriptor(file_); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void step() {
    const int p = static_cast<int>(random_() % kProcesses);
    switch (random_() % 24) {
      case 0:
      case 1:
      case 2:
      case 3:
        return begin_object(p);
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
        return go_on_with_object(p);
      case 10:
      case 11:
        return drop(p);
      case 12:
        return random_() % 100 == 0 ? drop_all(p) : share(p);
      case 13:
        return share(p);
      case 14:
        return pin(p);
      case 15:
      case 16:
        return unpin(p);
      case 17:
      case 18:
        return begin_spill(p);
      case 19:
      case 20:
        return end_spill(p);
      case 21:
        return reclaim(p);
      case 22:
        return discard();
      default:
        if (random_() % 4 == 0) return rebuild();
        if (random_() % 20 == 0) return die(random_() % (kProcesses - 1) + 1);
        return self().reclaim();
    }
  }

  void check() {
    EXPECT_VALID(self());
    std::uint64_t heap_bytes = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t used = 0;
    bool is_orphan_left = false;
    self().objects.slots.for_each_used([&](Index slot) {
      const auto& entry = self().objects[slot];
      ++used;
      const bool is_spilled = entry.has(miniray::store::kSpilled);
      const std::uint64_t bytes = is_spilled ? entry.spill_place().pair_bytes.get() : entry.size_bytes.get();
      if (entry.offset.get() != 0) heap_bytes += PageHeap::charged_bytes(bytes);
      if (is_spilled || entry.has(miniray::store::kSpilling))
        file_bytes += PageHeap::charged_bytes(entry.spill_place().value_bytes.get());
      is_orphan_left = is_orphan_left || entry.current_state() == ObjectState::kOrphaned;
    });
    EXPECT(heap_bytes == self().heap.used_bytes());
    EXPECT(file_bytes == self().spill.used_bytes());
    EXPECT(used >= objects_.size());
    if (!self().objects.has_reclaimable() && !is_orphan_left) EXPECT(used == objects_.size());
    for (const auto& [word, object] : objects_) check_object(key_of(word), object);
    for (const auto& pins : pins_) {
      for (const auto& [word, pin] : pins) EXPECT(is_filled(pin.data, pin.seed, pin.value_bytes));  // O7p
    }
  }

  void end() {
    for (int p = 0; p < kProcesses; ++p) {
      while (!victims_[p].empty()) end_spill(p);
      while (!pins_[p].empty()) unpin(p);
      if (p != 0) die(static_cast<unsigned>(p));
    }
    while (!making_[0].empty()) give_up(0, 0);
    while (!held_by(0).empty()) drop(0);
    self().reclaim();
    check();
    EXPECT(objects_.empty() && self().objects.slots.used_count() == 0);
    EXPECT(self().heap.used_bytes() == 0 && self().spill.used_bytes() == 0);
    self().discard_freed_places(0xFFFFFFFF);
    EXPECT_VALID(self());
    for (auto& domain : domains_) domain->detach();
  }

  std::map<std::string, long> counts;

 private:
  [[nodiscard]] Domain& self() { return *domains_[0]; }
  [[nodiscard]] Domain& domain(int p) { return *domains_[static_cast<std::size_t>(p)]; }

  void open_spill_file(Domain& domain) { EXPECT(domain.set_spill_file(platform::duplicate_descriptor(file_)) == 0); }
  void attach(int p) {
    domains_[static_cast<std::size_t>(p)] = std::make_unique<Domain>();
    EXPECT(
        !domain(p).attach_descriptors(self().control_file(), self().heap_file(), DomainUsage::kSession, ProcessKind::kWorker));
    open_spill_file(domain(p));
  }

  void check_object(ObjectKey key, const Object& object) {
    EXPECT(self().objects.is_current(key));
    if (!object.is_sealed) return;
    PayloadView view;
    EXPECT(self().objects.try_read(self().lock, key, view) == ObjectTable::ReadResult::kReady);
    EXPECT(view.value_bytes() == object.value_bytes && view.contained_count == object.contained.size());
    EXPECT(is_filled(view.data, object.seed, object.value_bytes));
    for (std::uint32_t i = 0; i < view.contained_count; ++i)
      EXPECT(word_of(self().objects.contained(key.slot, i)) == object.contained[i]);
    if (view.is_spilled && random_() % 16 == 0) {
      const auto& place = self().objects[key.slot].spill_place();
      EXPECT(place.checksum.get() == sum(view.data, object.value_bytes));
    }
  }
  [[nodiscard]] std::uint32_t sum(const std::byte* data, std::uint64_t size) {
    return miniray::store::checksum(data, size, static_cast<std::uint32_t>(self().objects.nonce()));
  }

  [[nodiscard]] std::vector<std::uint64_t> held_by(int p, bool sealed_only = false) const {
    std::vector<std::uint64_t> found;
    for (const auto& [word, object] : objects_) {
      if (object.holders.contains(p) && (object.is_sealed || !sealed_only)) found.push_back(word);
    }
    return found;
  }
  [[nodiscard]] std::uint64_t any(const std::vector<std::uint64_t>& words) { return words[random_() % words.size()]; }

  // Runs a section of process `p`. Sometimes the process dies in it, after any number of its stores: then false, and nothing of it is
  // left. `section` must not commit.
  template <class Section>
  bool in_section(int p, Section section) {
    if (p == 0 || random_() % 80 != 0) {
      Transaction transaction(domain(p).lock);
      section(transaction);
      return true;
    }
    alignas(Transaction) std::byte memory[sizeof(Transaction)];
    section(*new (memory) Transaction(domain(p).lock));  // never ends
    auto& block = domain(p).lock.block();
    const std::uint32_t stores = block.journal_count.load_relaxed();
    const auto done = static_cast<std::uint32_t>(random_() % (stores + 1));
    for (std::uint32_t i = stores; i > done; --i) {
      const auto& entry = block.journal[i - 1];
      std::memcpy(domain(p).lock.region() + (entry.location >> 1), &entry.old_value, (entry.location & 1) != 0 ? 8 : 4);
    }
    block.journal_count.store_relaxed(done);
    ++counts["deaths in a section"];
    die(static_cast<unsigned>(p));
    return false;
  }

  void die(unsigned who) {
    const int p = static_cast<int>(who);
    Domain& dead = domain(p);
    const auto id = dead.self();
    auto identity = self().processes.identity(id.slot);
    identity.number = kNobody;
    self().processes[id.slot].identity.store_release(identity.packed());
    dead.abandon();
    if (random_() % 4 == 0) EXPECT(self().validate() == nullptr);  // takes the lock from it, if it had it
    if (random_() % 4 == 0) {
      // A rescuer dies half-way: what it had begun is done again.
      for (int steps = static_cast<int>(random_() % 4); steps > 0; --steps) {
        Transaction transaction(self().lock);
        if (random_() % 2 == 0) {
          (void)self().objects.abort_spill_step(transaction, self().processes[id.slot]);
        } else if (self().processes[id.slot].spilling.get() == kNone) {
          (void)self().objects.drop_rows(transaction, self().processes[id.slot], id, 1);
        }
      }
    }
    EXPECT(miniray::recovery::recover_process(self(), id, {kNobody, 0}));
    victims_[p].clear();
    pins_[p].clear();
    making_[p].clear();
    for (const std::uint64_t word : held_by(p)) objects_[word].holders.erase(p);
    settle();
    ++counts["deaths"];
    attach(p);
  }

  // Objects that nobody refers to any more leave the model, and what they contained with them.
  void settle() {
    for (bool again = true; again;) {
      again = false;
      for (auto found = objects_.begin(); found != objects_.end();) {
        if (found->second.lives()) {
          ++found;
          continue;
        }
        for (const std::uint64_t word : found->second.contained) --objects_.at(word).contained_in;
        again = again || !found->second.contained.empty();
        found = objects_.erase(found);
      }
    }
  }

  // --- steps --------------------------------------------------------------------------------------------------------

  void begin_object(int p) {
    if (objects_.size() > 250) return;
    EXPECT(domain(p).ensure_rows(1, 0, 0) == 0);
    ObjectKey key;
    if (!in_section(p, [&](Transaction& transaction) {
          const Index slot = domain(p).objects.create(transaction, ObjectState::kWriting, 0);
          EXPECT(slot != kNone);
          EXPECT(domain(p).objects.hold(transaction, domain(p).own_entry(), domain(p).self(), slot));
          key = domain(p).objects.key(slot);
        }))
      return;
    Object object;
    object.seed = static_cast<unsigned>(random_());
    const std::uint64_t sizes[] = {8, 32, 300, 2000, 6000, 40'000, 150'000, 600'000};
    object.value_bytes = (random_() % sizes[random_() % std::size(sizes)] + 8) & ~7ULL;
    const auto mine = held_by(p, true);
    for (unsigned i = random_() % 2 == 0 ? random_() % 5 : 0; i > 0 && !mine.empty(); --i) object.wanted.push_back(any(mine));
    object.holders.insert(p);
    objects_[word_of(key)] = object;
    making_[p].push_back(word_of(key));
  }

  // Memory, then bytes and references, then the seal: each a step of its own.
  void go_on_with_object(int p) {
    if (making_[p].empty()) return begin_object(p);
    const std::size_t place = random_() % making_[p].size();
    const std::uint64_t word = making_[p][place];
    const Index slot = key_of(word).slot;
    Object& object = objects_.at(word);
    const auto pairs = static_cast<std::uint32_t>(object.wanted.size() + object.contained.size());
    ObjectTable& table = domain(p).objects;
    if (!object.is_reserved) return reserve(p, word, object, pairs);
    if (object.contained.empty()) {
      const auto& entry = table[slot];
      if (entry.has(miniray::store::kSpilled)) {
        std::vector<std::byte> bytes(object.value_bytes);
        fill(bytes.data(), object.seed, bytes.size());
        EXPECT(platform::write_file(file_, entry.spill_place().offset.get(), bytes.data(), bytes.size()) == 0);
        const std::uint32_t checksum = sum(bytes.data(), bytes.size());
        if (!in_section(p, [&](Transaction& transaction) { table.set_checksum(transaction, slot, checksum); })) return;
      } else {
        fill(table.payload_for_write(slot), object.seed, object.value_bytes);
      }
    }
    if (!object.wanted.empty()) {
      const std::uint64_t target = object.wanted.back();
      // What it was to contain may have gone since: then the object goes instead.
      if (!objects_.contains(target) || !objects_.at(target).holders.contains(p)) return give_up(p, place);
      if (!in_section(p, [&](Transaction& transaction) { table.add_contained(transaction, slot, key_of(target)); })) return;
      object.wanted.pop_back();
      object.contained.push_back(target);
      ++objects_.at(target).contained_in;
      return;
    }
    if (!in_section(p, [&](Transaction& transaction) { (void)table.seal(transaction, slot, ObjectState::kSealed); })) return;
    object.is_sealed = true;
    making_[p].erase(making_[p].begin() + static_cast<std::ptrdiff_t>(place));
    ++counts["sealed"];
  }

  void give_up(int p, std::size_t place) {
    const std::uint64_t word = making_[p][place];
    if (random_() % 2 == 0) {
      Transaction transaction(domain(p).lock);
      domain(p).objects.discard_payload(transaction, key_of(word).slot);
    }
    if (!in_section(p, [&](Transaction& transaction) {
          EXPECT(domain(p).objects.unhold(transaction, domain(p).self(), key_of(word).slot));
        }))
      return;
    making_[p].erase(making_[p].begin() + static_cast<std::ptrdiff_t>(place));
    objects_.at(word).holders.clear();
    settle();
  }

  void reserve(int p, std::uint64_t word, Object& object, std::uint32_t pairs) {
    const Index slot = key_of(word).slot;
    const std::uint64_t size = object.value_bytes + 8ULL * pairs;
    const bool to_file = size > miniray::store::kInlineBytes && random_() % 6 == 0;
    AllocateResult result = AllocateResult::kNeedsBacking;
    while (result == AllocateResult::kNeedsBacking) {
      EXPECT((to_file ? domain(p).spill : domain(p).heap).ensure_rows(size) == 0);
      if (!in_section(p, [&](Transaction& transaction) {
            result = to_file ? domain(p).objects.reserve_in_file(transaction, slot, size, pairs)
                             : domain(p).objects.reserve(transaction, slot, size, false);
          }))
        return;
    }
    if (result == AllocateResult::kFull) {
      ++counts[to_file ? "file full" : "heap full"];
      return begin_spill(p);
    }
    object.is_reserved = true;
    if (to_file) {
      ++counts["straight to the file"];
    } else if (const std::uint64_t offset = domain(p).objects[slot].offset.get(); offset != 0) {
      EXPECT(domain(p).heap.ensure_backed(offset, size) == 0);
    }
  }

  void drop(int p) {
    const auto mine = held_by(p, true);
    if (mine.empty()) return;
    const std::uint64_t word = any(mine);
    if (!in_section(p, [&](Transaction& transaction) {
          EXPECT(domain(p).objects.unhold(transaction, domain(p).self(), key_of(word).slot));
        }))
      return;
    objects_.at(word).holders.erase(p);
    settle();
  }

  void drop_all(int p) {
    for (std::size_t count = held_by(p, true).size(); count > 0; --count) drop(p);
  }

  void share(int p) {
    const int other = static_cast<int>(random_() % kProcesses);
    const auto theirs = held_by(other, true);
    if (theirs.empty()) return;
    const std::uint64_t word = any(theirs);
    if (in_section(p, [&](Transaction& transaction) {
          (void)domain(p).objects.hold(transaction, domain(p).own_entry(), domain(p).self(), key_of(word).slot);
        }))
      objects_.at(word).holders.insert(p);
  }

  void pin(int p) {
    const auto mine = held_by(p, true);
    if (mine.empty()) return;
    const std::uint64_t word = any(mine);
    if (pins_[p].contains(word)) return;
    PayloadView view;
    if (!in_section(p, [&](Transaction& transaction) {
          EXPECT(domain(p).objects.pin(transaction, domain(p).own_entry(), domain(p).self(), key_of(word).slot));
          view = domain(p).objects.view(key_of(word).slot);
        }))
      return;
    const Object& object = objects_.at(word);
    pins_[p][word] = {view.data, object.seed, object.value_bytes};
    counts["pinned while spilled"] += domain(p).objects[key_of(word).slot].has(miniray::store::kSpilling) ? 1 : 0;
  }

  void unpin(int p) {
    if (pins_[p].empty()) return;
    auto found = pins_[p].begin();
    std::advance(found, static_cast<std::ptrdiff_t>(random_() % pins_[p].size()));
    const std::uint64_t word = found->first;
    if (!in_section(p, [&](Transaction& transaction) {
          EXPECT(domain(p).objects.unpin(transaction, domain(p).self(), key_of(word).slot));
        }))
      return;
    pins_[p].erase(word);
  }

  void begin_spill(int p) {
    SpillVictim victims[8];
    std::uint32_t count = 0;
    AllocateResult result = AllocateResult::kNeedsBacking;
    while (result == AllocateResult::kNeedsBacking) {
      EXPECT(domain(p).spill.ensure_rows(kHeapBytes) == 0);
      if (!in_section(p, [&](Transaction& transaction) {
            result = domain(p).objects.begin_spill(transaction, domain(p).own_entry(), random_() % 400'000 + 1, victims,
                                                   static_cast<std::uint32_t>(random_() % 8 + 1), count);
          }))
        return;
    }
    for (std::uint32_t i = 0; i < count; ++i) victims_[p].push_back(victims[i]);
  }

  void end_spill(int p) {
    if (victims_[p].empty()) return;
    const std::size_t place = random_() % victims_[p].size();
    SpillVictim victim = victims_[p][place];
    if (random_() % 5 != 0) {
      EXPECT(platform::write_file(file_, victim.file_offset, victim.payload, victim.value_bytes) == 0);
      victim.checksum = sum(victim.payload, victim.value_bytes);
      victim.is_written = true;
    }
    const bool was_current = domain(p).objects.is_current(victim.key);
    bool moved = false;
    if (!in_section(p, [&](Transaction& transaction) {
          moved = domain(p).objects.end_spill(transaction, domain(p).own_entry(), victim);
        }))
      return;
    victims_[p].erase(victims_[p].begin() + static_cast<std::ptrdiff_t>(place));
    if (!was_current) EXPECT(!moved);
    counts[!was_current ? "gone while spilled" : moved ? "spilled" : "stayed"] += 1;
    if (moved) counts["spilled with references"] += domain(p).objects[victim.key.slot].contained_count.get() == 0 ? 0 : 1;
  }

  void reclaim(int p) {
    if (!domain(p).objects.has_reclaimable()) return;
    (void)in_section(p, [&](Transaction& transaction) { (void)domain(p).objects.reclaim_step(transaction); });
  }

  // The supervisor's part; cut off at times before its end, as when that dies.
  void discard() {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    {
      Transaction transaction(self().lock);
      if (!self().spill.begin_discard(transaction, offset, size)) return;
    }
    if (random_() % 4 == 0) return;
    EXPECT(platform::discard_pages(file_, offset, size) == 0);
    if (random_() % 4 == 0) return;
    Transaction transaction(self().lock);
    self().spill.end_discard(transaction);
    ++counts["discarded"];
  }

  void rebuild() {
    Transaction transaction(self().lock);
    switch (random_() % 3) {
      case 0:
        return self().heap.rebuild(transaction);
      case 1:
        return self().spill.rebuild(transaction);
      default:
        return self().objects.slots.rebuild(transaction);
    }
  }

  std::mt19937 random_;
  platform::Descriptor file_ = -1;
  std::unique_ptr<Domain> domains_[kProcesses] = {std::make_unique<Domain>(), nullptr, nullptr};
  std::map<std::uint64_t, Object> objects_;  // that live, by key
  std::vector<std::uint64_t> making_[kProcesses];
  std::map<std::uint64_t, Pin> pins_[kProcesses];
  std::vector<SpillVictim> victims_[kProcesses];
};

void run(unsigned seed, int steps) {
  std::printf("seed %u:", seed);
  std::fflush(stdout);
  World world(seed);
  for (int i = 0; i < steps; ++i) {
    world.step();
    world.check();
  }
  world.end();
  for (const auto& [name, count] : world.counts) std::printf(" %s %ld,", name.c_str(), count);
  std::printf(" ok\n");
}

}  // namespace

int main() {
  const char* scale = std::getenv("MINIRAY_TEST_SCALE");
  const int steps = static_cast<int>(15'000 * (scale == nullptr ? 1.0 : std::strtod(scale, nullptr)));
  if (const char* seed = std::getenv("MINIRAY_TEST_SEED"); seed != nullptr) {
    run(static_cast<unsigned>(std::strtoul(seed, nullptr, 10)), steps);
    return 0;
  }
  for (unsigned seed = 1; seed <= 4; ++seed) run(seed, steps);
  run(std::random_device{}(), steps);
}
