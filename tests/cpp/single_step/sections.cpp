#include "sections.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <vector>

#include "testing.hpp"

extern "C" const char __executable_start[];  // NOLINT(readability-identifier-naming): the linker's names
extern "C" const char end[];                 // NOLINT(readability-identifier-naming)

namespace single_step {

namespace {

namespace fs = std::filesystem;

constexpr const char* kCombines =
    "needs Python; combines, in a section that is undone as one, operations that are stepped here";

constexpr const char* kOnlyReads = "needs Python; changes nothing under the lock";

struct Excuse {
  const char* what;  // file and function of a section, or class and name of an operation
  const char* reason;
};

constexpr Excuse kExcuses[] = {
    {"runtime/domain_files.cpp create",
     "before the domain's version is stored nobody attaches; whoever makes it next starts over"},
    {"runtime/wait.hpp wait_for_work", "looks at its lease under the lock, and changes nothing"},
    {"runtime/lookout.cpp look", "calls Scheduler::look_out or relieve_lookout once, as `lookout` does"},
    {"store/object_table.cpp try_read", "looks again at a row that cannot be true, and changes nothing"},
    {"runtime/spilling.cpp reserve_payload",
     "discards after a refused growth, as `put given up` does; its other section is stepped"},
    {"bindings/scheduler.cpp change_worker", "calls WorkerRegistry once, as `registry` does"},
    {"bindings/scheduler.cpp register_worker", "calls WorkerRegistry once, as `registry` does"},
    {"python/actors.cpp find_named_actor", kCombines},
    {"python/actors.cpp kill_actor", kCombines},
    {"python/actors.cpp set_actor_name", kCombines},
    {"python/actors.cpp actor_facts", kOnlyReads},
    {"python/cancellation.cpp cancel", kOnlyReads},
    {"python/cancellation.cpp find_children", kOnlyReads},
    {"python/cancellation.cpp cancel_task", kCombines},
    {"python/context.cpp resources", kOnlyReads},
    {"python/object_ref.cpp task_id", kOnlyReads},
    {"python/placement_groups.cpp create", kCombines},
    {"python/placement_groups.cpp find_named", kOnlyReads},
    {"python/placement_groups.cpp list_groups", kCombines},
    {"python/placement_groups.cpp ready_ref", kCombines},
    {"python/placement_groups.cpp remove_group", kCombines},
    {"python/pending_calls.cpp is_full_of_calls", kOnlyReads},
    {"python/caller.cpp call", "needs Python; scenario.cpp submit() does the same in the same order"},
    {"python/actor_calls.cpp begin_calls", kCombines},
    {"python/task_run.cpp complete", "needs Python; scenario.cpp finish_task() does the same in the same order"},
    {"python/task_run.cpp drop_results", kCombines},
    {"python/task_run.cpp end_own_actor", kCombines},
    {"python/task_run.cpp finish_run", kCombines},
    {"python/executor.cpp run_worker", kCombines},
    {"python/object_ref.cpp rebuild", kCombines},
    {"python/objects.cpp put_as", kCombines},
    {"python/objects.cpp put_or_find", kCombines},
    {"python/waiting.cpp wait_for_objects", kCombines},
    {"python/objects.cpp fill_object", kCombines},
    {"python/session.cpp drop_count", kCombines},
    {"python/session.cpp flush_releases_now", kCombines},
    {"python/session.cpp hold_all", kCombines},
    {"python/session.cpp acquire", kCombines},
    {"python/session.cpp pin_down", kCombines},
    {"python/session.cpp reserve", kCombines},
    {"python/session.cpp create_writing_object", kCombines},
    {"python/session.cpp discard_writing_object", kCombines},
    {"python/demands.cpp set_resources", kCombines},
    {"python/demands.cpp find_shape", kCombines},
    {"python/environments.cpp find_environment", kCombines},
    {"python/environments.cpp give_way", kCombines},
    {"python/environments.cpp fail_environment", kCombines},
    {"python/decoder.cpp read_death_note", kOnlyReads},
    {"python/supervision.cpp workers_needed", kOnlyReads},
    {"python/supervision.cpp running_tasks", kOnlyReads},
    {"python/supervision.cpp note_death",
     "one text of a ring, told apart by its number: a half-written one is never referred to"},
    {"python/supervision.cpp fail_stranded", kCombines},
    {"python/supervision.cpp let_memory_watch_sleep", kCombines},
    {"python/supervision.cpp set_memory_retries", kCombines},
    {"python/store_memory.cpp refer_to_object", kCombines},
    {"python/streams.cpp add_value", kCombines},
    {"python/stream_reader.cpp take", kCombines},
    {"python/stream_reader.cpp peek_ref", kCombines},
    {"python/store_memory.cpp seal_block", kCombines},
    {"PageHeap::initialize", "as create"},
    {"SlotTable::rebuild", "nothing calls it: the journal is the first line, this the second"},
    {"SlotTable::rebuild_chunk", "as rebuild"},
    {"PageHeap::rebuild", "nothing calls it: the journal is the first line, this the second"},
};

struct Place {
  std::string function;
  std::string file;  // below cpp/, or its name alone
  long line = 0;
};

std::string shell_quoted(const std::string& text) { return "'" + text + "'"; }

// The chain of inlined functions at each address.
std::map<std::uint64_t, std::vector<Place>> resolve(const std::vector<std::uint64_t>& addresses) {
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(__executable_start);
  const std::uint64_t base = header->e_type == ET_EXEC ? reinterpret_cast<std::uintptr_t>(__executable_start) : 0;
  const fs::path input = fs::temp_directory_path() / ("miniray-single-step-" + std::to_string(getpid()));
  {
    std::ofstream list(input);
    for (const std::uint64_t address : addresses) list << "0x" << std::hex << address + base << "\n";
  }
  const std::string command =
      "addr2line -a -i -f -C -e " + shell_quoted(fs::read_symlink("/proc/self/exe")) + " < " + shell_quoted(input);
  std::FILE* output =
      popen(command.c_str(), "r");  // NOLINT(bugprone-command-processor): a tool of the compiler, with our own path
  EXPECT(output != nullptr);
  std::map<std::uint64_t, std::vector<Place>> found;
  std::vector<Place>* places = nullptr;
  Place place;
  std::array<char, 8192> buffer{};
  bool is_function = true;
  while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), output) != nullptr) {
    std::string line(buffer.data());
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (line.starts_with("0x") && line.find(' ') == std::string::npos) {
      places = &found[std::strtoull(line.c_str(), nullptr, 16) - base];
      is_function = true;
    } else if (is_function) {
      place.function = line;
      is_function = false;
    } else {
      is_function = true;
      if (places == nullptr) continue;
      const std::size_t colon = line.rfind(':');
      place.file = colon == std::string::npos ? line : line.substr(0, colon);
      place.line = colon == std::string::npos ? 0 : std::strtol(line.c_str() + colon + 1, nullptr, 10);
      if (const std::size_t root = place.file.rfind("/cpp/"); root != std::string::npos) place.file.erase(0, root + 5);
      places->push_back(place);
    }
  }
  const int status = pclose(output);
  fs::remove(input);
  if (status != 0) std::fprintf(stderr, "addr2line (binutils) is needed to tell which sections were stepped\n");
  EXPECT(status == 0);
  return found;
}

// `miniray::store::ObjectTable::free(miniray::shm::Transaction&, unsigned int)` -> `ObjectTable::free`; templates lose their arguments.
std::string short_name(const std::string& function) {
  std::string plain;
  int depth = 0;
  for (const char letter : function) {
    if (letter == '<') ++depth;
    if (depth == 0 && letter == '(') break;
    if (depth == 0) plain += letter;
    if (letter == '>') --depth;
  }
  if (const std::size_t space = plain.rfind(' '); space != std::string::npos) plain.erase(0, space + 1);
  const std::size_t last = plain.rfind("::");
  if (last == std::string::npos) return plain;
  const std::size_t before = plain.rfind("::", last - 1);
  return before == std::string::npos ? plain : plain.substr(before + 2);
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The function around a line: the nearest line before it that begins a definition, outside of a class or in one.
std::string function_around(const std::vector<std::string>& lines, std::size_t number) {
  static const std::regex kOutside(R"(^[A-Za-z\[].*?(\w+)\()");
  static const std::regex kMember(R"(^  (?!if|for|while|switch|return|else)[A-Za-z\[][^=]*?(\w+)\([^=]*\{$)");
  for (std::size_t i = number; i-- > 0;) {
    std::smatch match;
    if (std::regex_search(lines[i], match, kOutside) || std::regex_search(lines[i], match, kMember)) return match[1];
  }
  return "?";
}

struct Section {
  std::string where;  // file and function
  std::string file;
  long line;
};

struct Sources {
  std::vector<Section> sections;
  std::set<std::string> operations;  // class and name of what takes a transaction
};

Sources read_sources() {
  static const std::regex kSection(R"(\bTransaction \w+\([^)]*lock\))");
  static const std::regex kOperation(R"((\w+)\((?:[^()]*, )?Transaction& \w+)");
  static const std::regex kClass(R"(^class (\w+))");
  Sources sources;
  const fs::path root = fs::path(MINIRAY_SOURCES);
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension();
    if (extension != ".cpp" && extension != ".hpp") continue;
    const std::string file = fs::relative(entry.path(), root);
    const std::vector<std::string> lines = lines_of(entry.path());
    std::string type = "?";
    for (std::size_t i = 0; i < lines.size(); ++i) {
      std::smatch match;
      if (std::regex_search(lines[i], match, kClass)) type = match[1];
      if (std::regex_search(lines[i], kSection) && file != "shm/transaction.hpp")
        sources.sections.push_back({file + " " + function_around(lines, i), file, static_cast<long>(i) + 1});
      const bool is_core = !file.starts_with("python/") && !file.starts_with("bindings/");
      if (is_core && extension == ".hpp" && std::regex_search(lines[i], match, kOperation))
        sources.operations.insert(type + "::" + match[1].str());
    }
  }
  return sources;
}

}  // namespace

std::string place_of(std::uint64_t address) {
  if (address >= static_cast<std::uint64_t>(end - __executable_start)) return "a library's instruction";
  const auto found = resolve({address});
  std::string text;
  for (const auto& [key, places] : found) {
    for (const Place& place : places) {
      if (!text.empty()) text += " in ";
      text += short_name(place.function) + " " + place.file + ":" + std::to_string(place.line);
    }
  }
  return text;
}

bool all_sections_stepped(const std::unordered_set<std::uint64_t>& addresses) {
  std::vector<std::uint64_t> own;
  for (const std::uint64_t address : addresses) {
    if (address < static_cast<std::uint64_t>(end - __executable_start)) own.push_back(address);
  }
  std::set<std::pair<std::string, long>> lines;
  std::set<std::string> functions;
  for (const auto& [address, places] : resolve(own)) {
    for (const Place& place : places) {
      lines.emplace(place.file, place.line);
      functions.insert(short_name(place.function));
    }
  }
  const Sources sources = read_sources();
  std::set<std::string> unused;
  std::set<std::string> excused;
  for (const Excuse& excuse : kExcuses) excused.insert(excuse.what);
  unused = excused;
  bool complete = true;
  std::size_t stepped = 0;
  for (const Section& section : sources.sections) {
    const bool is_stepped = lines.contains({section.file, section.line});
    const bool is_excused = excused.contains(section.where);
    stepped += is_stepped ? 1 : 0;
    unused.erase(section.where);
    if (is_stepped || is_excused) continue;
    complete = false;
    std::printf("MISSING: no scenario steps through the section at %s:%ld (%s)\n", section.file.c_str(), section.line,
                section.where.c_str());
  }
  std::size_t operations = 0;
  for (const std::string& operation : sources.operations) {
    const bool is_stepped = functions.contains(operation);
    operations += is_stepped ? 1 : 0;
    unused.erase(operation);
    if (is_stepped || excused.contains(operation)) continue;
    complete = false;
    std::printf("MISSING: no scenario steps through the operation %s\n", operation.c_str());
  }
  for (const std::string& excuse : unused) {
    complete = false;
    std::printf("MISSING: there is an excuse for what the sources do not have: %s\n", excuse.c_str());
  }
  std::printf("%zu of %zu sections of the sources stepped, %zu of %zu operations; the rest is excused by name\n", stepped,
              sources.sections.size(), operations, sources.operations.size());
  return complete;
}

}  // namespace single_step
