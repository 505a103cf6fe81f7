// python/demands.cpp - see demands.hpp.
//
// Invariants  what Python gives is read before a section, and told after it: inside, nothing of Python is touched.
#include "python/demands.hpp"

#include "python/guard.hpp"
#include "python/placement_groups.hpp"

namespace miniray::python {

namespace {

// _set_resources({name: units}): totals, once, before the first task.
PyObject* set_resources(PyObject*, PyObject* args) {
  PyObject* totals = nullptr;
  if (!PyArg_ParseTuple(args, "O!", &PyDict_Type, &totals) || !require_session()) return nullptr;
  std::vector<NamedAmount> amounts;
  if (!read_amounts(totals, amounts)) return nullptr;
  scheduler::Scheduler& scheduler = session->domain.scheduler;
  const NamedAmount* refused = nullptr;
  {
    Transaction transaction(session->domain.lock);
    for (const NamedAmount& amount : amounts) {
      const std::uint32_t index = scheduler.find_resource(amount.resource.c_str(), true);
      if (index == scheduler::kResourceCapacity) {
        refused = &amount;
        break;
      }
      scheduler.set_total(transaction, index, amount.units);
    }
  }
  if (refused != nullptr)
    return PyErr_Format(PyExc_ValueError, "at most %u kinds of resources; '%s' is one too many", scheduler::kResourceCapacity,
                        refused->resource.c_str());
  Py_RETURN_NONE;
}

// _find_shape({name: units}, environment=0, id of a placement group=None, bundle=-1, whether it captures=False): (index, can ever run). Of a
// group that is removed: (0, True), with which nothing may run.
PyObject* find_shape(PyObject*, PyObject* args) {
  PyObject* wanted = nullptr;
  unsigned environment = 0;
  PyObject* group = Py_None;
  int bundle = -1;
  int captures = 0;
  ObjectKey group_key;
  if (!PyArg_ParseTuple(args, "O!|IOip", &PyDict_Type, &wanted, &environment, &group, &bundle, &captures)) return nullptr;
  if (!require_session() || (group != Py_None && !parse_placement_id(group, group_key))) return nullptr;
  std::vector<NamedAmount> amounts;
  if (!read_amounts(wanted, amounts)) return nullptr;
  scheduler::Demand demands[scheduler::kShapeDemands];
  scheduler::Scheduler& scheduler = session->domain.scheduler;
  Index shape = shm::kNone;
  bool can_run = false;
  {
    Transaction transaction(session->domain.lock);
    if (!number_amounts(amounts, demands)) {
      transaction.close();
      raise_too_many_kinds("call");
      return nullptr;
    }
    if (environment >= scheduler.environment_count()) {
      transaction.close();
      return PyErr_Format(PyExc_ValueError, "no such runtime environment");
    }
    scheduler::Scheduler::Place place{.environment = environment};
    if (group != Py_None) place = {open_placement(group_key), static_cast<std::uint32_t>(bundle), captures != 0, environment};
    if (group != Py_None && place.placement == shm::kNone) {
      transaction.close();
      return Py_BuildValue("(IO)", 0, Py_True);
    }
    shape = scheduler.find_shape(transaction, demands, static_cast<std::uint32_t>(amounts.size()), place);
    can_run = shape != shm::kNone && scheduler.shape_can_ever_run(shape);
  }
  if (shape == shm::kNone)
    return PyErr_Format(PyExc_ValueError, "at most %u different demands (resources and runtime environments) in a session",
                        scheduler::kShapeCapacity - 1);
  return Py_BuildValue("(IO)", shape, can_run ? Py_True : Py_False);
}

PyMethodDef methods[] = {
    {"_set_resources", guarded<set_resources>, METH_VARARGS, nullptr},
    {"_find_shape", guarded<find_shape>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool read_amounts(PyObject* dict, std::vector<NamedAmount>& amounts) {
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict, &position, &key, &value)) {
    const char* name = PyUnicode_AsUTF8(key);
    const long long units = PyLong_AsLongLong(value);
    if (name == nullptr || (units == -1 && PyErr_Occurred() != nullptr)) return false;
    amounts.push_back({name, units});
  }
  return true;
}

bool number_amounts(const std::vector<NamedAmount>& amounts, scheduler::Demand* demands) {
  if (amounts.size() > scheduler::kShapeDemands) return false;
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    const std::uint32_t resource = session->domain.scheduler.find_resource(amounts[i].resource.c_str(), true);
    if (resource == scheduler::kResourceCapacity) return false;
    demands[i] = {resource, 0, amounts[i].units};
  }
  return true;
}

bool raise_too_many_kinds(const char* where) {
  PyErr_Format(PyExc_ValueError, "too many kinds of resources: at most %u in a session and %u in one %s",
               scheduler::kResourceCapacity, scheduler::kShapeDemands, where);
  return false;
}

bool add_demand_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
