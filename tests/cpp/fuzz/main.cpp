// Damaged tables: a domain in the middle of its work, words of its metadata changed as foreign code would, and the ordinary operations
// after it. Each must end, in a result, an error or a poisoned domain; never outside of the tables (AddressSanitizer, fences between the
// tables, unmapped memory around them), never never.
//
//   fuzz_tables [--seeds COUNT] [--first SEED]      each seed is a whole run; for hours: --seeds 10000000
//   fuzz_tables --one SEED                          in this process, for a debugger
//
// A child takes seeds one after the other; one that dies or does not end is reported with its seed, and the next goes on.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <string>
#include <thread>

#include "damager.hpp"
#include "testing.hpp"

namespace {

using fuzz::Damager;
using fuzz::Dice;
using fuzz::Fences;
using fuzz::Refused;
using fuzz::World;
using miniray::debug::Damage;

constexpr std::uint64_t kSeedsOfChild = 500;
constexpr int kProcessorSeconds = 30;  // a seed takes milliseconds; and a watchdog for one that sleeps
constexpr int kSeconds = 300;
constexpr std::size_t kTexts = 256;

struct Told {
  char text[miniray::debug::kDamageTextBytes];
  std::uint64_t count;
};

// What a child tells its parent.
struct Report {
  std::uint64_t next_seed;
  std::uint64_t seeds;
  std::uint64_t poisoned;
  std::uint64_t damages;  // thrown
  std::uint64_t operations;
  std::uint64_t refused;
  Told told[kTexts];  // by which the domain was poisoned
};

void count_text(Report& report, const char* text) {
  for (Told& told : report.told) {
    if (told.count != 0 && std::strcmp(told.text, text) != 0) continue;
    std::snprintf(told.text, sizeof(told.text), "%s", text);
    ++told.count;
    return;
  }
}

void watch() {
  const itimerval processor{{0, 0}, {kProcessorSeconds, 0}};
  EXPECT(setitimer(ITIMER_PROF, &processor, nullptr) == 0);
  alarm(kSeconds);
}

void run(std::uint64_t seed, miniray::platform::ProcessNumber dead_process, Report& report) {
  Dice dice(seed);
  World world(dice, dead_process);
  world.build();
  miniray::runtime::Domain& domain = world.driver();
  const std::uint64_t heap_bytes = domain.header().heap_bytes;
  std::byte* payloads = miniray::platform::map_file(domain.heap_file(), heap_bytes, miniray::platform::Access::kReadWrite);
  EXPECT(payloads != nullptr);
  {
    std::list<Fences> fences;
    for (miniray::runtime::Domain* attached : world.attached()) fences.emplace_back(*attached);
    Damager damager(dice, domain, payloads);
    Dice other_dice(seed + 1);
    Damager other_damager(other_dice, domain, payloads);
    for (std::uint32_t count = 1 + dice.below(dice.one_in(3) ? 20 : 3); count > 0; --count) damager.change_one();
    // Now and then it goes on meanwhile, so that a word may differ each time it is read.
    std::atomic<bool> ends = false;
    std::thread meanwhile;
    if (dice.one_in(8)) {
      meanwhile = std::thread([&] {
        while (!ends.load()) other_damager.change_one();
      });
    }
    for (std::uint32_t steps = 10 + dice.below(40); steps > 0; --steps) {
      try {
        ++report.operations;
        world.step();
        if (dice.one_in(10)) damager.change_one();
      } catch (const Refused&) {
        ++report.refused;
      } catch (const Damage& damage) {
        ++report.damages;
        if (damage.text()[0] == '\0') std::abort();
      }
    }
    ends.store(true);
    if (meanwhile.joinable()) meanwhile.join();
    world.finish();
  }
  ++report.seeds;
  if (domain.is_poisoned()) {
    ++report.poisoned;
    count_text(report, domain.lock.damage().text());
  }
  miniray::platform::unmap(payloads, heap_bytes);
}

// The number of a process that has ended.
miniray::platform::ProcessNumber end_one() {
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) _exit(0);
  EXPECT(waitpid(child, nullptr, 0) == child);
  return child;
}

// Seeds from `first` on in a child; its end.
int run_in_child(std::uint64_t first, std::uint64_t end, Report& report) {
  (void)std::fflush(nullptr);
  const auto dead_process = end_one();
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    const rlimit none{0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    for (std::uint64_t seed = first; seed < end; ++seed) {
      report.next_seed = seed + 1;
      watch();
      run(seed, dead_process, report);
    }
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  return status;
}

std::uint64_t number_after(int argc, char** argv, const char* name, std::uint64_t otherwise) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) == 0) return std::strtoull(argv[i + 1], nullptr, 10);
  }
  return otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  miniray::debug::patience_ns = 5'000'000;
  auto* report = static_cast<Report*>(mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT(report != MAP_FAILED);
  const std::uint64_t one = number_after(argc, argv, "--one", 0);
  if (one != 0) {
    run(one, end_one(), *report);
    std::printf("%llu operations, %llu damages, poisoned: %s\n", static_cast<unsigned long long>(report->operations),
                static_cast<unsigned long long>(report->damages), report->poisoned != 0 ? report->told[0].text : "no");
    return 0;
  }
  const std::uint64_t first = number_after(argc, argv, "--first", 1);
  const std::uint64_t end = first + number_after(argc, argv, "--seeds", 800);
  std::uint64_t failures = 0;
  for (std::uint64_t seed = first; seed < end;) {
    const std::uint64_t batch_end = seed + kSeedsOfChild < end ? seed + kSeedsOfChild : end;
    const int status = run_in_child(seed, batch_end, *report);
    if (status == 0) {
      seed = batch_end;
      continue;
    }
    seed = report->next_seed;
    ++failures;
    std::printf("FAILED: seed %llu ended with %s %d\n", static_cast<unsigned long long>(seed - 1),
                WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
  std::multimap<std::uint64_t, std::string, std::greater<>> texts;
  for (const Told& told : report->told) {
    if (told.count != 0) texts.emplace(told.count, told.text);
  }
  for (const auto& [count, text] : texts) std::printf("%8llu %s\n", static_cast<unsigned long long>(count), text.c_str());
  std::printf("%llu seeds, %llu operations, %llu of them refused, %llu damages found, %llu domains poisoned, %llu failures\n",
              static_cast<unsigned long long>(report->seeds), static_cast<unsigned long long>(report->operations),
              static_cast<unsigned long long>(report->refused), static_cast<unsigned long long>(report->damages),
              static_cast<unsigned long long>(report->poisoned), static_cast<unsigned long long>(failures));
  return failures == 0 ? 0 : 1;
}
