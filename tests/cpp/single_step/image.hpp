// image.hpp - the shared memory of a domain as one array of pages: read while a process is stopped in it, and written back elsewhere.
//
// Invariants  I1 pages of the control file come first, then those of the heap. The spill file's bytes are not part of it: whether they are
//                whole is told by the control file alone.
//             I2 pages that nobody ever wrote or read are holes of the files, and zero: most of the control file is. They stay holes, and
//                are not looked at.
//             I3 a State is what SIGKILL would leave at that instruction: the kernel throws away registers and keeps the pages.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/domain.hpp"
#include "testing.hpp"

namespace single_step {

namespace platform = miniray::platform;

inline constexpr std::size_t kPage = platform::kPageBytes;
using Page = std::array<std::byte, kPage>;

// Two nameless files with room for a domain of that size, mapped.
class Image {
 public:
  Image() = default;
  Image(std::uint64_t control_bytes, std::uint64_t heap_bytes)
      : control_bytes_(control_bytes),
        heap_bytes_(heap_bytes),
        control_file_(platform::create_anonymous_file("miniray_single-step_scheduler", control_bytes)),
        heap_file_(platform::create_anonymous_file("miniray_single-step_objectstore", heap_bytes)) {
    map();
  }
  // Of a domain that exists already.
  explicit Image(const miniray::runtime::Domain& domain)
      : control_bytes_(domain.header().control_bytes),
        heap_bytes_(domain.header().heap_bytes),
        control_file_(platform::duplicate_descriptor(domain.control_file())),
        heap_file_(platform::duplicate_descriptor(domain.heap_file())) {
    map();
  }
  ~Image() {
    platform::unmap(control_, control_bytes_);
    platform::unmap(heap_, heap_bytes_);
    platform::close_descriptor(control_file_);
    platform::close_descriptor(heap_file_);
  }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  [[nodiscard]] std::size_t page_count() const noexcept { return (control_bytes_ + heap_bytes_) / kPage; }
  // The numbers of those that are no holes, ascending.
  [[nodiscard]] std::vector<std::uint32_t> pages_with_data() const {
    std::vector<std::uint32_t> found;
    find_data(control_file_, control_bytes_, 0, found);
    find_data(heap_file_, heap_bytes_, control_bytes_ / kPage, found);
    return found;
  }
  [[nodiscard]] std::byte* page(std::size_t number) const noexcept {
    const std::size_t in_control = control_bytes_ / kPage;
    return number < in_control ? control_ + number * kPage : heap_ + (number - in_control) * kPage;
  }
  [[nodiscard]] std::byte* region() const noexcept { return control_; }
  [[nodiscard]] const std::byte* heap() const noexcept { return heap_; }
  [[nodiscard]] std::uint64_t control_bytes() const noexcept { return control_bytes_; }
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept { return heap_bytes_; }
  [[nodiscard]] platform::Descriptor control_file() const noexcept { return control_file_; }
  [[nodiscard]] platform::Descriptor heap_file() const noexcept { return heap_file_; }
  [[nodiscard]] miniray::runtime::ControlHeader& header() const noexcept {
    return *reinterpret_cast<miniray::runtime::ControlHeader*>(control_);
  }
  [[nodiscard]] miniray::shm::LockBlock& lock_block() const noexcept {
    return *reinterpret_cast<miniray::shm::LockBlock*>(control_ + header().lock_offset);
  }
  [[nodiscard]] miniray::runtime::DomainFailure attach(miniray::runtime::Domain& domain) const noexcept {
    return domain.attach_descriptors(control_file_, heap_file_, miniray::runtime::DomainUsage::kSession,
                                     miniray::runtime::ProcessKind::kWorker);
  }

 private:
  static void find_data(platform::Descriptor file, std::uint64_t bytes, std::size_t first, std::vector<std::uint32_t>& found) {
    for (off_t begin = 0; (begin = lseek(file, begin, SEEK_DATA)) >= 0 && static_cast<std::uint64_t>(begin) < bytes;) {
      const off_t end = lseek(file, begin, SEEK_HOLE);
      EXPECT(end > begin);
      for (; begin < end; begin += kPage)
        found.push_back(static_cast<std::uint32_t>(first + static_cast<std::size_t>(begin) / kPage));
    }
  }
  void map() {
    EXPECT(control_file_ >= 0 && heap_file_ >= 0);
    control_ = platform::map_file(control_file_, control_bytes_, platform::Access::kReadWrite);
    heap_ = platform::map_file(heap_file_, heap_bytes_, platform::Access::kReadWrite);
    EXPECT(control_ != nullptr && heap_ != nullptr);
  }

  std::uint64_t control_bytes_ = 0;
  std::uint64_t heap_bytes_ = 0;
  platform::Descriptor control_file_ = -1;
  platform::Descriptor heap_file_ = -1;
  std::byte* control_ = nullptr;
  std::byte* heap_ = nullptr;
};

// The pages that differ from those at the start of a trace.
struct State {
  std::vector<std::pair<std::uint32_t, std::shared_ptr<const Page>>> pages;
  std::uint64_t committed = 0;
  std::uint64_t address = 0;  // of the instruction whose end it is
};

// All pages at the start of a trace.
class Base {
 public:
  Base() = default;
  explicit Base(const Image& image) : numbers_(image.pages_with_data()), pages_(image.page_count()) {
    for (const std::uint32_t number : numbers_) {
      pages_[number] = std::make_unique<Page>();
      std::memcpy(pages_[number]->data(), image.page(number), kPage);
    }
  }
  [[nodiscard]] const Page& operator[](std::size_t number) const noexcept {
    static constexpr Page kZero{};
    return pages_[number] ? *pages_[number] : kZero;
  }
  // Calls visit(number) for each page that may differ in an image that began as this one, or empty.
  template <class Visit>
  void each_in(const Image& image, Visit visit) const {
    for (const std::uint32_t number : numbers_) visit(number);
    for (const std::uint32_t number : image.pages_with_data()) {
      if (!pages_[number]) visit(number);
    }
  }

 private:
  std::vector<std::uint32_t> numbers_;
  std::vector<std::unique_ptr<Page>> pages_;
};

inline void restore(const Image& image, const Base& base, const State& state) {
  base.each_in(image, [&](std::uint32_t number) {
    const Page& page = base[number];
    if (std::memcmp(image.page(number), page.data(), kPage) != 0) std::memcpy(image.page(number), page.data(), kPage);
  });
  for (const auto& [number, page] : state.pages) std::memcpy(image.page(number), page->data(), kPage);
}

}  // namespace single_step
