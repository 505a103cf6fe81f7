#include "runtime/spinning.hpp"

#include <algorithm>
#include <array>

namespace miniray::runtime {

namespace {

constexpr std::uint32_t kAllowedInVain = 3;  // tasks of all lengths are nothing unusual
constexpr std::uint64_t kFirstPauseNs = 1'000'000;
constexpr std::uint32_t kMostDoublings = 4;

std::array<SpinHistory, 2> histories;

}  // namespace

void SpinHistory::note_vain(std::uint64_t now_ns) noexcept {
  const std::uint32_t in_vain = in_vain_.load(kRelaxed) + 1;
  in_vain_.store(std::min(in_vain, kAllowedInVain + kMostDoublings + 1), kRelaxed);
  if (in_vain <= kAllowedInVain) return;
  pause_ends_ns_.store(now_ns + (kFirstPauseNs << std::min(in_vain - kAllowedInVain - 1, kMostDoublings)), kRelaxed);
}

SpinHistory& spin_history(SpinFor what) noexcept { return histories[what == SpinFor::kLease ? 1 : 0]; }

}  // namespace miniray::runtime
