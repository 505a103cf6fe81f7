#include "runtime/write_guard.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "platform/platform.hpp"

namespace miniray::runtime {

namespace {

constexpr std::uint64_t kAtOnceBytes = 1ULL << 20;
constexpr std::uint64_t kPieceBytes = 4ULL << 20;
// While a large range is expected the helper looks for it, because a call to wake it costs half of what a put may.
constexpr std::chrono::milliseconds kLook{10};

struct Job {
  std::byte* address;
  std::uint64_t size_bytes;
  bool forbids;
};

void apply(const Job& job) noexcept {
  for (std::uint64_t done = 0; done < job.size_bytes;) {
    const std::uint64_t piece = std::min(kPieceBytes, job.size_bytes - done);
    platform::protect_pages(job.address + done, piece, job.forbids);
    done += piece;
  }
}

// Lives as long as the process: its thread may still wait when static objects go.
class Guard {
 public:
  void start() {
    const std::lock_guard lock(mutex_);
    if (is_started_) return;
    is_started_ = true;
    std::thread([this] {
      platform::block_all_signals();
      platform::yield_to_other_threads();
      serve();
    }).detach();
  }
  void expect() {
    start();
    {
      const std::lock_guard lock(mutex_);
      ++expected_;
    }
    changed_.notify_all();
  }
  void expect_no_more() {
    const std::lock_guard lock(mutex_);
    --expected_;
  }
  void add(const Job& job) {
    start();
    bool is_awaited = false;
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(job);
      open_count_.fetch_add(1);
      is_awaited = expected_ != 0;
    }
    if (!is_awaited) changed_.notify_all();
  }
  void wait() noexcept {
    if (open_count_.load() == 0) [[likely]]
      return;
    std::unique_lock lock(mutex_);
    while (!jobs_.empty()) do_next(lock);  // faster than waiting for a thread that gives way to all others
    changed_.wait(lock, [this] { return open_count_.load() == 0; });
  }
  [[nodiscard]] bool is_busy() const noexcept { return open_count_.load() != 0; }

 private:
  [[noreturn]] void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (expected_ != 0) {
        (void)changed_.wait_for(lock, kLook);
      } else {
        changed_.wait(lock, [this] { return !jobs_.empty() || expected_ != 0; });
      }
      do_next(lock);
    }
  }
  void do_next(std::unique_lock<std::mutex>& lock) noexcept {
    changed_.wait(lock, [this] { return !is_working_; });
    if (jobs_.empty()) return;
    const Job job = jobs_.front();
    jobs_.pop_front();
    is_working_ = true;
    lock.unlock();
    apply(job);
    lock.lock();
    is_working_ = false;
    open_count_.fetch_sub(1);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::atomic<std::uint32_t> open_count_{0};
  std::uint32_t expected_ = 0;  // large ranges that will come
  bool is_started_ = false;
  bool is_working_ = false;  // on a job: the next one waits (G1)
};

std::atomic<Guard*> current{nullptr};

// A forked child has neither the thread nor its parent's jobs.
void forget_in_child() noexcept { current.store(nullptr); }

Guard& guard() {
  Guard* found = current.load();
  if (found != nullptr) [[likely]]
    return *found;
  static std::once_flag is_registered;
  std::call_once(is_registered, [] { platform::on_fork_in_child(forget_in_child); });
  auto* fresh = new Guard;
  if (current.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;
  return *found;
}

void change(const Job& job) {
  // A small range waits for its turn too: a larger one before it may hold the same pages.
  if (job.size_bytes <= kAtOnceBytes && !guard().is_busy()) {
    apply(job);
  } else {
    guard().add(job);
  }
}

}  // namespace

void forbid_writing(std::byte* address, std::uint64_t size_bytes) { change({address, size_bytes, true}); }
void allow_writing(std::byte* address, std::uint64_t size_bytes) { change({address, size_bytes, false}); }
void expect_range(std::uint64_t size_bytes) {
  if (size_bytes > kAtOnceBytes) guard().expect();
}
void expect_no_range(std::uint64_t size_bytes) {
  if (size_bytes > kAtOnceBytes) guard().expect_no_more();
}
void wait_for_ranges() noexcept { guard().wait(); }
bool has_ranges() noexcept { return guard().is_busy(); }

}  // namespace miniray::runtime
