// damager.hpp - changes words of a domain's metadata as foreign code would: bits, bytes, words; at random, or to what looks right.
#pragma once

#include "world.hpp"

namespace fuzz {

class Damager {
 public:
  // Looks once where the tables of the sound domain lie. `payloads` is a mapping of its heap for writing.
  Damager(Dice& dice, Domain& domain, std::byte* payloads);
  void change_one();

 private:
  struct Range {
    std::byte* start;
    std::uint64_t size_bytes;
  };
  void add(std::byte* start, std::uint64_t size_bytes, int weight);
  void change_journal();
  template <class R>
  void add_table(std::byte* region, const miniray::shm::SlotTableHeader& table, int weight);

  Dice& dice_;
  miniray::shm::LockBlock& lock_;
  std::vector<Range> ranges_;  // a range of weight n is there n times
};

// Makes AddressSanitizer refuse what no operation has a reason to touch: the gaps behind the tables, and the heap's page 0.
class Fences {
 public:
  explicit Fences(Domain& domain);
  ~Fences();
  Fences(const Fences&) = delete;
  Fences& operator=(const Fences&) = delete;

 private:
  void add(const std::byte* start, const std::byte* end);
  std::vector<std::pair<const std::byte*, std::uint64_t>> fences_;
};

}  // namespace fuzz
