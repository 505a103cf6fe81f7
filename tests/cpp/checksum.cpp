// CRC-32C: known values, any start and length, pieces chained, the instruction against bit-by-bit division.
#include "store/checksum.hpp"

#include <algorithm>
#include <random>
#include <string_view>
#include <vector>

#include "testing.hpp"

namespace {

using miniray::store::checksum;

std::uint32_t by_definition(const unsigned char* data, std::size_t size, std::uint32_t start = 0) {
  std::uint32_t value = ~start;
  for (std::size_t i = 0; i < size; ++i) {
    value ^= data[i];
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~value;
}

// RFC 3720, B.4, and the check value of the catalogues.
void known_values_come_out() {
  constexpr std::string_view kDigits = "123456789";
  EXPECT(checksum(kDigits.data(), kDigits.size()) == 0xE3069283);
  EXPECT(checksum(nullptr, 0) == 0);
  std::vector<unsigned char> bytes(32, 0);
  EXPECT(checksum(bytes.data(), 32) == 0x8A9136AA);
  bytes.assign(32, 0xFF);
  EXPECT(checksum(bytes.data(), 32) == 0x62A8AB43);
  for (unsigned i = 0; i < 32; ++i) bytes[i] = static_cast<unsigned char>(i);
  EXPECT(checksum(bytes.data(), 32) == 0x46DD794E);
  for (unsigned i = 0; i < 32; ++i) bytes[i] = static_cast<unsigned char>(31 - i);
  EXPECT(checksum(bytes.data(), 32) == 0x113FDB5C);
}

void any_start_and_length_agree_with_the_definition(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<unsigned char> bytes(5000);
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
  for (std::size_t start = 0; start < 17; ++start) {
    for (std::size_t size = 0; size < 70; ++size) {
      EXPECT(checksum(bytes.data() + start, size) == by_definition(bytes.data() + start, size));
      EXPECT(checksum(bytes.data() + start, size, 0xDEADBEEF) == by_definition(bytes.data() + start, size, 0xDEADBEEF));
    }
  }
  EXPECT(checksum(bytes.data(), bytes.size()) == by_definition(bytes.data(), bytes.size()));
}

void pieces_chain(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<unsigned char> bytes(3000);
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
  const std::uint32_t whole = checksum(bytes.data(), bytes.size(), 77);
  for (int round = 0; round < 200; ++round) {
    std::uint32_t sum = 77;
    for (std::size_t done = 0; done < bytes.size();) {
      const std::size_t piece = std::min<std::size_t>(random() % 500, bytes.size() - done);
      sum = checksum(bytes.data() + done, piece, sum);
      done += piece;
    }
    EXPECT(sum == whole);
  }
}

void any_flipped_bit_shows() {
  std::vector<unsigned char> bytes(600, 0x5A);
  const std::uint32_t whole = checksum(bytes.data(), bytes.size());
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= static_cast<unsigned char>(1U << (bit % 8));
    EXPECT(checksum(bytes.data(), bytes.size()) != whole);
    bytes[bit / 8] ^= static_cast<unsigned char>(1U << (bit % 8));
  }
}

}  // namespace

int main() {
  known_values_come_out();
  any_start_and_length_agree_with_the_definition(7);
  pieces_chain(8);
  any_flipped_bit_shows();
}
