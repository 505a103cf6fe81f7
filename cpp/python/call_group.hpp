// python/call_group.hpp - miniray._miniray_core.CallGroup: the calls that run in one event loop; _runtime/loop_host.py makes a class of it.
//
// Invariants  G1 `tasks` has the calls that are begun and not over, each with its Task; never more than the limit. What comes beyond is
//                given to delay(call), and `delays` says that such calls are left.
//             G2 all of it in the thread of the loop.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

bool add_call_group_type(PyObject* module);

}  // namespace miniray::python
