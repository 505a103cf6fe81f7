// python/object_ref.hpp - the Python type ObjectRef: a name of an object that may not exist yet, and a count that keeps it.
//
// A plain C type, not nanobind's: one is made and dropped per call, and a free list makes that 30 ns.
#pragma once

#include <string>

#include "python/session.hpp"
#include "store/object_id.hpp"

namespace miniray::python {

struct ObjectRefObject {
  PyObject_HEAD store::ObjectId id;
  std::uint64_t epoch;  // session that counts it; 0: a bare name (low-level module, or its session has ended)
  PyObject* weak_references;
};

extern PyTypeObject* object_ref_type;
inline bool is_object_ref(PyObject* object) noexcept { return Py_TYPE(object) == object_ref_type; }

// New reference to an object of this session; counts it. The caller sets the hold bit when count_up said it is the first.
PyObject* make_object_ref(ObjectKey key);
PyObject* make_bare_object_ref(store::ObjectId id);
inline ObjectKey key_of(PyObject* ref) noexcept {
  const auto* self = reinterpret_cast<ObjectRefObject*>(ref);
  return {static_cast<Index>(self->id.low), static_cast<std::uint32_t>(self->id.low >> 32)};
}
// A ref that belongs to the running session; otherwise false with ValueError.
bool check_object_ref(PyObject* ref);

[[nodiscard]] std::string object_id_hex(const store::ObjectId& id);  // 32 digits
[[nodiscard]] bool parse_object_id(const char* text, Py_ssize_t length, store::ObjectId& id) noexcept;

// While one exists on a thread, ObjectRefs that are pickled are listed in `pickled`, and ObjectRefs unpickled in `fresh`.
class RefCollector {
 public:
  RefCollector() noexcept;
  ~RefCollector();
  RefCollector(const RefCollector&) = delete;
  RefCollector& operator=(const RefCollector&) = delete;
  std::vector<ObjectKey> pickled;
  std::vector<ObjectKey> fresh;  // counted for the first time in this process: hold bits are due

 private:
  RefCollector* outer_;
};
RefCollector* current_collector() noexcept;

bool add_object_ref_type(PyObject* module);

}  // namespace miniray::python
