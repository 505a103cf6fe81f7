#include "bindings/shared_domain.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "python/domain_errors.hpp"
#include "python/guard.hpp"
#include "recovery/dead_process.hpp"

namespace miniray::bindings {

namespace {

constexpr const char* kPrefix = "miniray_";
constexpr std::size_t kLongestName = 200;

std::atomic<std::uint64_t> forks{1};
std::vector<std::weak_ptr<SharedDomain>> opened;

std::string file_name(const std::string& name, const char* kind) {
  if (name.empty()) return std::string(kPrefix) + kind;
  if (name.find('/') != std::string::npos || name.size() > kLongestName || name.find('\0') != std::string::npos) {
    throw nb::value_error(("name must have at most 200 characters and no slash, got " + name.substr(0, kLongestName)).c_str());
  }
  return name.starts_with(kPrefix) ? name : kPrefix + name + "_" + kind;
}

// Damage that a method of a class was left by. Which domain's it was says the domain: its section has poisoned it.
void translate_damage(const std::exception_ptr& raised, void*) {
  try {
    std::rethrow_exception(raised);
  } catch (const debug::Damage& damage) {
    for (const auto& weak : opened) {
      const auto shared = weak.lock();
      if (!shared || !shared->domain().is_attached() || !shared->domain().is_poisoned()) continue;
      shared->domain().poison(damage.text());  // wakes who waits
      python::raise_damage(damage, shared->file().c_str());
      return;
    }
    python::raise_damage(damage, "of the low-level module");
  }
}

// Unlinks a file of the low-level module whose processes are all dead; false: there is none, or it is in use, or not ours.
bool unlink_if_dead(const std::string& file) {
  runtime::DomainUsage usage{};
  const runtime::DomainFailure found = runtime::Domain::inspect(file.c_str(), usage, false);
  const bool is_ours = usage == runtime::DomainUsage::kObjectStore || usage == runtime::DomainUsage::kScheduler;
  const bool is_judged = found.error != runtime::DomainError::kForeign && found.error != runtime::DomainError::kOtherNamespace;
  if (!is_ours || !is_judged || found.owner != 0) return false;
  return platform::unlink_shared_file(file.c_str()) == 0;
}

}  // namespace

std::shared_ptr<SharedDomain> SharedDomain::open(const std::string& name, const char* kind, bool create,
                                                 const runtime::DomainConfig& config, runtime::DomainUsage usage) {
  const std::shared_ptr<SharedDomain> shared(new SharedDomain);
  shared->file_ = file_name(name, kind);
  const char* file = shared->file_.c_str();
  runtime::DomainFailure failure;
  {
    const nb::gil_scoped_release released;
    failure = create ? shared->domain_.create(file, file, config, usage, runtime::ProcessKind::kClient)
                     : shared->domain_.attach(file, file, usage, runtime::ProcessKind::kClient);
  }
  if (failure) {
    shared->closed_ = true;
    python::raise_domain_failure(failure, file);
    throw nb::python_error();
  }
  shared->is_creator_ = create;
  shared->process_ = forks.load();
  if (!create) (void)recovery::sweep(shared->domain_);
  std::erase_if(opened, [](const auto& other) { return other.expired(); });
  opened.push_back(shared);
  return shared;
}

bool SharedDomain::is_of_this_process() const noexcept { return process_ == forks.load(); }

runtime::Domain& SharedDomain::use(bool* forked) {
  if (closed_) throw nb::value_error((file_ + " has been closed in this process; open it again").c_str());
  if (forked != nullptr) *forked = false;
  if (!is_of_this_process()) {
    if (const auto failure = domain_.adopt_after_fork(runtime::ProcessKind::kClient)) {
      python::raise_domain_failure(failure, file_.c_str());
      throw nb::python_error();
    }
    process_ = forks.load();
    is_creator_ = false;
    if (forked != nullptr) *forked = true;
  }
  if (domain_.is_poisoned()) [[unlikely]] {
    python::raise_damage(domain_.lock.damage(), file_.c_str());
    throw nb::python_error();
  }
  return domain_;
}

void SharedDomain::close() noexcept {
  if (closed_) return;
  closed_ = true;
  if (is_creator()) (void)platform::unlink_shared_file(file_.c_str());
}

void SharedDomain::leave() noexcept {
  if (is_of_this_process()) {
    domain_.detach();
  } else {
    domain_.abandon();  // the row is the parent's
  }
}

SharedDomain::~SharedDomain() {
  close();
  leave();
}

void require_within(const char* what, std::uint64_t value, std::uint64_t most, const char* unit) {
  if (value == 0 || value > most) {
    const std::string text = std::string(what) + " must be at least 1" + unit + " and at most " + std::to_string(most) +
                             ", got " + std::to_string(value);
    throw nb::value_error(text.c_str());
  }
}

std::uint64_t default_capacity_bytes() noexcept { return platform::shared_memory_available_bytes() / 10 * 3; }

std::uint32_t cleanup_shared_memory() {
  std::uint32_t removed = 0;
  for (const auto& weak : opened) {
    const auto shared = weak.lock();
    if (!shared || shared->is_closed() || !shared->is_creator()) continue;
    shared->close();
    if (shared.use_count() == 1) shared->leave();
    ++removed;
  }
  for (const char* kind : {"objectstore", "scheduler"}) removed += unlink_if_dead(file_name("", kind)) ? 1U : 0U;
  return removed;
}

void add_shared_domain_functions(nb::module_& module) {
  platform::on_fork_in_child([] { forks.fetch_add(1); });
  nb::register_exception_translator(translate_damage);
  module.def("cleanup_shared_memory", &cleanup_shared_memory,
             "Remove what this process made with ``create=True``, and what dead programs left under the default names.\n\n"
             "Never touches what another live process made. Objects of this process that are removed are closed.\n\n"
             "Returns:\n    How many segments were removed.");
  module.def("_unlink_if_dead", &unlink_if_dead, nb::arg("file"));
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] {
    for (const auto& weak : opened) {
      if (const auto shared = weak.lock()) shared->close();
    }
  }));
}

}  // namespace miniray::bindings
