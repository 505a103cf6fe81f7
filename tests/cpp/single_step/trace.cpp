#include "trace.hpp"

#include "instruction.hpp"

#include <elf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

extern "C" const char __executable_start[];  // NOLINT(readability-identifier-naming): the linker's name

namespace single_step {

namespace {

struct Range {
  std::uintptr_t begin;
  std::uintptr_t end;
  std::uint64_t first_page;  // of the image
};

// What the child tells its tracer.
struct Told {
  ProcessId process;
  std::uint32_t range_count;
  Range ranges[16];
};

void let_write(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr) & ~(std::uintptr_t{kPage} - 1);
  (void)mprotect(reinterpret_cast<void*>(address), kPage, PROT_READ | PROT_WRITE);
}

void forbid_writing_to(const Image& image, Told& told) {
  struct sigaction action{};
  action.sa_sigaction = let_write;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  EXPECT(sigaction(SIGSEGV, &action, nullptr) == 0);
  const auto inode = [](int file) {
    struct stat facts{};
    EXPECT(fstat(file, &facts) == 0);
    return static_cast<std::uint64_t>(facts.st_ino);
  };
  const std::uint64_t control = inode(image.control_file());
  const std::uint64_t heap = inode(image.heap_file());
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    Range range{};
    std::uint64_t offset = 0;
    std::uint64_t found = 0;
    char dash = 0;
    std::string rights;
    std::string device;
    words >> std::hex >> range.begin >> dash >> range.end >> rights >> offset >> device >> std::dec >> found;
    if (!words || (found != control && found != heap) || rights[1] != 'w') continue;
    EXPECT(told.range_count < std::size(told.ranges));
    range.first_page = ((found == heap ? image.control_bytes() : 0) + offset) / kPage;
    told.ranges[told.range_count++] = range;
  }
  for (std::uint32_t i = 0; i < told.range_count; ++i) {
    const Range& range = told.ranges[i];
    EXPECT(mprotect(reinterpret_cast<void*>(range.begin), range.end - range.begin, PROT_READ) == 0);
  }
}

struct Registers {
  std::uint64_t address = 0;
  bool may_be_system_call = true;  // the instruction before
};

Registers registers_of(pid_t child) {
  user_regs_struct found{};
  iovec part{&found, sizeof(found)};
  EXPECT(ptrace(PTRACE_GETREGSET, child, reinterpret_cast<void*>(NT_PRSTATUS), &part) == 0);
#if defined(__x86_64__)
  return {found.rip, found.rcx == found.rip};  // what a system call leaves in rcx
#else
  return {found.pc, true};
#endif
}

std::uint64_t hash_page(std::size_t number, const Page& page) {
  std::uint64_t hash = (number + 1) * 0x9E3779B97F4A7C15ULL;
  for (std::size_t i = 0; i < kPage; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, page.data() + i, 8);
    hash = (hash ^ word) * 0xD6E8FEB86659FD93ULL;
    hash ^= hash >> 32;
  }
  return hash;
}

// Sees which pages changed and keeps the state when it is a new one.
class Recorder {
 public:
  Recorder(const Image& image, Trace& result) : image_(image), result_(result), pages_(image.page_count()) {
    result_.base = Base(image);
    is_watched_.resize(image.page_count());
    keep(0);
  }
  void watch(std::size_t number) {
    if (!is_watched_[number]) watched_.push_back(static_cast<std::uint32_t>(number));
    is_watched_[number] = true;
  }
  void look(std::uint64_t address, bool at_all) {
    bool changed = false;
    if (at_all) {
      result_.base.each_in(image_, [&](std::uint32_t number) { changed = look_at(number) || changed; });
    } else {
      for (const std::uint32_t number : watched_) changed = look_at(number) || changed;
    }
    if (changed) keep(address);
  }
  // Whether a page has changed that nobody watched.
  [[nodiscard]] bool missed_one() const {
    bool missed = false;
    result_.base.each_in(image_, [&](std::uint32_t number) {
      missed = missed || std::memcmp(current(number).data(), image_.page(number), kPage) != 0;
    });
    return missed;
  }

 private:
  [[nodiscard]] const Page& current(std::size_t number) const {
    return pages_[number] ? *pages_[number] : result_.base[number];
  }
  bool look_at(std::size_t number) {
    const Page& before = current(number);
    if (std::memcmp(before.data(), image_.page(number), kPage) == 0) return false;
    if (!pages_[number]) {
      differing_.push_back(static_cast<std::uint32_t>(number));
      watch(number);
    } else {
      hash_ ^= hash_page(number, before);
    }
    auto now = std::make_shared<Page>();
    std::memcpy(now->data(), image_.page(number), kPage);
    hash_ ^= hash_page(number, *now);
    pages_[number] = std::move(now);
    return true;
  }
  void keep(std::uint64_t address) {
    if (!known_.insert(hash_).second) return;
    State& state = result_.states.emplace_back();
    for (const std::uint32_t number : differing_) state.pages.emplace_back(number, pages_[number]);
    state.committed = image_.lock_block().committed.load_relaxed();
    state.address = address;
  }

  const Image& image_;
  Trace& result_;
  std::vector<std::shared_ptr<const Page>> pages_;  // those that differ from the base
  std::vector<std::uint32_t> differing_;
  std::vector<std::uint32_t> watched_;
  std::vector<bool> is_watched_;
  std::unordered_set<std::uint64_t> known_;
  std::uint64_t hash_ = 0;
};

// Steps until the child stops itself. Empty, or what went wrong.
std::string step_to_end(pid_t child, const Told& told, const TraceOptions& options, Recorder& recorder, Trace& result,
                        bool& ended) {
  const auto start = reinterpret_cast<std::uintptr_t>(__executable_start);
  std::uint64_t address = registers_of(child).address;
  std::uint64_t fault_address = 0;  // not 0: inside the handler of a fault there
  int deliver = 0;
  for (;;) {
    EXPECT(ptrace(PTRACE_SINGLESTEP, child, nullptr, reinterpret_cast<void*>(static_cast<std::intptr_t>(deliver))) == 0);
    deliver = 0;
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    ended = !WIFSTOPPED(status);
    if (ended) return "the traced process ended: wait status " + std::to_string(status);
    const int signal = WSTOPSIG(status);
    if (signal == SIGSTOP) return "";
    if (signal == SIGSEGV) {
      siginfo_t info{};
      EXPECT(ptrace(PTRACE_GETSIGINFO, child, nullptr, &info) == 0);
      const auto at = reinterpret_cast<std::uintptr_t>(info.si_addr);
      bool known = false;
      for (std::uint32_t i = 0; i < told.range_count; ++i) {
        const Range& range = told.ranges[i];
        if (at < range.begin || at >= range.end) continue;
        recorder.watch(range.first_page + (at - range.begin) / kPage);
        known = true;
      }
      if (!known || info.si_code != SEGV_ACCERR || fault_address != 0) return "the traced operation had a memory fault";
      fault_address = address;
      deliver = SIGSEGV;
      continue;
    }
    const Registers registers = registers_of(child);
    if (signal != SIGTRAP) {
      deliver = signal;
      continue;
    }
    if (fault_address != 0) {
      if (registers.address == fault_address) fault_address = 0;
      continue;
    }
    ++result.instructions;
    if (options.keeps_addresses) result.addresses.insert(address - start);
    if (registers.may_be_system_call || options.compares_all) {
      recorder.look(address - start, true);
    } else if (may_write(reinterpret_cast<const unsigned char*>(address))) {  // the child has the same code there
      recorder.look(address - start, false);
    }
    address = registers.address;
  }
}

}  // namespace

bool can_trace() {
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    (void)raise(SIGSTOP);
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  if (!WIFSTOPPED(status)) return false;
  const bool steps = ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0;
  if (steps) EXPECT(waitpid(child, &status, 0) == child);
  (void)kill(child, SIGKILL);
  EXPECT(waitpid(child, &status, 0) == child);
  return steps;
}

Trace trace(const Image& image, const std::function<ProcessId()>& prepare, const std::function<void()>& operate,
            const TraceOptions& options) {
  auto* told = static_cast<Told*>(mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT(told != MAP_FAILED);
  (void)std::fflush(nullptr);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    EXPECT(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0);
    told->process = prepare();
    if (!options.compares_all) forbid_writing_to(image, *told);
    (void)raise(SIGSTOP);
    operate();
    (void)raise(SIGSTOP);
    _exit(0);
  }
  Trace result;
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  bool ended = !WIFSTOPPED(status);
  if (ended || WSTOPSIG(status) != SIGSTOP) {
    result.failure = "the preparation failed: wait status " + std::to_string(status);
  } else {
    Recorder recorder(image, result);
    result.failure = step_to_end(child, *told, options, recorder, result, ended);
    if (result.failure.empty() && recorder.missed_one()) result.failure = "a page changed that the harness did not watch";
  }
  if (!ended) {
    (void)kill(child, SIGKILL);
    EXPECT(waitpid(child, &status, 0) == child);
  }
  result.process = told->process;
  (void)munmap(told, sizeof(Told));
  return result;
}

}  // namespace single_step
