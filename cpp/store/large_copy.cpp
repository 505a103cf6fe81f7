#include "store/large_copy.hpp"

#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace miniray::store {

namespace {

constexpr std::uint64_t kLine = 64;

#ifdef __SSE2__
// Whole lines, to a target that begins with one.
void stream_lines(std::byte* target, const std::byte* source, std::uint64_t size_bytes) noexcept {
  for (std::uint64_t i = 0; i < size_bytes; i += kLine) {
    __m128i parts[4];
    for (int k = 0; k < 4; ++k) parts[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i) + k);
    for (int k = 0; k < 4; ++k) _mm_stream_si128(reinterpret_cast<__m128i*>(target + i) + k, parts[k]);
  }
  _mm_sfence();  // they are seen before what this thread writes next
}
#else
void stream_lines(std::byte* target, const std::byte* source, std::uint64_t size_bytes) noexcept {
  std::memcpy(target, source, size_bytes);
}
#endif

}  // namespace

void copy_bytes(std::byte* target, const void* source, std::uint64_t size_bytes) noexcept {
  const auto* bytes = static_cast<const std::byte*>(source);
  if (size_bytes < kLargeCopyBytes) {
    std::memcpy(target, bytes, size_bytes);
    return;
  }
  const std::uint64_t head = (kLine - reinterpret_cast<std::uintptr_t>(target) % kLine) % kLine;
  const std::uint64_t lines = (size_bytes - head) / kLine * kLine;
  std::memcpy(target, bytes, head);
  stream_lines(target + head, bytes + head, lines);
  std::memcpy(target + head + lines, bytes + head + lines, size_bytes - head - lines);
}

}  // namespace miniray::store
