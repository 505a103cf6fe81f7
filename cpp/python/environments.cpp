// python/environments.cpp - see environments.hpp. Thin: each function checks its arguments and calls the core.
#include "python/environments.hpp"

#include "python/guard.hpp"
#include "python/objects.hpp"

namespace miniray::python {

namespace {

// _find_environment(ref): number of the environment that the object describes, from now on for the whole session; 0: too many.
PyObject* find_environment(PyObject*, PyObject* ref) {
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "_find_environment() takes an ObjectRef");
  if (!require_session() || !check_object_ref(ref)) return nullptr;
  const ObjectKey key = key_of(ref);
  std::uint32_t index = 0;
  {
    Transaction transaction(session->domain.lock);
    index = session->domain.scheduler.find_environment(transaction, key.slot);
  }
  return PyLong_FromUnsignedLong(index);
}

// _environment_payload(environment): bytes of the object that describes it, which the environment keeps.
PyObject* environment_payload(PyObject*, PyObject* number) {
  const unsigned long index = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() != nullptr || !require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  if (index == 0 || index >= domain.scheduler.environment_count())
    return PyErr_Format(PyExc_ValueError, "no such runtime environment");
  const ObjectKey key = domain.objects.key(domain.scheduler.environment(static_cast<std::uint32_t>(index)).object.get());
  PayloadPin pin;
  store::PayloadView view;
  if (!pin.acquire(key, view)) return nullptr;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.data), static_cast<Py_ssize_t>(view.value_bytes()));
}

// _enter_environment(environment): this process, which is no worker yet, is to be one of that environment.
PyObject* enter_environment(PyObject*, PyObject* number) {
  const unsigned long index = PyLong_AsUnsignedLong(number);
  if (PyErr_Occurred() != nullptr || !require_session()) return nullptr;
  if (index >= session->domain.scheduler.environment_count())
    return PyErr_Format(PyExc_ValueError, "no such runtime environment");
  session->domain.own_entry().environment.store_ordered(static_cast<std::uint32_t>(index));
  Py_RETURN_NONE;
}

// _environment_of(pid): of a process of the session; 0 when it has none, or no row.
PyObject* environment_of(PyObject*, PyObject* number) {
  const long pid = PyLong_AsLong(number);
  if ((pid == -1 && PyErr_Occurred() != nullptr) || !require_attached()) return nullptr;
  const process::ProcessTable& processes = session->domain.processes;
  for (Index slot = 1; slot < processes.high_water(); ++slot) {
    const auto identity = processes.identity(slot);
    if (identity.state == process::ProcessState::kLive && identity.number == pid)
      return PyLong_FromUnsignedLong(processes[slot].environment.load_ordered());
  }
  return PyLong_FromLong(0);
}

// _give_way(environment, count): up to so many idle workers of other environments leave; how many.
PyObject* give_way(PyObject*, PyObject* args) {
  unsigned environment = 0;
  unsigned count = 0;
  if (!PyArg_ParseTuple(args, "II", &environment, &count) || !require_session()) return nullptr;
  Domain& domain = session->domain;
  scheduler::Wakes wakes;
  std::uint32_t left = 0;
  {
    Transaction transaction(domain.lock);
    left = domain.scheduler.give_way(transaction, environment, count, wakes);
  }
  domain.perform(wakes);
  return PyLong_FromUnsignedLong(left);
}

// _fail_environment(environment, pid, note): fails the tasks that are queued for an environment and the actors that wait for it, with
// the reason in a note; how many. One that comes meanwhile may find the cause mended, and stays.
PyObject* fail_environment(PyObject*, PyObject* args) {
  unsigned environment = 0;
  scheduler::ProcessEnd end{0, 0, scheduler::DeathCause::kEnvironment, 0};
  if (!PyArg_ParseTuple(args, "IiI", &environment, &end.pid, &end.note) || !require_session()) return nullptr;
  Domain& domain = session->domain;
  unsigned long count = 0;
  (void)domain.heap.ensure_rows(4096);
  std::uint64_t last_sequence = 0;
  {
    const Transaction transaction(domain.lock);
    last_sequence = domain.header().scheduler.next_sequence.get();
  }
  for (bool more = true; more; count += more ? 1 : 0) {
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    more = domain.scheduler.fail_environment_task(transaction, environment, end, last_sequence, wakes);
    transaction.close();
    domain.perform(wakes);
  }
  domain.reclaim();
  return PyLong_FromUnsignedLong(count);
}

PyMethodDef methods[] = {
    {"_find_environment", guarded<find_environment>, METH_O, nullptr},
    {"_environment_payload", guarded<environment_payload>, METH_O, nullptr},
    {"_enter_environment", guarded<enter_environment>, METH_O, nullptr},
    {"_environment_of", guarded<environment_of>, METH_O, nullptr},
    {"_give_way", guarded<give_way>, METH_VARARGS, nullptr},
    {"_fail_environment", guarded<fail_environment>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_environment_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
