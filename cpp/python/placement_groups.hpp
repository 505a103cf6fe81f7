// python/placement_groups.hpp - placement groups for the Python layer. They are named by 18 bytes, as in Ray.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

inline constexpr std::size_t kPlacementIdBytes = 18;

// The key of the ready object that 18 bytes name; none when they are of another session. False with a Python error: not 18 bytes.
bool parse_placement_id(PyObject* bytes, ObjectKey& key);
// Under the lock: the group of a ready object, while tasks may be made in it; kNone.
[[nodiscard]] Index open_placement(ObjectKey key);
// The group whose tasks capture what they submit, of the task that begins here; 0: none. Cheap when there are none.
void note_captured_placement(const scheduler::TaskEntry& task);

bool add_placement_group_functions(PyObject* module);

}  // namespace miniray::python
