// python/after_task.hpp - whether Python has something to do when a task of this worker has ended: flush what was written, or leave.
//
// Invariants  A1 asking is a few instructions; most tasks write nothing, and a flush of two streams takes longer than they do.
//             A2 in doubt it has: at the first task, and while sys.stdout or sys.stderr is not the stream that the worker began with.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace miniray::python {

// Remembers the streams of this worker; before its first task.
[[nodiscard]] bool note_own_streams();
// True once for every time that _call_after_task() was called since.
[[nodiscard]] bool is_called_after_task();

bool add_after_task_functions(PyObject* module);

}  // namespace miniray::python
