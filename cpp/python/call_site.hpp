// python/call_site.hpp - where the user's code made an object, noted for observers when the session records it.
#pragma once

#include "python/session.hpp"

namespace miniray::python {

extern bool records_call_sites;  // of the current session; changes only with it

// For each session of this process, after it is attached.
void set_up_call_sites() noexcept;
// Notes the innermost Python frame that is not miniray's own. The object is held by the caller. Best effort: where memory is short,
// nothing is noted. Costs about a microsecond; call it only when records_call_sites says so, under the GIL, without the lock.
void note_call_site(ObjectKey key) noexcept;

}  // namespace miniray::python
