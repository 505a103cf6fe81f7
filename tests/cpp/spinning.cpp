// Who has spun in vain: when it spins no more, for how long, and what ends that.
#include "runtime/spinning.hpp"

#include "testing.hpp"

namespace {

using miniray::runtime::SpinHistory;

constexpr std::uint64_t kMs = 1'000'000;

void note_vain(SpinHistory& history, int times, std::uint64_t now) {
  for (int i = 0; i < times; ++i) history.note_vain(now);
}

void three_in_vain_change_nothing() {
  SpinHistory history;
  EXPECT(history.may_spin(0));
  note_vain(history, 3, 100);
  EXPECT(history.may_spin(100));
}

void from_the_fourth_on_pauses_double_up_to_16_ms() {
  SpinHistory history;
  note_vain(history, 3, 0);
  std::uint64_t now = 100;
  for (const std::uint64_t pause : {1, 2, 4, 8, 16, 16, 16}) {
    history.note_vain(now);
    EXPECT(!history.may_spin(now));
    EXPECT(!history.may_spin(now + pause * kMs - 1));
    now += pause * kMs;
    EXPECT(history.may_spin(now));
  }
}

void one_of_use_ends_it() {
  SpinHistory history;
  note_vain(history, 9, 0);
  history.note_use();
  note_vain(history, 3, 100 * kMs);
  EXPECT(history.may_spin(100 * kMs));
  history.note_vain(100 * kMs);
  EXPECT(!history.may_spin(100 * kMs));
  EXPECT(history.may_spin(101 * kMs));
}

}  // namespace

int main() {
  three_in_vain_change_nothing();
  from_the_fourth_on_pauses_double_up_to_16_ms();
  one_of_use_ends_it();
}
