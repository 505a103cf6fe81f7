// python/waiting.cpp - see waiting.hpp.
//
// Invariants  N1 programs wait for one of many refs after the other: what a wait does for each ref is a few loads.
//             N2 a ref that is given twice is found by a mark at its slot: refs that name one slot name one object, for each keeps it.
#include "python/waiting.hpp"

#include <algorithm>
#include <cmath>

#include "python/guard.hpp"
#include "python/object_ref.hpp"

namespace miniray::python {

using ReadResult = store::ObjectTable::ReadResult;

namespace {

constexpr std::uint64_t kResultSpinNs = 50'000;
constexpr std::size_t kMostSpunFor = 8;  // objects, of which one is enough
// A signal may arrive between the last look and the sleep; a main thread looks again after this long.
constexpr std::int64_t kSignalSliceNs = 500'000'000;

// Whether a list holds refs of this session and nothing else. Without: a Python error where check_object_ref() has one.
bool are_refs(PyObject* list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    PyObject* ref = PyList_GET_ITEM(list, i);
    if (!is_object_ref(ref) || !check_object_ref(ref)) return false;
  }
  return true;
}

// Whether no ref is there twice.
bool are_distinct(PyObject* refs) {
  Session& own = *session;
  if (++own.wait_number == 0) {  // the marks of 2^32 waits ago
    own.waited.forget_all();
    own.wait_number = 1;
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(refs); ++i) {
    std::uint32_t& mark = own.waited[key_of(PyList_GET_ITEM(refs, i)).slot];
    if (mark == own.wait_number) return false;
    mark = own.wait_number;
  }
  return true;
}

// Until `wanted` of the refs are ready, or the time is over. False with a Python error.
bool wait_for_refs(PyObject* refs, std::size_t wanted, std::int64_t deadline_ns) {
  std::vector<ObjectKey> pending;
  std::size_t ready = 0;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(refs); ++i) {
    const ObjectKey key = key_of(PyList_GET_ITEM(refs, i));
    if (!is_ready(key)) {
      pending.push_back(key);
    } else if (++ready == wanted) {
      return true;
    }
  }
  return deadline_ns == 0 || wait_for_objects(pending, wanted - ready, false, deadline_ns) != Waited::kError;
}

// (list, num_returns, timeout), as both functions have them.
struct Request {
  Owned refs;  // a copy: others may change the list meanwhile
  std::size_t wanted = 0;
  std::int64_t deadline_ns = 0;
};

// False with a Python error.
bool parse(PyObject* const* arguments, Py_ssize_t count, Request& request) {
  if (count != 3 || !PyList_Check(arguments[0])) {
    PyErr_SetString(PyExc_TypeError, "expected (list, num_returns, timeout)");
    return false;
  }
  request.wanted = PyLong_AsSize_t(arguments[1]);
  if (PyErr_Occurred() != nullptr || !parse_deadline(arguments[2], request.deadline_ns)) return false;
  request.refs.reset(PyList_GetSlice(arguments[0], 0, PyList_GET_SIZE(arguments[0])));
  return request.refs != nullptr;
}

// _wait(list of refs, num_returns, timeout): indices of those that are ready, at most num_returns. The caller has checked the arguments.
PyObject* wait_indices(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (!require_session()) return nullptr;
  const SessionUse use;
  Request request;
  if (!parse(arguments, count, request)) return nullptr;
  const auto& [refs, wanted, deadline_ns] = request;
  if (!are_refs(refs.get()))
    return PyErr_Occurred() != nullptr ? nullptr : PyErr_Format(PyExc_TypeError, "_wait() expected a list of refs");
  if (!wait_for_refs(refs.get(), wanted, deadline_ns)) return nullptr;
  Owned indices(PyList_New(0));
  for (Py_ssize_t i = 0; indices && i < PyList_GET_SIZE(refs.get()); ++i) {
    if (static_cast<std::size_t>(PyList_GET_SIZE(indices.get())) == wanted) break;
    if (!is_ready(key_of(PyList_GET_ITEM(refs.get(), i)))) continue;
    const Owned index(PyLong_FromSsize_t(i));
    if (!index || PyList_Append(indices.get(), index.get()) != 0) return nullptr;
  }
  return indices.release();
}

// _wait_for_refs(list, num_returns, timeout): (those that are ready, at most num_returns; the others), in their order. None for what the
// caller has to look at: anything but distinct refs, or fewer than num_returns.
PyObject* wait_refs(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (!require_session()) return nullptr;
  const SessionUse use;
  Request request;
  if (!parse(arguments, count, request)) return nullptr;
  const auto& [refs, wanted, deadline_ns] = request;
  const Py_ssize_t total = PyList_GET_SIZE(refs.get());
  if (wanted == 0 || wanted > static_cast<std::size_t>(total) || !are_refs(refs.get()) || !are_distinct(refs.get()))
    return PyErr_Occurred() != nullptr ? nullptr : Py_NewRef(Py_None);
  if (!wait_for_refs(refs.get(), wanted, deadline_ns)) return nullptr;
  Owned ready(PyList_New(0));
  Owned others(PyList_New(0));
  Py_ssize_t begin = 0;  // of those that are not ready and not in `others` yet
  const auto add_others = [&](Py_ssize_t end) {
    const Py_ssize_t known = PyList_GET_SIZE(others.get());
    const Owned more(PyList_GetSlice(refs.get(), begin, end));
    return more && PyList_SetSlice(others.get(), known, known, more.get()) == 0;
  };
  for (Py_ssize_t i = 0; ready && others && i < total && static_cast<std::size_t>(PyList_GET_SIZE(ready.get())) < wanted; ++i) {
    PyObject* ref = PyList_GET_ITEM(refs.get(), i);
    if (!is_ready(key_of(ref))) continue;
    if (PyList_Append(ready.get(), ref) != 0 || (i > begin && !add_others(i))) return nullptr;
    begin = i + 1;
  }
  if (!ready || !others || !add_others(total)) return nullptr;
  return PyTuple_Pack(2, ready.get(), others.get());
}

PyMethodDef functions[] = {
    {"_wait", as_method(guarded<wait_indices>), METH_FASTCALL, nullptr},
    {"_wait_for_refs", as_method(guarded<wait_refs>), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* blocking_get_hook = nullptr;

bool is_ready(ObjectKey key) {
  store::PayloadView view;
  return session->domain.objects.try_read(session->domain.lock, key, view) != ReadResult::kNotReady;
}

bool parse_deadline(PyObject* timeout, std::int64_t& deadline_ns) {
  deadline_ns = platform::kForever;
  if (timeout == nullptr || timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (std::isnan(seconds) || seconds < 0) {
    PyErr_Format(PyExc_ValueError, "timeout must be None or a number of seconds >= 0, got %R", timeout);
    return false;
  }
  if (seconds > 1e9) return true;
  deadline_ns = static_cast<std::int64_t>(platform::monotonic_ns()) + static_cast<std::int64_t>(seconds * 1e9);
  return true;
}

Waited wait_for_objects(const std::vector<ObjectKey>& keys, std::size_t needed, bool fail_fast, std::int64_t deadline_ns) {
  Domain& domain = session->domain;
  const bool gives_cpu_back =
      session->is_worker && session->current_task != shm::kNone && PyThread_get_thread_ident() == session->main_thread;
  const std::uint64_t started_in = epoch;
  if (blocking_get_hook != nullptr && fail_fast && deadline_ns != 0) [[unlikely]] {
    const Owned hook(Py_NewRef(blocking_get_hook));  // which may take itself away
    const Owned result(PyObject_CallNoArgs(hook.get()));
    if (!result) return Waited::kError;
  }
  if (!session->releases.empty()) flush_releases_now();  // it may be long until the next call
  runtime::WaitAudit audit;
  for (;;) {
    runtime::WaitOutcome outcome = runtime::WaitOutcome::kReady;
    bool blocked = false;
    {
      const GilRelease released;
      bool done = false;
      if (deadline_ns != 0 && needed == 1 && keys.size() <= kMostSpunFor) {
        shm::Lock& lock = domain.lock;
        store::PayloadView view;
        const auto is_stream = [&](ObjectKey key) { return is_possible(key) && domain.objects[key.slot].has(store::kStream); };
        const bool has_stream = std::any_of(keys.begin(), keys.end(), is_stream);  // it waits for room
        done = runtime::spin_until(domain, session->processors, kResultSpinNs, runtime::SpinFor::kResult, [&] {
          return std::any_of(keys.begin(), keys.end(), [&](ObjectKey key) {
            return domain.objects.try_read(lock, key, view) != ReadResult::kNotReady ||
                   (has_stream && is_stream(key) && !domain.scheduler.is_awaited(key.slot));
          });
        });
      }
      if (!done) {
        runtime::ObjectWait waiting(domain);
        bool no_room = false;
        done = waiting.begin(keys.data(), keys.size(), needed, fail_fast, no_room);
        if (no_room) {
          outcome = runtime::WaitOutcome::kNoRoom;
        } else if (!done) {
          if (gives_cpu_back) {
            scheduler::Wakes wakes;
            Transaction transaction(domain.lock);
            domain.scheduler.begin_blocked(transaction, domain.self(), wakes);
            transaction.close();
            domain.perform(wakes);
            blocked = true;
          }
          const auto now = static_cast<std::int64_t>(platform::monotonic_ns());
          const std::int64_t slice =
              deadline_ns == platform::kForever || deadline_ns > now + kSignalSliceNs ? now + kSignalSliceNs : deadline_ns;
          outcome = waiting.sleep(slice, session->ends);
          if (outcome == runtime::WaitOutcome::kTimedOut && slice != deadline_ns) outcome = runtime::WaitOutcome::kInterrupted;
        }
      }
      if (blocked) {
        Transaction transaction(domain.lock);
        domain.scheduler.end_blocked(transaction, domain.self());
      }
      if (outcome == runtime::WaitOutcome::kInterrupted) audit.look(domain);
    }
    if (session->ends.load() || epoch != started_in) {
      PyErr_SetString(PyExc_ValueError, "the session ended while this thread waited: another thread called miniray.shutdown()");
      return Waited::kError;
    }
    switch (outcome) {
      case runtime::WaitOutcome::kReady:
        return Waited::kReady;
      case runtime::WaitOutcome::kTimedOut:
        return Waited::kTimedOut;
      case runtime::WaitOutcome::kNoRoom:
        PyErr_SetString(PyExc_MemoryError, "miniray: no room in shared memory to wait for that many objects");
        return Waited::kError;
      case runtime::WaitOutcome::kInterrupted:
        if (PyErr_CheckSignals() != 0) return Waited::kError;
    }
  }
}

bool add_waiting_functions(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace miniray::python
