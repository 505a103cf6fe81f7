// stepper PID COUNT - counts the instructions of a thread between its calls of getppid(), COUNT times, by single steps.
//
// Prints "attached" once it may begin, then the counts, a line each. Instructions of the kernel are not counted, nor those of other
// threads and processes. Exit status 77: this system does not let processes trace each other.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kRefused = 77;

user_regs_struct registers_of(pid_t thread) {
  user_regs_struct found{};
  if (ptrace(PTRACE_GETREGS, thread, nullptr, &found) != 0) std::exit(1);
  return found;
}

// Goes on until the next stop that is of our own making; signals are handed on.
int resume(pid_t thread, int how) {
  for (long deliver = 0;;) {
    if (ptrace(static_cast<__ptrace_request>(how), thread, nullptr, deliver) != 0) std::exit(1);
    int status = 0;
    if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status)) std::exit(1);
    const int signal = WSTOPSIG(status);
    if (signal == SIGTRAP || signal == (SIGTRAP | 0x80)) return signal;
    deliver = status >> 16 == PTRACE_EVENT_STOP ? 0 : signal;
  }
}

bool is_marker(const user_regs_struct& registers) { return registers.orig_rax == SYS_getppid; }

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const pid_t thread = std::atoi(arguments[1]);
  const int wanted = std::atoi(arguments[2]);
  if (ptrace(PTRACE_SEIZE, thread, nullptr, PTRACE_O_TRACESYSGOOD) != 0 || ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0)
    return kRefused;
  int status = 0;
  if (waitpid(thread, &status, __WALL) != thread) return 1;
  std::puts("attached");
  std::fflush(stdout);
  bool leaves = false;
  do {  // each call stops twice, when it enters the kernel and when it leaves
    (void)resume(thread, PTRACE_SYSCALL);
    leaves = !leaves;
  } while (!is_marker(registers_of(thread)) || leaves);
  for (int done = 0; done < wanted; ++done) {
    unsigned long long instructions = 0;
    user_regs_struct registers{};
    do {
      (void)resume(thread, PTRACE_SINGLESTEP);
      ++instructions;
      registers = registers_of(thread);
    } while (!(is_marker(registers) && registers.rcx == registers.rip));
    std::printf("%llu\n", instructions);
  }
  (void)ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
}
