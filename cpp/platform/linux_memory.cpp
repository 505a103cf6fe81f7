// platform/linux_memory.cpp - how much memory is left before the kernel kills, from /proc/meminfo and the control groups.
//
// Invariants  K1 a fact that cannot be read is a limit that does not exist; every level of a control group may limit.
//             K2 the folders are found once per process; limits and usage are read anew at each call. Without allocation, stack
//                buffers only, each file in one open, read, close.
//             K3 memory.stat, the dearest file, is read only where the limit could be the smallest without it.
// Locks       none: whoever finds the folders first publishes them [M1]; others meanwhile find them for themselves.
// Source      Linux kernel documentation, admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst. Shared memory counts in
//             the anonymous lists of memory.stat, so the lists of files hold only what the kernel can drop.
#ifndef __linux__
#error "this file is for Linux; other systems get a file of their own in platform/"
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <initializer_list>

#include "platform/platform.hpp"

namespace miniray::platform {

namespace {

constexpr std::size_t kPathBytes = 1024;
constexpr std::uint32_t kMostLevels = 24;
constexpr std::uint64_t kNoLimit = UINT64_MAX;
constexpr std::uint64_t kUnlimitedFrom = 1ULL << 60;  // version 1 writes "no limit" as a number near 2^63
constexpr std::uint64_t kSmallestMarginBytes = 32ULL << 20;
constexpr std::uint64_t kMarginDivisor = 50;  // 2%

// A path that is built up and cut back in place. Too long is remembered, not written.
struct Path {
  char text[kPathBytes] = {};
  std::size_t length = 0;
  bool fits = true;

  void append(const char* part, std::size_t part_length) noexcept {
    fits = fits && length + part_length < kPathBytes;
    if (!fits) return;
    memcpy(text + length, part, part_length);
    length += part_length;
    text[length] = '\0';
  }
  void append(const char* part) noexcept { append(part, strlen(part)); }
  void cut(std::size_t to_length) noexcept {
    length = to_length;
    fits = true;
    text[length] = '\0';
  }
};

// One control group hierarchy: the folder of this process, and where the folders above it end in the text.
struct Hierarchy {
  Path folder;
  std::size_t ends[kMostLevels] = {};
  std::uint32_t level_count = 0;
  bool is_version_two = false;
};

struct Groups {
  Hierarchy hierarchies[2];  // version 1 and version 2 may exist together
  std::uint32_t count = 0;
};

enum class Search : std::uint32_t { kNotBegun, kUnderWay, kDone };
constinit Groups known_groups;
std::atomic<Search> search{Search::kNotBegun};  // [M1] kDone: release -> acquire; publishes known_groups

// Text of a small file, zero-terminated; false when it cannot be read.
template <std::size_t Size>
bool read_text(const char* path, char (&text)[Size]) noexcept {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  std::size_t length = 0;
  while (length < Size - 1) {
    const ssize_t done = read(file, text + length, Size - 1 - length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) break;
    length += static_cast<std::size_t>(done);
  }
  close(file);
  text[length] = '\0';
  return length > 0;
}

// The number at the start of a text; kNoLimit for "max", -1 and anything else.
std::uint64_t number_of(const char* text) noexcept {
  while (*text == ' ' || *text == '\t') ++text;
  if (*text < '0' || *text > '9') return kNoLimit;
  std::uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    if (value >= kUnlimitedFrom) return kNoLimit;
    value = value * 10 + static_cast<std::uint64_t>(*text - '0');
  }
  return value < kUnlimitedFrom ? value : kNoLimit;
}

// Number behind `key` at the start of a line, kNoLimit when there is no such line.
std::uint64_t field_of(const char* text, const char* key) noexcept {
  const std::size_t key_length = strlen(key);
  for (const char* line = text; line != nullptr && *line != '\0';) {
    if (strncmp(line, key, key_length) == 0 && (line[key_length] == ' ' || line[key_length] == ':'))
      return number_of(line + key_length + 1);
    line = strchr(line, '\n');
    if (line != nullptr) ++line;
  }
  return kNoLimit;
}

std::uint64_t read_number(Path& folder, const char* name) noexcept {
  const std::size_t end = folder.length;
  folder.append(name);
  char text[32];
  const bool is_read = folder.fits && read_text(folder.text, text);
  folder.cut(end);
  return is_read ? number_of(text) : kNoLimit;
}

std::uint64_t reclaimable_bytes(Path& folder, bool is_version_two) noexcept {
  const std::size_t end = folder.length;
  folder.append("/memory.stat");
  char text[8192];
  const bool is_read = folder.fits && read_text(folder.text, text);
  folder.cut(end);
  if (!is_read) return 0;
  std::uint64_t sum = 0;
  const auto add = [&](std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      const std::uint64_t value = field_of(text, key);
      if (value != kNoLimit) sum += value;
    }
  };
  if (is_version_two) {
    add({"inactive_file", "active_file", "slab_reclaimable"});
  } else {
    add({"total_inactive_file", "total_active_file"});
  }
  return sum;
}

bool is_folder(const Path& path) noexcept {
  struct stat status{};
  return path.fits && stat(path.text, &status) == 0 && S_ISDIR(status.st_mode);
}

bool list_has(const char* list, std::size_t list_length, const char* word) noexcept {
  const std::size_t length = strlen(word);
  for (std::size_t begin = 0; begin + length <= list_length;) {
    std::size_t end = begin;
    while (end < list_length && list[end] != ',') ++end;
    if (end - begin == length && memcmp(list + begin, word, length) == 0) return true;
    begin = end + 1;
  }
  return false;
}

// The folder that a hierarchy is mounted at; the last one that exists.
bool find_top(Path& folder, const char* root, std::initializer_list<const char*> names) noexcept {
  for (const char* name : names) {
    folder.cut(0);
    folder.append(root);
    folder.append("/sys/fs/cgroup");
    folder.append(name);
    if (is_folder(folder)) return true;
  }
  return false;
}

// Length of the next part of a path, which is moved to its begin; 0 at the end. ".." leads out of this container: skipped.
std::size_t next_part(const char*& path) noexcept {
  for (;;) {
    while (*path == '/') ++path;
    const std::size_t length = strcspn(path, "/");
    if (length != 2 || path[0] != '.' || path[1] != '.') return length;
    path += length;
  }
}

// Keeps the levels whose limit can be read. In a container the path may be the host's: then the top alone is there.
void find_levels(Hierarchy& hierarchy, const char* path) noexcept {
  Path& folder = hierarchy.folder;
  do {
    const std::size_t end = folder.length;
    folder.append(hierarchy.is_version_two ? "/memory.max" : "/memory.limit_in_bytes");
    const bool has_limit = folder.fits && access(folder.text, R_OK) == 0;
    folder.cut(end);
    folder.append("/release_agent");  // only version 1 has it, only its root, and that cannot be limited
    const bool is_root = folder.fits && access(folder.text, F_OK) == 0;
    folder.cut(end);
    if (has_limit && !is_root && hierarchy.level_count < kMostLevels) hierarchy.ends[hierarchy.level_count++] = end;
    const std::size_t length = next_part(path);
    if (length == 0) return;
    folder.append("/");
    folder.append(path, length);
    path += length;
  } while (is_folder(folder));
}

void find_groups(const char* root, Groups& groups) noexcept {
  groups.count = 0;
  Path list;
  list.append(root);
  list.append("/proc/self/cgroup");
  char text[4096];
  if (!list.fits || !read_text(list.text, text)) return;
  char* next = nullptr;
  for (char* line = text; line != nullptr && *line != '\0' && groups.count < 2;
       line = next) {  // HIERARCHY:CONTROLLER,...:/PATH
    next = strchr(line, '\n');
    if (next != nullptr) *next++ = '\0';
    char* names = strchr(line, ':');
    char* path = names == nullptr ? nullptr : strchr(++names, ':');
    if (path == nullptr) continue;
    const auto names_length = static_cast<std::size_t>(path - names);
    *path++ = '\0';
    Hierarchy& hierarchy = groups.hierarchies[groups.count];
    hierarchy.level_count = 0;
    hierarchy.is_version_two = names_length == 0 && strncmp(line, "0:", 2) == 0;
    char joined[64] = "/";
    bool found = false;
    if (hierarchy.is_version_two) {
      found = find_top(hierarchy.folder, root, {"/unified", ""});
    } else if (list_has(names, names_length, "memory") && names_length < sizeof(joined) - 1) {
      memcpy(joined + 1, names, names_length + 1);
      found = find_top(hierarchy.folder, root, {"/memory", joined});
    }
    if (!found) continue;
    find_levels(hierarchy, path);
    if (hierarchy.level_count > 0) ++groups.count;
  }
}

// What is left below a limit once the margin is taken off.
std::uint64_t without_margin(std::uint64_t left, std::uint64_t total) noexcept {
  const std::uint64_t margin = std::max(kSmallestMarginBytes, total / kMarginDivisor);
  return left > margin ? left - margin : 0;
}

std::uint64_t headroom(const char* root, const Groups& groups) noexcept {
  std::uint64_t least = kNoLimit;
  Path path;
  path.append(root);
  path.append("/proc/meminfo");
  char text[512];  // MemTotal and MemAvailable are among the first lines
  if (path.fits && read_text(path.text, text)) {
    const std::uint64_t total = field_of(text, "MemTotal");
    const std::uint64_t available = field_of(text, "MemAvailable");
    if (available != kNoLimit) least = without_margin(available * 1024, total == kNoLimit ? 0 : total * 1024);
  }
  for (std::uint32_t i = 0; i < groups.count; ++i) {
    const Hierarchy& hierarchy = groups.hierarchies[i];
    const bool is_version_two = hierarchy.is_version_two;
    for (std::uint32_t level = hierarchy.level_count; level-- > 0;) {
      path.cut(0);
      path.append(hierarchy.folder.text, hierarchy.ends[level]);
      const std::uint64_t limit = read_number(path, is_version_two ? "/memory.max" : "/memory.limit_in_bytes");
      if (limit == kNoLimit) continue;
      const std::uint64_t usage = read_number(path, is_version_two ? "/memory.current" : "/memory.usage_in_bytes");
      if (usage == kNoLimit) continue;
      if (without_margin(limit > usage ? limit - usage : 0, limit) >= least) continue;
      const std::uint64_t needed = usage - std::min(reclaimable_bytes(path, is_version_two), usage);
      least = std::min(least, without_margin(limit > needed ? limit - needed : 0, limit));
    }
  }
  return least;
}

}  // namespace

std::uint64_t memory_headroom_bytes() noexcept {
  Search found = search.load(std::memory_order_acquire);  // [M1]
  if (found == Search::kNotBegun && search.compare_exchange_strong(found, Search::kUnderWay, std::memory_order_acquire)) {
    find_groups("", known_groups);
    found = Search::kDone;
    search.store(found, std::memory_order_release);  // [M1]
  }
  // Another thread searches; in a child that was forked meanwhile it will never be done.
  if (found == Search::kUnderWay) return memory_headroom_bytes_below("");
  return headroom("", known_groups);
}

std::uint64_t memory_headroom_bytes_below(const char* root) noexcept {
  Groups groups;
  find_groups(root, groups);
  return headroom(root, groups);
}

}  // namespace miniray::platform
