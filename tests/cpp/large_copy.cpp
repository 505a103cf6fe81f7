// Copies of all sizes around the limit and of all alignments are whole, and touch nothing beside them.
#include "store/large_copy.hpp"

#include <cstring>
#include <random>
#include <vector>

#include "testing.hpp"

namespace {

using miniray::store::copy_bytes;
using miniray::store::kLargeCopyBytes;

constexpr std::uint64_t kRoom = 256;

void any_size_and_alignment_is_copied(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> source(kLargeCopyBytes + 3 * kRoom);
  for (std::size_t i = 0; i + 8 <= source.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(source.data() + i, &word, sizeof(word));
  }
  std::vector<std::byte> target(source.size());
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, kLargeCopyBytes - 1, kLargeCopyBytes, kLargeCopyBytes + 1,
        kLargeCopyBytes + 63, kLargeCopyBytes + 64, kLargeCopyBytes + 129}) {
    for (const std::uint64_t to : {0, 1, 8, 63}) {
      for (const std::uint64_t from : {0, 1, 16}) {
        std::fill(target.begin(), target.end(), std::byte{0x5A});
        copy_bytes(target.data() + kRoom / 2 + to, source.data() + from, size);
        EXPECT(std::memcmp(target.data() + kRoom / 2 + to, source.data() + from, size) == 0);
        EXPECT(target[kRoom / 2 + to - 1] == std::byte{0x5A});
        EXPECT(target[kRoom / 2 + to + size] == std::byte{0x5A});
      }
    }
  }
}

}  // namespace

int main() { any_size_and_alignment_is_copied(5); }
