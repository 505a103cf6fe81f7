// python/guard.hpp - where an exception of the core ends: every function that Python calls and that looks into the tables.
//
// Invariants  U1 Python's own frames never see a C++ exception: what is in a table of methods or slots is wrapped in guarded<>, and what
//                cannot fail (dealloc, counts) catches by itself.
//             U2 damage is told to all processes first (Domain::poison), then raised here.
#pragma once

#include <new>
#include <system_error>

#include "python/session.hpp"

namespace miniray::python {

// Poisons this process's session and raises SegmentCorruptedError; returns nullptr.
PyObject* raise_damage(const debug::Damage& damage);
// Raises it for a segment of that name.
PyObject* raise_damage(const debug::Damage& damage, const char* segment);

template <auto Function>
struct Guarded;

template <class... Arguments, PyObject* (*Function)(Arguments...)>
struct Guarded<Function> {
  static PyObject* call(Arguments... arguments) {
    try {
      return Function(arguments...);
    } catch (const debug::Damage& damage) {
      return raise_damage(damage);
    } catch (const std::bad_alloc&) {
      return PyErr_NoMemory();
    }
  }
};

template <auto Function>
inline constexpr auto guarded = &Guarded<Function>::call;

// For what cannot fail: whether `work` was done. Damage is told to the others, and the next call here raises it.
template <class Work>
bool guard_quietly(Work work) noexcept {
  try {
    work();
    return true;
  } catch (const debug::Damage& damage) {
    if (session != nullptr) session->domain.poison(damage.text());
    return false;
  }
}

}  // namespace miniray::python
