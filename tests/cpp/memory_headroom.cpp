// How much memory is left: limits of the machine and of control groups, in trees of files that look like real ones; and the
// figure of this machine, which must be cheap to ask.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "platform/platform.hpp"
#include "testing.hpp"

namespace {

namespace fs = std::filesystem;
using miniray::platform::memory_headroom_bytes_below;

constexpr std::uint64_t kMib = 1ULL << 20;
constexpr std::uint64_t kGib = 1ULL << 30;

class Tree {
 public:
  Tree() : root_(fs::temp_directory_path() / ("miniray-headroom-" + std::to_string(miniray::platform::current_process()))) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~Tree() { fs::remove_all(root_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  Tree& write(const std::string& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
    return *this;
  }
  Tree& machine(std::uint64_t total, std::uint64_t available) {
    return write("proc/meminfo", "MemTotal:       " + std::to_string(total / 1024) +
                                     " kB\nMemFree:        1 kB\nMemAvailable:   " + std::to_string(available / 1024) +
                                     " kB\n");
  }
  // A group of version 2.
  Tree& group(const std::string& folder, const std::string& limit, std::uint64_t usage, const std::string& stat = "") {
    const std::string place = "sys/fs/cgroup/" + folder;
    return write(place + "/memory.max", limit + "\n")
        .write(place + "/memory.current", std::to_string(usage) + "\n")
        .write(place + "/memory.stat", stat);
  }
  // A group of version 1.
  Tree& old_group(const std::string& folder, const std::string& limit, std::uint64_t usage, const std::string& stat = "") {
    const std::string place = "sys/fs/cgroup/memory" + folder;
    return write(place + "/memory.limit_in_bytes", limit + "\n")
        .write(place + "/memory.usage_in_bytes", std::to_string(usage) + "\n")
        .write(place + "/memory.stat", stat);
  }
  [[nodiscard]] std::uint64_t headroom() const { return memory_headroom_bytes_below(root_.c_str()); }

 private:
  fs::path root_;
};

void nothing_known_is_no_limit() { EXPECT(Tree().headroom() == UINT64_MAX); }

void machine_gives_what_is_available_less_a_margin() {
  EXPECT(Tree().machine(100 * kGib, 10 * kGib).headroom() == 8 * kGib);  // 2% of the total
  EXPECT(Tree().machine(kGib, 100 * kMib).headroom() == 68 * kMib);      // 32 MiB
  EXPECT(Tree().machine(100 * kGib, kGib).headroom() == 0);              // never below
  EXPECT(Tree().write("proc/meminfo", "MemTotal: 5 kB\n").headroom() == UINT64_MAX);
}

void group_of_version_two_limits() {
  Tree tree;
  tree.machine(100 * kGib, 50 * kGib).write("proc/self/cgroup", "0::/job\n").group("job", std::to_string(kGib), 600 * kMib);
  EXPECT(tree.headroom() == 392 * kMib);
  // What the kernel can drop counts as free; shared memory is in the anonymous lists and does not.
  const std::string stat = "anon 1\nfile 900000000\nshmem 400000000\ninactive_anon 400000000\ninactive_file " +
                           std::to_string(100 * kMib) + "\nactive_file " + std::to_string(50 * kMib) +
                           "\nunevictable 7\nslab_reclaimable " + std::to_string(10 * kMib) + "\nslab 99999999999\n";
  tree.group("job", std::to_string(kGib), 600 * kMib, stat);
  EXPECT(tree.headroom() == 552 * kMib);
  tree.group("job", std::to_string(kGib), 2 * kGib);  // a limit that was lowered
  EXPECT(tree.headroom() == 0);
  tree.group("job", "max", 600 * kMib);
  EXPECT(tree.headroom() == 48 * kGib);
}

void smallest_level_counts() {
  Tree tree;
  tree.machine(100 * kGib, 50 * kGib).write("proc/self/cgroup", "1:name=systemd:/x\n0::/a/b/c\n");
  tree.group("a", std::to_string(10 * kGib), 9 * kGib).group("a/b", "max", kGib).group("a/b/c", std::to_string(8 * kGib), kGib);
  EXPECT(tree.headroom() == kGib - 10 * kGib / 50);
  tree.group("a", std::to_string(10 * kGib), kGib).group("", std::to_string(2 * kGib), kGib);
  EXPECT(tree.headroom() == kGib - 2 * kGib / 50);
}

void group_of_version_one_limits() {
  Tree tree;
  tree.machine(100 * kGib, 50 * kGib).write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/1234\n0::/\n");
  const std::string stat =
      "cache 1\ninactive_file 99999999999\nactive_file 99999999999\nhierarchical_memory_limit 5\n"
      "total_inactive_file " +
      std::to_string(200 * kMib) + "\ntotal_active_file " + std::to_string(100 * kMib) + "\ntotal_unevictable 3\n";
  tree.old_group("", "9223372036854771712", 40 * kGib).old_group("/docker", "-1", 0);
  EXPECT(tree.headroom() == 48 * kGib);
  tree.old_group("/docker/1234", std::to_string(kGib), 900 * kMib, stat);
  EXPECT(tree.headroom() == 392 * kMib);
  tree.old_group("", "1", 40 * kGib).write("sys/fs/cgroup/memory/release_agent", "");  // the root itself has no limit
  EXPECT(tree.headroom() == 392 * kMib);
}

void joined_controllers_and_the_unified_folder_are_found() {
  Tree joined;
  joined.write("proc/self/cgroup", "4:hugetlb,memory:/\n")
      .write("sys/fs/cgroup/hugetlb,memory/memory.limit_in_bytes", "1073741824")
      .write("sys/fs/cgroup/hugetlb,memory/memory.usage_in_bytes", "0");
  EXPECT(joined.headroom() == kGib - 32 * kMib);
  Tree unified;
  unified.write("proc/self/cgroup", "0::/\n").group("unified", std::to_string(kGib), 0);
  EXPECT(unified.headroom() == kGib - 32 * kMib);
}

void container_that_sees_only_its_own_group_uses_the_top() {
  Tree tree;
  tree.machine(100 * kGib, 50 * kGib).group("", std::to_string(kGib), 0);
  for (const char* path : {"0::/../../kubepods/pod1234\n", "0::/docker/1234\n", "0::/\n", "0::/..\n"}) {
    tree.write("proc/self/cgroup", path);
    EXPECT(tree.headroom() == kGib - 32 * kMib);
  }
}

void missing_and_odd_files_are_no_limit() {
  Tree tree;
  tree.machine(100 * kGib, 50 * kGib).write("proc/self/cgroup", "0::/job\n").write("sys/fs/cgroup/job/memory.max", "1048576");
  EXPECT(tree.headroom() == 48 * kGib);  // no memory.current
  tree.write("sys/fs/cgroup/job/memory.current", "what is this");
  EXPECT(tree.headroom() == 48 * kGib);
  tree.write("sys/fs/cgroup/job/memory.current", "0").write("sys/fs/cgroup/job/memory.max", "");
  EXPECT(tree.headroom() == 48 * kGib);
  for (const char* list : {"", "\n\n", ":", "0:", "0:/job", "memory", "4:memory", "0::"}) {
    tree.write("proc/self/cgroup", list);
    EXPECT(tree.headroom() == 48 * kGib);
  }
  tree.write("proc/self/cgroup", "0::/" + std::string(3000, 'x') + "\n");
  EXPECT(tree.headroom() == 48 * kGib);
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "/d";
  tree.write("proc/self/cgroup", "0::" + deep + "\n").group(deep, "max", 0).group("", std::to_string(kGib), 0);
  EXPECT(tree.headroom() == kGib - 32 * kMib);
  EXPECT(memory_headroom_bytes_below(std::string(5000, 'r').c_str()) == UINT64_MAX);
}

void threads_that_ask_first_together_agree() {
  std::vector<std::thread> threads;
  std::vector<std::uint64_t> answers(8);
  threads.reserve(answers.size());
  for (std::uint64_t& answer : answers)
    threads.emplace_back([&answer] { answer = miniray::platform::memory_headroom_bytes(); });
  for (std::thread& thread : threads) thread.join();
  for (const std::uint64_t answer : answers) EXPECT(answer != UINT64_MAX);
}

void report_the_cost() {
  constexpr int kCalls = 1000;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) EXPECT(miniray::platform::memory_headroom_bytes() != UINT64_MAX);
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
  std::printf("memory_headroom_bytes: %.1f us a call, %.0f MiB now\n", taken.count() / kCalls,
              static_cast<double>(miniray::platform::memory_headroom_bytes()) / static_cast<double>(kMib));
}

}  // namespace

int main() {
  nothing_known_is_no_limit();
  machine_gives_what_is_available_less_a_margin();
  group_of_version_two_limits();
  smallest_level_counts();
  group_of_version_one_limits();
  joined_controllers_and_the_unified_folder_are_found();
  container_that_sees_only_its_own_group_uses_the_top();
  missing_and_odd_files_are_no_limit();
  threads_that_ask_first_together_agree();
  report_the_cost();
}
