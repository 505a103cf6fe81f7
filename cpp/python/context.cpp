// python/context.cpp - see context.hpp.
#include "python/context.hpp"

#include <cstring>

#include "python/begun_call.hpp"
#include "python/guard.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

// _resources(): {name: (total, available)} in units of 0.0001.
PyObject* resources(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  const SessionUse use;
  const scheduler::Scheduler& scheduler = session->domain.scheduler;
  struct Found {
    char name[sizeof(scheduler::Resource::name)];
    std::int64_t total;
    std::int64_t available;
  };
  std::vector<Found> found(scheduler::kResourceCapacity);
  {
    const Transaction transaction(session->domain.lock);
    for (std::uint32_t i = 0; i < scheduler::kResourceCapacity; ++i) {
      const scheduler::Resource& resource = scheduler.resource(i);
      std::memcpy(found[i].name, resource.name, sizeof(found[i].name));
      found[i].total = resource.total.get();
      found[i].available = resource.available.get();
    }
  }
  Owned told(PyDict_New());
  for (const Found& resource : found) {
    if (!told || resource.name[0] == '\0') continue;
    const Owned name(
        PyUnicode_DecodeUTF8(resource.name, static_cast<Py_ssize_t>(strnlen(resource.name, sizeof(resource.name))), "replace"));
    const Owned amounts(
        Py_BuildValue("(LL)", static_cast<long long>(resource.total), static_cast<long long>(resource.available)));
    if (!name || !amounts || PyDict_SetItem(told.get(), name.get(), amounts.get()) != 0) return nullptr;
  }
  return told.release();
}

// {name: units} of what a shape asks for.
PyObject* demands_of(Index index) {
  const scheduler::Scheduler& scheduler = session->domain.scheduler;
  Owned told(PyDict_New());
  const scheduler::Shape& shape = scheduler.shape(index);
  for (std::uint32_t i = 0; told && i < scheduler::Scheduler::demand_count(shape); ++i) {
    const scheduler::Demand demand = shape.demands[i];
    const Owned units(PyLong_FromLongLong(demand.amount));
    if (!units || PyDict_SetItemString(told.get(), scheduler.resource(demand.resource).name, units.get()) != 0) return nullptr;
  }
  return told.release();
}

// _running_task(): (sequence, name, {resource: units}, whether it is cancelled, what runs) of the task or call that runs here; None when
// there is none. It keeps its row until it ends, and what is read here does not change.
PyObject* running_task(PyObject*, PyObject*) {
  if (session == nullptr) Py_RETURN_NONE;
  const SessionUse use;
  const Index call = runs_several ? running_call().task : shm::kNone;
  const Index task = call != shm::kNone ? call : session->current_task;
  if (task == shm::kNone) Py_RETURN_NONE;
  const scheduler::TaskEntry& entry = session->domain.scheduler.tasks[task];
  const Index actor = entry.actor.get();
  Owned demands(demands_of(actor != shm::kNone ? session->domain.scheduler.actors[actor].hold_shape.get() : entry.shape.get()));
  if (!demands) return nullptr;
  return Py_BuildValue("(KNNON)", static_cast<unsigned long long>(entry.sequence.get()), task_name(entry), demands.release(),
                       entry.has(scheduler::kCancelled) ? Py_True : Py_False, task_callable(entry));
}

// _session_name(): of the session of this process; empty without one.
PyObject* session_name(PyObject*, PyObject*) { return PyUnicode_FromString(session == nullptr ? "" : session->name.c_str()); }

PyMethodDef methods[] = {
    {"_session_name", guarded<session_name>, METH_NOARGS, nullptr},
    {"_resources", guarded<resources>, METH_NOARGS, nullptr},
    {"_running_task", guarded<running_task>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_context_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
