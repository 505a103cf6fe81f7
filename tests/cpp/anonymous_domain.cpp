// A domain without names: made, attached to by inherited descriptors with all the checks of a named one, its size sealed.
#include <filesystem>
#include <initializer_list>
#include <iterator>
#include <string>
#include <system_error>

#include "runtime/domain.hpp"
#include "testing.hpp"

namespace {

namespace fs = std::filesystem;
using miniray::runtime::Domain;
using miniray::runtime::DomainConfig;
using miniray::runtime::DomainError;
using miniray::runtime::DomainUsage;
using miniray::runtime::ProcessKind;
namespace platform = miniray::platform;

constexpr const char* kControlName = "miniray_anonymous-test_scheduler";
constexpr const char* kHeapName = "miniray_anonymous-test_objectstore";

DomainConfig small() {
  DomainConfig config;
  config.object_capacity = config.task_capacity = 1000;
  config.process_capacity = 8;
  config.heap_bytes = 1 << 20;
  return config;
}

void make(Domain& domain) {
  EXPECT(!domain.create(kControlName, kHeapName, small(), DomainUsage::kSession, ProcessKind::kDriver, true));
}

long open_descriptors() { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); }

void nothing_has_a_name_and_people_see_what_it_is() {
  Domain domain;
  make(domain);
  EXPECT(platform::open_shared_file(kControlName) < 0 && platform::open_shared_file(kHeapName) < 0);
  const fs::path link = "/proc/self/fd/" + std::to_string(domain.control_file());
  EXPECT(fs::read_symlink(link).string().find(kControlName) != std::string::npos);
  Domain::unlink(kControlName, kHeapName);  // harmless
  EXPECT_VALID(domain);
}

void both_see_the_same_memory() {
  Domain one;
  make(one);
  Domain other;
  EXPECT(!other.attach_descriptors(one.control_file(), one.heap_file(), DomainUsage::kSession, ProcessKind::kSupervisor));
  EXPECT(one.self().slot != other.self().slot && other.control_file() != one.control_file());
  one.header().scheduler.arrivals.store_ordered(77);
  EXPECT(other.header().scheduler.arrivals.load_ordered() == 77);
  one.detach();  // the memory stays with who still has it
  EXPECT(other.header().scheduler.arrivals.load_ordered() == 77);
  EXPECT_VALID(other);
}

void size_is_sealed_and_only_the_user_may_open() {
  Domain domain;
  make(domain);
  for (const platform::Descriptor file : {domain.control_file(), domain.heap_file()}) {
    platform::FileFacts facts{};
    EXPECT(platform::file_facts(file, facts) == 0 && facts.mode == 0600);
    EXPECT(platform::reserve_pages(file, 0, 4096) == 0);
    std::error_code error;
    fs::resize_file("/proc/self/fd/" + std::to_string(file), facts.size_bytes - 4096, error);
    EXPECT(error);
    EXPECT(platform::reserve_pages(file, facts.size_bytes, 4096) < 0);
    EXPECT(platform::file_facts(file, facts) == 0 && facts.size_bytes % 4096 == 0);
  }
}

void wrong_descriptors_are_refused_and_nothing_is_left_open() {
  Domain domain;
  make(domain);
  const platform::Descriptor control = domain.control_file();
  const platform::Descriptor heap = domain.heap_file();
  const platform::Descriptor empty = platform::create_anonymous_file("empty", 0);
  const long before = open_descriptors();
  const auto refused = [](platform::Descriptor one, platform::Descriptor two, DomainUsage usage) {
    Domain other;
    const auto failure = other.attach_descriptors(one, two, usage, ProcessKind::kSupervisor);
    EXPECT(!other.is_attached());
    return failure.error;
  };
  EXPECT(refused(heap, control, DomainUsage::kSession) == DomainError::kCorrupt);
  EXPECT(refused(control, control, DomainUsage::kSession) == DomainError::kCorrupt);
  EXPECT(refused(empty, heap, DomainUsage::kSession) == DomainError::kCorrupt);
  EXPECT(refused(control, heap, DomainUsage::kObjectStore) == DomainError::kCorrupt);
  EXPECT(refused(-1, heap, DomainUsage::kSession) == DomainError::kSystem);
  EXPECT(refused(control, 1000, DomainUsage::kSession) == DomainError::kSystem);
  domain.header().version.store_release(99);
  EXPECT(refused(control, heap, DomainUsage::kSession) == DomainError::kWrongVersion);
  domain.header().version.store_release(miniray::runtime::kLayoutVersion);
  EXPECT(open_descriptors() == before);
  platform::close_descriptor(empty);
}

}  // namespace

int main() {
  const long before = open_descriptors();
  nothing_has_a_name_and_people_see_what_it_is();
  both_see_the_same_memory();
  size_is_sealed_and_only_the_user_may_open();
  wrong_descriptors_are_refused_and_nothing_is_left_open();
  EXPECT(open_descriptors() == before);
}
