// python/session_functions.cpp - see session_functions.hpp. Thin: each function checks its arguments and calls the core.
#include "python/session_functions.hpp"

#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "python/call_site.hpp"
#include "python/domain_errors.hpp"
#include "python/guard.hpp"
#include "python/object_ref.hpp"
#include "python/store_memory.hpp"
#include "runtime/write_guard.hpp"

namespace miniray::python {

std::string control_name(const char* name) { return std::string("miniray_") + name + "_scheduler"; }
std::string heap_name(const char* name) { return std::string("miniray_") + name + "_objectstore"; }

namespace {

std::uint64_t next_epoch = 1;
constexpr std::uint32_t kDiscardBatch = 256;  // some milliseconds, in which no death is seen

void finish_set_up() {
  const char* spin = std::getenv("MINIRAY_SPIN");
  session->processors =
      spin != nullptr && std::strcmp(spin, "0") == 0 ? 0 : session->domain.header().scheduler.processors.get();
  for (SlotNumbers* numbers : {&session->counts, &session->pins, &session->waited}) {
    numbers->begin(session->domain.objects.slots.capacity());
  }
  forget_regions();
  session->releases.reserve(2 * kReleaseBatch);
  epoch = next_epoch++;
  session->epoch = epoch;
  session->main_thread = PyThread_get_thread_ident();
  set_up_call_sites();
}

runtime::ProcessKind kind_of(const char* text) {
  const std::string kind = text;
  if (kind == "driver") return runtime::ProcessKind::kDriver;
  if (kind == "supervisor") return runtime::ProcessKind::kSupervisor;
  return runtime::ProcessKind::kWorker;
}

// _session_create(name, heap_bytes, spill_bytes, objects, tasks, processes, anonymous=False, heap size was given=False,
//                 record call sites=False, processors=0: those of this process)
PyObject* session_create(PyObject*, PyObject* args) {
  const char* name = nullptr;
  unsigned long long heap_bytes = 0;
  unsigned long long spill_bytes = 0;
  int anonymous = 0;
  runtime::DomainConfig config;
  int heap_size_was_given = 0;
  int record_call_sites = 0;
  if (!PyArg_ParseTuple(args, "sKKIII|pppI", &name, &heap_bytes, &spill_bytes, &config.object_capacity, &config.task_capacity,
                        &config.process_capacity, &anonymous, &heap_size_was_given, &record_call_sites, &config.processors)) {
    return nullptr;
  }
  config.heap_size_was_given = heap_size_was_given != 0 ? 1 : 0;
  config.records_call_sites = record_call_sites != 0 ? 1 : 0;
  if (session != nullptr) return PyErr_Format(PyExc_RuntimeError, "a session is open in this process already");
  config.heap_bytes = heap_bytes;
  config.spill_bytes = spill_bytes;
  auto fresh = std::make_unique<Session>();
  runtime::DomainFailure failure;
  {
    GilRelease released;
    failure = fresh->domain.create(control_name(name).c_str(), heap_name(name).c_str(), config, runtime::DomainUsage::kSession,
                                   runtime::ProcessKind::kDriver, anonymous != 0);
  }
  if (failure) return raise_domain_failure(failure, control_name(name).c_str());
  fresh->name = name;
  session = fresh.release();
  finish_set_up();
  Py_RETURN_NONE;
}

// What a process does that has attached. `name` is for the error.
PyObject* finish_attach(std::unique_ptr<Session> fresh, const runtime::DomainFailure& failure, const char* name) {
  if (failure) return raise_domain_failure(failure, name);
  session = fresh.release();
  finish_set_up();
  Py_RETURN_NONE;
}

// _session_attach(name, kind)
PyObject* session_attach(PyObject*, PyObject* args) {
  const char* name = nullptr;
  const char* kind = nullptr;
  if (!PyArg_ParseTuple(args, "ss", &name, &kind)) return nullptr;
  if (session != nullptr) return PyErr_Format(PyExc_RuntimeError, "a session is open in this process already");
  auto fresh = std::make_unique<Session>();
  const auto failure =
      fresh->domain.attach(control_name(name).c_str(), heap_name(name).c_str(), runtime::DomainUsage::kSession, kind_of(kind));
  fresh->name = name;
  return finish_attach(std::move(fresh), failure, control_name(name).c_str());
}

// _session_attach_descriptors(name, control, heap, kind): of an anonymous session, inherited; they stay the caller's to close.
PyObject* session_attach_descriptors(PyObject*, PyObject* args) {
  const char* name = nullptr;
  int control = -1;
  int heap = -1;
  const char* kind = nullptr;
  if (!PyArg_ParseTuple(args, "siis", &name, &control, &heap, &kind)) return nullptr;
  if (session != nullptr) return PyErr_Format(PyExc_RuntimeError, "a session is open in this process already");
  auto fresh = std::make_unique<Session>();
  fresh->name = name;
  const auto failure = fresh->domain.attach_descriptors(control, heap, runtime::DomainUsage::kSession, kind_of(kind));
  return finish_attach(std::move(fresh), failure, "the session of the parent process");
}

// _session_descriptors(): (control, heap), to be inherited by a process that attaches by them. They stay the session's.
PyObject* session_descriptors(PyObject*, PyObject*) {
  if (!require_attached()) return nullptr;
  return Py_BuildValue("(ii)", session->domain.control_file(), session->domain.heap_file());
}

// _session_spill_file(fd): takes over the descriptor of the session's spill file.
PyObject* session_spill_file(PyObject*, PyObject* args) {
  int file = -1;
  if (!PyArg_ParseTuple(args, "i", &file)) return nullptr;
  if (session == nullptr) return PyErr_Format(PyExc_RuntimeError, "no session");
  if (const int error = session->domain.set_spill_file(file); error != 0) {
    set_system_error(error, "no address space for the spill file");
    return nullptr;
  }
  Py_RETURN_NONE;
}

// _session_adopt_after_fork(): a forked worker takes a row of its own.
PyObject* session_adopt_after_fork(PyObject*, PyObject*) {
  if (session == nullptr) return PyErr_Format(PyExc_RuntimeError, "no session");
  const auto failure = session->domain.adopt_after_fork(runtime::ProcessKind::kWorker);
  if (failure) return raise_domain_failure(failure, "the session of the parent process");
  finish_set_up();
  Py_RETURN_NONE;
}

// _session_close(): references dropped, row freed, unmapped. Views of objects that are still in use keep the mapping.
PyObject* session_close(PyObject*, PyObject*) {
  if (session == nullptr) Py_RETURN_NONE;
  if (uses_of_this_thread != 0) {
    return PyErr_Format(PyExc_RuntimeError,
                        "miniray.shutdown() was called inside a call of miniray, by code that pickles or unpickles a value");
  }
  Session* closing = session;
  closing->ends.store(true);
  closing->awaiting_ends.store(true);
  while (closing->uses != 0) {
    closing->domain.waits.wake_all_groups();
    const GilRelease released;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (session != closing) Py_RETURN_NONE;  // another thread closed it meanwhile
  session = nullptr;
  epoch = 0;
  runtime::wait_for_ranges();
  bool views_left = closing->block_count != 0;
  try {
    closing->domain.objects.slots.for_each_used([&](Index slot) { views_left = views_left || closing->pins[slot] != 0; });
  } catch (const debug::Damage&) {
    views_left = true;  // for all one can tell
  }
  if (views_left) {
    // Arrays of the user may still use the store: leave the mappings; the names go, so the memory ends with the process.
    closing->domain.leave();
    closing->domain.keep_payload_mappings();
  }
  delete closing;
  Py_RETURN_NONE;
}

// _session_forget(): in a forked child of user code: nothing of the parent is touched.
PyObject* session_forget(PyObject*, PyObject*) {
  if (session != nullptr) {
    (void)session->domain.self();
    session = nullptr;  // the mapping stays: views inherited from the parent are valid
    epoch = 0;
  }
  Py_RETURN_NONE;
}

PyObject* session_unlink(PyObject*, PyObject* args) {
  const char* name = nullptr;
  if (!PyArg_ParseTuple(args, "s", &name)) return nullptr;
  Domain::unlink(control_name(name).c_str(), heap_name(name).c_str());
  Py_RETURN_NONE;
}

// _session_inspect(name): number of a live process of the session, 0 when all are dead, -1 when it is not ours to judge.
PyObject* session_inspect(PyObject*, PyObject* args) {
  const char* name = nullptr;
  if (!PyArg_ParseTuple(args, "s", &name)) return nullptr;
  runtime::DomainUsage usage{};
  const auto failure = Domain::inspect(control_name(name).c_str(), usage, true);
  const bool judged = failure.error == runtime::DomainError::kNone || failure.error == runtime::DomainError::kWrongVersion ||
                      failure.error == runtime::DomainError::kCorrupt;
  const bool is_session = usage == runtime::DomainUsage::kSession || usage == runtime::DomainUsage::kUnknown;
  return PyLong_FromLong(judged && is_session ? failure.owner : -1);
}

PyObject* require(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  Py_RETURN_NONE;
}

PyObject* is_attached(PyObject*, PyObject*) { return PyBool_FromLong(session != nullptr); }

PyObject* is_poisoned(PyObject*, PyObject*) { return PyBool_FromLong(session != nullptr && session->domain.is_poisoned()); }

PyObject* set_doorbell(PyObject*, PyObject* args) {
  int doorbell = -1;
  if (!PyArg_ParseTuple(args, "i", &doorbell)) return nullptr;
  if (session != nullptr) session->domain.set_doorbell(doorbell);
  Py_RETURN_NONE;
}

PyObject* configure_hooks(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"dumps_slow",    "loads",      "dumps",      "crash_error", "raise_error",    "ray_error",
                                "timeout_error", "store_full", "lost_error", "auto_init",   "unpickle_error", "unread_error",
                                "actor_error",   "awaiting",   "future",     "as_future",   "task_id",        nullptr};
  Hooks fresh;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOOOOOOOOOO", const_cast<char**>(names), &fresh.dumps_slow,
                                   &fresh.loads, &fresh.dumps, &fresh.crash_error, &fresh.raise_error, &fresh.ray_error,
                                   &fresh.timeout_error, &fresh.store_full, &fresh.lost_error, &fresh.auto_init,
                                   &fresh.unpickle_error, &fresh.unread_error, &fresh.actor_error, &fresh.awaiting,
                                   &fresh.future, &fresh.as_future, &fresh.task_id)) {
    return nullptr;
  }
  for (PyObject* hook : {fresh.dumps_slow, fresh.loads, fresh.dumps, fresh.crash_error, fresh.raise_error, fresh.ray_error,
                         fresh.timeout_error, fresh.store_full, fresh.lost_error, fresh.auto_init, fresh.unpickle_error,
                         fresh.unread_error, fresh.actor_error, fresh.awaiting, fresh.future, fresh.as_future, fresh.task_id}) {
    Py_INCREF(hook);  // for ever: set once per process
  }
  hooks = fresh;
  Py_RETURN_NONE;
}

// --- housekeeping --------------------------------------------------------------------------------------------------

// _trim_wanted(): whether, since the last _trim(), tables or heap came to hold pages worth giving back.
PyObject* trim_wanted(PyObject*, PyObject*) {
  return PyBool_FromLong(session != nullptr && session->domain.header().scheduler.trim_wanted.load_relaxed() != 0);
}

// _trim(): gives the pages of emptied tables back to the system; returns how many bytes.
PyObject* trim(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  return PyLong_FromUnsignedLongLong(session->domain.trim());
}

// _is_heap_trimmable(): whether the heap holds memory worth giving back.
PyObject* is_heap_trimmable(PyObject*, PyObject*) {
  return PyBool_FromLong(session != nullptr && session->domain.heap.is_trimmable());
}

// _begin_heap_trim(): decides how much of it goes; _trim_heap() does it.
PyObject* begin_heap_trim(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  session->domain.begin_heap_trim();
  Py_RETURN_NONE;
}

// _trim_heap(): gives a part of the heap's memory back, to be called again and again with pauses; how many bytes, 0: that is all.
PyObject* trim_heap(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  return PyLong_FromUnsignedLongLong(session->domain.trim_heap());
}

// _discard_places(): gives the disk space of some freed places in the spill file back; whether more are left.
PyObject* discard_places(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  return PyBool_FromLong(session->domain.discard_freed_places(kDiscardBatch));
}

// _processes(): [(pid, kind, worker state, tasks run)] of live rows; also of a poisoned session, whose workers are to be ended.
PyObject* list_processes(PyObject*, PyObject*) {
  if (!require_attached()) return nullptr;
  Owned rows(PyList_New(0));
  if (!rows) return nullptr;
  Domain& domain = session->domain;
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    const auto identity = domain.processes.identity(slot);
    if (identity.state != process::ProcessState::kLive) continue;
    const process::ProcessEntry& entry = domain.processes[slot];
    // Whoever sends a signal must not send it to a stranger, whatever damage made of the number.
    const std::uint64_t started = entry.start_time.load_acquire();
    if (started != 0 && platform::process_start_time(identity.number) != started) continue;
    Owned row(Py_BuildValue("(iIIK)", identity.number, static_cast<unsigned>(identity.kind), entry.worker_state.get(),
                            static_cast<unsigned long long>(entry.tasks_run.load_relaxed())));
    if (!row || PyList_Append(rows.get(), row.get()) != 0) return nullptr;
  }
  return rows.release();
}

PyMethodDef methods[] = {
    {"_session_create", guarded<session_create>, METH_VARARGS, nullptr},
    {"_session_attach", guarded<session_attach>, METH_VARARGS, nullptr},
    {"_session_attach_descriptors", guarded<session_attach_descriptors>, METH_VARARGS, nullptr},
    {"_session_descriptors", guarded<session_descriptors>, METH_NOARGS, nullptr},
    {"_session_spill_file", guarded<session_spill_file>, METH_VARARGS, nullptr},
    {"_session_adopt_after_fork", guarded<session_adopt_after_fork>, METH_NOARGS, nullptr},
    {"_session_close", guarded<session_close>, METH_NOARGS, nullptr},
    {"_session_forget", guarded<session_forget>, METH_NOARGS, nullptr},
    {"_session_unlink", guarded<session_unlink>, METH_VARARGS, nullptr},
    {"_session_inspect", guarded<session_inspect>, METH_VARARGS, nullptr},
    {"_require_session", guarded<require>, METH_NOARGS, nullptr},
    {"_is_attached", guarded<is_attached>, METH_NOARGS, nullptr},
    {"_is_poisoned", guarded<is_poisoned>, METH_NOARGS, nullptr},
    {"_set_doorbell", guarded<set_doorbell>, METH_VARARGS, nullptr},
    {"_configure_hooks", as_method(guarded<configure_hooks>), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_trim_wanted", guarded<trim_wanted>, METH_NOARGS, nullptr},
    {"_discard_places", guarded<discard_places>, METH_NOARGS, nullptr},
    {"_trim", guarded<trim>, METH_NOARGS, nullptr},
    {"_is_heap_trimmable", guarded<is_heap_trimmable>, METH_NOARGS, nullptr},
    {"_begin_heap_trim", guarded<begin_heap_trim>, METH_NOARGS, nullptr},
    {"_trim_heap", guarded<trim_heap>, METH_NOARGS, nullptr},
    {"_processes", guarded<list_processes>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_session_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
