#include "python/call_site.hpp"

#include <frameobject.h>  // Python 3.10 declares PyFrame_GetBack here

#include <algorithm>
#include <cstring>
#include <string>

namespace miniray::python {

bool records_call_sites = false;

namespace {

auto& backed_pages = never_destroyed<std::vector<bool>>();  // of the table of call sites, by this process
auto& own_folder = never_destroyed<std::string>();          // of the package, with a slash at the end

template <class T>
Owned own(T* object) noexcept {
  return Owned(reinterpret_cast<PyObject*>(object));
}

std::string text_of(PyObject* unicode) {
  Py_ssize_t size = 0;
  const char* text = unicode == nullptr ? nullptr : PyUnicode_AsUTF8AndSize(unicode, &size);
  return text == nullptr ? std::string() : std::string(text, static_cast<std::size_t>(size));
}

bool find_own_folder() {
  if (!own_folder.empty()) return true;
  const Owned name(PyUnicode_FromString("miniray"));
  const Owned package(name ? PyImport_GetModule(name.get()) : nullptr);
  const Owned file(package ? PyObject_GetAttrString(package.get(), "__file__") : nullptr);
  own_folder = text_of(file.get());
  own_folder.erase(own_folder.rfind('/') + 1);
  return !own_folder.empty();
}

// Short enough to leave most of the room to file and line: with its class or outer function where that fits.
std::string function_name(const PyCodeObject& code) {
  constexpr std::size_t kLongest = 24;
#if PY_VERSION_HEX >= 0x030B0000
  std::string qualified = text_of(code.co_qualname);
  for (std::size_t at = 0; (at = qualified.find("<locals>.")) != std::string::npos;) qualified.erase(at, 9);
  if (qualified.size() <= kLongest) return qualified;
#endif
  std::string name = text_of(code.co_name);
  std::size_t end = std::min(name.size(), kLongest);
  while (end < name.size() && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
  name.resize(end);
  return name;
}

// `file:line function` of the innermost frame outside the package; empty when there is none.
std::string find_call_site() {
  if (!find_own_folder()) return {};
  Owned frame(Py_XNewRef(reinterpret_cast<PyObject*>(PyEval_GetFrame())));
  while (frame) {
    auto* raw = reinterpret_cast<PyFrameObject*>(frame.get());
    const Owned code = own(PyFrame_GetCode(raw));
    const auto* facts = reinterpret_cast<PyCodeObject*>(code.get());
    const std::string file = text_of(facts->co_filename);
    if (file.compare(0, own_folder.size(), own_folder) != 0) {
      return file + ':' + std::to_string(PyFrame_GetLineNumber(raw)) + ' ' + function_name(*facts);
    }
    frame = own(PyFrame_GetBack(raw));
  }
  return {};
}

// Reserves the page behind a call site before it is touched for the first time; false when there is no memory for it.
bool back_page(std::uint64_t offset) {
  const std::size_t page = offset / platform::kPageBytes;
  if (page >= backed_pages.size()) backed_pages.resize(page + 1);
  if (backed_pages[page]) return true;
  const std::uint64_t start = session->domain.call_sites_offset() + page * platform::kPageBytes;
  if (platform::reserve_pages(session->domain.files().control, start, platform::kPageBytes) != 0) return false;
  backed_pages[page] = true;
  return true;
}

}  // namespace

void set_up_call_sites() noexcept {
  records_call_sites = session->domain.call_sites_offset() != 0;
  backed_pages.clear();
}

void note_call_site(ObjectKey key) noexcept {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  try {
    const std::string text = find_call_site();
    const std::uint64_t offset = std::uint64_t{key.slot} * sizeof(store::CallSite);
    if (!text.empty() && back_page(offset)) {
      auto* region = reinterpret_cast<std::byte*>(&session->domain.header());
      auto& site = *reinterpret_cast<store::CallSite*>(region + session->domain.call_sites_offset() + offset);
      std::size_t skipped = text.size() > sizeof(site.text) ? text.size() - sizeof(site.text) : 0;
      while ((static_cast<unsigned char>(text[skipped]) & 0xC0) == 0x80) ++skipped;  // not in the middle of a character
      std::memset(site.text, 0, sizeof(site.text));
      std::memcpy(site.text, text.data() + skipped, text.size() - skipped);
      site.generation.store_release(key.generation);  // [CS]
    }
  } catch (const std::bad_alloc&) {
    PyErr_Clear();
  }
  PyErr_Restore(type, value, traceback);
}

}  // namespace miniray::python
