// An interruption comes again until it is settled, and only then ends: the handler of an interpreter only notes it, which a system call
// that begins just then does not see.
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "platform/platform.hpp"
#include "testing.hpp"

namespace {

namespace platform = miniray::platform;

std::atomic<int> calls = 0;

void count(int) { calls.fetch_add(1); }

void set_handler() {
  struct sigaction counting = {};
  counting.sa_handler = count;
  EXPECT(sigaction(platform::interrupt_signal(), &counting, nullptr) == 0);
}

// raise() returns with the signal taken: what ends a pause() is a repetition.
void a_call_that_begins_too_late_is_woken() {
  for (int round = 1; round <= 3; ++round) {
    calls.store(0);
    EXPECT(raise(platform::interrupt_signal()) == 0);
    EXPECT(calls.load() >= 1);
    for (int repetition = 1; repetition <= 2; ++repetition) EXPECT(pause() == -1);
    EXPECT(calls.load() >= 3);
    platform::settle_interrupt();
  }
}

// Two repetitions would have come: none does.
void a_settled_one_stays_away() {
  EXPECT(raise(platform::interrupt_signal()) == 0);
  platform::settle_interrupt();
  calls.store(0);
  EXPECT(usleep(50'000) == 0);
  EXPECT(calls.load() == 0);
}

void one_that_was_never_sent_may_be_settled() {
  platform::settle_interrupt();
  EXPECT(usleep(50'000) == 0);
}

}  // namespace

int main() {
  set_handler();
  EXPECT(platform::repeat_interrupts());
  a_call_that_begins_too_late_is_woken();
  a_settled_one_stays_away();
  one_that_was_never_sent_may_be_settled();
}
