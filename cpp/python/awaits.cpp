// python/awaits.cpp - see awaits.hpp.
//
// Invariants  B1 one thread of the process collects; it sleeps in the kernel, without the GIL, while nothing is there to collect.
//             B2 whoever awaits an object keeps a ref of it until it is collected, so the slot that is collected is still that object.
#include "python/awaits.hpp"

#include "python/guard.hpp"
#include "python/object_ref.hpp"
#include "python/waiting.hpp"

namespace miniray::python {

namespace {

constexpr std::size_t kMostCollected = 256;

// _await_object(ref): 0 when it is ready; otherwise the number of the session, whose _collect_awaited() will give it.
PyObject* await_object(PyObject*, PyObject* ref) {
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "not an ObjectRef: %R", ref);
  if (!require_session() || !check_object_ref(ref)) return nullptr;
  const SessionUse use;
  if (!session->releases.empty()) flush_releases_now();  // it may be long until the next call
  switch (session->awaited.add(key_of(ref))) {
    case runtime::StandingWait::Added::kWaits:
      return PyLong_FromUnsignedLongLong(epoch);
    case runtime::StandingWait::Added::kSealed:
      return PyLong_FromLong(0);
    case runtime::StandingWait::Added::kNoRoom:
      break;
  }
  PyErr_SetString(PyExc_MemoryError, "miniray: no room in shared memory to await one more object");
  return nullptr;
}

// _collect_awaited(): refs of awaited objects that are ready now; waits until there is one. None when the session ends.
PyObject* collect_awaited(PyObject*, PyObject*) {
  if (session == nullptr || !session->awaited.is_begun()) Py_RETURN_NONE;
  const SessionUse use;
  Session& own = *session;
  Index found[kMostCollected];
  std::size_t count = 0;
  {
    const GilRelease released;
    while (count == 0 && !own.awaiting_ends.load()) {
      own.awaited.sleep(own.awaiting_ends);
      count = own.awaited.collect(found, kMostCollected);
    }
  }
  if (own.awaiting_ends.load()) {
    own.awaited.end();
    Py_RETURN_NONE;
  }
  Owned refs(PyList_New(static_cast<Py_ssize_t>(count)));
  for (std::size_t i = 0; refs && i < count; ++i) {
    PyList_SET_ITEM(refs.get(), static_cast<Py_ssize_t>(i), make_object_ref(own.domain.objects.key(found[i])));
  }
  return refs.release();
}

// _end_awaiting(): _collect_awaited() gives None from now on, whatever is ready.
PyObject* end_awaiting(PyObject*, PyObject*) {
  if (session == nullptr) Py_RETURN_NONE;
  session->awaiting_ends.store(true);
  session->domain.waits.wake_all_groups();
  Py_RETURN_NONE;
}

// _set_blocking_hook(hook): called before a thread of this process blocks in get; None: not any more.
PyObject* set_blocking_hook(PyObject*, PyObject* hook) {
  PyObject* before = blocking_get_hook;
  blocking_get_hook = hook == Py_None ? nullptr : Py_NewRef(hook);
  Py_XDECREF(before);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_set_blocking_hook", guarded<set_blocking_hook>, METH_O, nullptr},
    {"_await_object", guarded<await_object>, METH_O, nullptr},
    {"_collect_awaited", guarded<collect_awaited>, METH_NOARGS, nullptr},
    {"_end_awaiting", guarded<end_awaiting>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_await_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
