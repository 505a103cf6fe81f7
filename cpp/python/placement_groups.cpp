// python/placement_groups.cpp - see placement_groups.hpp.
//
// Invariants  an id is 6 bytes of the domain's nonce, slot and generation of the group's ready object, and the number of the job.
#include "python/placement_groups.hpp"

#include <cstring>

#include "python/demands.hpp"
#include "python/guard.hpp"
#include "python/object_ref.hpp"
#include "python/objects.hpp"

namespace miniray::python {

namespace {

using scheduler::Demand;
using scheduler::PlacementEntry;
using scheduler::PlacementState;

constexpr std::size_t kNonceBytes = 6;
constexpr char kJob[] = {1, 0, 0, 0};

PyObject* id_of(ObjectKey key) {
  char bytes[kPlacementIdBytes];
  const std::uint64_t nonce = session->domain.objects.nonce();
  std::memcpy(bytes, &nonce, kNonceBytes);
  std::memcpy(bytes + kNonceBytes, &key.slot, 4);
  std::memcpy(bytes + kNonceBytes + 4, &key.generation, 4);
  std::memcpy(bytes + kNonceBytes + 8, kJob, sizeof(kJob));
  return PyBytes_FromStringAndSize(bytes, sizeof(bytes));
}

// Any group of that key, also one that is removed; kNone.
Index find_placement(ObjectKey key) {
  const Domain& domain = session->domain;
  if (!key || !domain.objects.is_current(key) || !domain.objects[key.slot].has(store::kPlacement)) return shm::kNone;
  return domain.objects[key.slot].next_result.get();
}

void remove(Index placement, Transaction& transaction, scheduler::Wakes& wakes, std::vector<Index>& hosts) {
  Domain& domain = session->domain;
  const std::uint32_t count = domain.scheduler.remove_placement(transaction, placement, hosts.data(), wakes);
  bool is_one_of_them = false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (hosts[i] == domain.self().slot) {
      is_one_of_them = true;
    } else {
      (void)domain.processes.end(hosts[i]);  // under the lock: nobody else gets the row
    }
  }
  transaction.close();
  if (is_one_of_them) (void)domain.processes.end(domain.self().slot);
}

// _create_placement_group(make, ref of the description, [{resource: units}], whether it can never be placed): (id, whether it can ever be
// placed). make(id) gives the value of the ready object.
PyObject* create(PyObject*, PyObject* args) {
  PyObject *make = nullptr, *description = nullptr, *bundles = nullptr;
  int never = 0;
  if (!PyArg_ParseTuple(args, "OOO!p", &make, &description, &PyList_Type, &bundles, &never)) return nullptr;
  if (!require_session() || !is_object_ref(description) || !check_object_ref(description)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  scheduler::Scheduler& scheduler = domain.scheduler;
  const auto count = static_cast<std::uint32_t>(PyList_GET_SIZE(bundles));
  std::vector<Demand> demands(std::size_t{count} * scheduler::kShapeDemands);
  std::vector<std::uint32_t> counts(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    PyObject* bundle = PyList_GET_ITEM(bundles, i);
    if (!PyDict_Check(bundle)) return PyErr_Format(PyExc_TypeError, "a bundle is a dict");
    std::vector<NamedAmount> amounts;
    if (!read_amounts(bundle, amounts)) return nullptr;
    Transaction transaction(domain.lock);
    const bool is_numbered = number_amounts(amounts, &demands[std::size_t{i} * scheduler::kShapeDemands]);
    transaction.close();
    if (!is_numbered) return raise_too_many_kinds("bundle"), nullptr;
    counts[i] = static_cast<std::uint32_t>(amounts.size());
  }
  const Index ready = create_writing_object();
  if (ready == shm::kNone) return nullptr;
  const ObjectKey key = domain.objects.key(ready);
  const Owned id(id_of(key));
  const Owned value(id ? PyObject_CallOneArg(make, id.get()) : nullptr);
  Encoder encoder;
  encoder.start_value(kValueFormat);
  pickling_what = "placement group";
  if (!value || !encoder.add(value.get()) || !fill_object(ready, encoder)) {
    discard_writing_object(ready);
    return nullptr;
  }
  Index placement = shm::kNone;
  const auto give_up = [&](const char* what) -> PyObject* {
    std::vector<Index> hosts(domain.processes.capacity() + 1);
    scheduler::Wakes wakes;
    if (placement != shm::kNone) {
      Transaction transaction(domain.lock);
      remove(placement, transaction, wakes, hosts);
    }
    domain.perform(wakes);
    discard_writing_object(ready);
    return PyErr_Format(PyExc_MemoryError, "miniray: all %s are in use. Remove placement groups that are not needed.", what);
  };
  while (placement == shm::kNone) {
    if (const int error = scheduler.placements.ensure_backed(domain.lock, 1); error != 0) {
      discard_writing_object(ready);
      set_system_error(error, "shared memory is full: no room for placement groups");
      return nullptr;
    }
    Transaction transaction(domain.lock);
    placement = scheduler.begin_placement(transaction, domain.self(), key_of(description).slot,
                                          never != 0 ? scheduler::kNeverPlaced : 0);
    if (placement != shm::kNone || !scheduler.placements.is_full()) continue;
    transaction.close();
    return give_up("rows of placement groups");
  }
  MINIRAY_FAULT_POINT("placement.begun");
  for (std::uint32_t i = 0; i < count;) {
    if (const int error = scheduler.bundles.ensure_backed(domain.lock, 1); error != 0) return give_up("pages of shared memory");
    Transaction transaction(domain.lock);
    const bool done =
        scheduler.add_bundle(transaction, placement, &demands[std::size_t{i} * scheduler::kShapeDemands], counts[i]);
    if (done) ++i;
    if (done || !scheduler.bundles.is_full()) continue;
    transaction.close();
    return give_up("rows of bundles");
  }
  MINIRAY_FAULT_POINT("placement.bundled");
  bool can_ever = false;
  {
    (void)domain.ensure_rows(0, 0, 0);
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    can_ever = scheduler.placement_can_ever_fit(placement);
    scheduler.finish_placement(transaction, placement, ready, wakes);
    (void)domain.objects.unhold(transaction, domain.self(), ready);
    transaction.close();
    domain.perform(wakes);
  }
  return Py_BuildValue("(OO)", id.get(), can_ever ? Py_True : Py_False);
}

// _remove_placement_group(id): its tasks and actors are ended, and what waits for it fails. False: there is no such group any more.
PyObject* remove_group(PyObject*, PyObject* id) {
  ObjectKey key;
  if (!require_session() || !parse_placement_id(id, key)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  std::vector<Index> hosts(domain.processes.capacity() + 1);
  (void)domain.ensure_rows(0, 0, 0);
  (void)domain.heap.ensure_rows(4096);
  scheduler::Wakes wakes;
  {
    Transaction transaction(domain.lock);
    const Index placement = open_placement(key);
    if (placement == shm::kNone) Py_RETURN_FALSE;
    remove(placement, transaction, wakes, hosts);
  }
  MINIRAY_FAULT_POINT("placement.removed");
  domain.perform(wakes);
  domain.reclaim();
  Py_RETURN_TRUE;
}

// _placement_ready(id): the ref that is there when the group is placed; None when it is removed.
PyObject* ready_ref(PyObject*, PyObject* id) {
  ObjectKey key;
  if (!require_session() || !parse_placement_id(id, key)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  {
    Transaction transaction(domain.lock);
    if (open_placement(key) == shm::kNone) Py_RETURN_NONE;
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
  }
  return make_object_ref(key);  // out of the section: making it may collect garbage, which takes the lock
}

// {resource: (amount, what of it is available)} of a bundle, under the lock.
struct BundleFacts {
  std::uint32_t count = 0;
  std::uint32_t resources[scheduler::kShapeDemands] = {};
  std::int64_t amounts[scheduler::kShapeDemands] = {};
  std::int64_t available[scheduler::kShapeDemands] = {};
};

PyObject* tell_bundle(const BundleFacts& bundle) {
  Owned told(PyDict_New());
  for (std::uint32_t i = 0; told && i < bundle.count; ++i) {
    const Owned amounts(
        Py_BuildValue("(LL)", static_cast<long long>(bundle.amounts[i]), static_cast<long long>(bundle.available[i])));
    const char* name = session->domain.scheduler.resource(bundle.resources[i]).name;
    if (!amounts || PyDict_SetItemString(told.get(), name, amounts.get()) != 0) return nullptr;
  }
  return told.release();
}

// _placement_groups(): [(id, state, ref of the description, [bundles])] of all that are not removed.
PyObject* list_groups(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  const scheduler::Scheduler& scheduler = domain.scheduler;
  std::vector<Index> rows;
  {
    const Transaction transaction(domain.lock);
    scheduler.placements.for_each_used([&](Index placement) {
      if (scheduler.placements[placement].is_open()) rows.push_back(placement);
    });
  }
  Owned list(PyList_New(0));
  std::vector<BundleFacts> facts;
  facts.reserve(scheduler::kBundlesOfGroup);
  for (const Index placement : rows) {
    facts.clear();
    ObjectKey key;
    ObjectKey described;
    PlacementState state{};
    {
      Transaction transaction(domain.lock);
      if (!scheduler.placements.is_valid_index(placement) || !scheduler.placements[placement].is_open()) continue;
      const PlacementEntry& group = scheduler.placements[placement];
      key = domain.objects.key(group.ready.get());
      state = group.current_state();
      for (Index index = group.first_bundle.get(); index != shm::kNone && facts.size() < scheduler::kBundlesOfGroup;
           index = scheduler.bundles[index].next.get()) {
        const scheduler::BundleEntry& bundle = scheduler.bundles[index];
        BundleFacts& told = facts.emplace_back();
        told.count = scheduler::Scheduler::bundle_demands(bundle);
        for (std::uint32_t i = 0; i < told.count; ++i) {
          told.resources[i] = bundle.demands[i].resource;
          told.amounts[i] = bundle.demands[i].amount;
          told.available[i] = bundle.available[i].get();
        }
      }
      described = domain.objects.key(group.description.get());
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), described.slot);
    }
    const Owned description(make_object_ref(described));  // out of the section, as in ready_ref()
    Owned bundles(PyList_New(0));
    for (const BundleFacts& bundle : facts) {
      const Owned told(tell_bundle(bundle));
      if (!bundles || !told || PyList_Append(bundles.get(), told.get()) != 0) return nullptr;
    }
    const Owned row(Py_BuildValue("(NIOO)", id_of(key), static_cast<unsigned>(state), description.get(), bundles.get()));
    if (!row || !list || PyList_Append(list.get(), row.get()) != 0) return nullptr;
  }
  return list.release();
}

// _find_placement_group(16-byte id of a name): id of the group that has it; None.
PyObject* find_named(PyObject*, PyObject* args) {
  const char* bytes = nullptr;
  Py_ssize_t size = 0;
  if (!PyArg_ParseTuple(args, "y#", &bytes, &size)) return nullptr;
  if (size != 16) return PyErr_Format(PyExc_ValueError, "an id has 16 bytes, got %zd", size);
  if (!require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  store::ObjectId id;
  std::memcpy(&id, bytes, sizeof(id));
  ObjectKey found;
  {
    const Transaction transaction(domain.lock);
    const ObjectKey name = domain.objects.find(id);
    domain.scheduler.placements.for_each_used([&](Index placement) {
      const PlacementEntry& group = domain.scheduler.placements[placement];
      if (name && group.is_open() && group.description.get() == name.slot) found = domain.objects.key(group.ready.get());
    });
  }
  if (!found) Py_RETURN_NONE;
  return id_of(found);
}

// _read_bytes(ref): the payload of an object that was put as bytes.
PyObject* read_bytes(PyObject*, PyObject* ref) {
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "_read_bytes() takes an ObjectRef");
  if (!require_session() || !check_object_ref(ref)) return nullptr;
  const SessionUse use;
  PayloadPin pin;
  store::PayloadView view;
  if (!pin.acquire(key_of(ref), view)) return nullptr;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.data), static_cast<Py_ssize_t>(view.value_bytes()));
}

// The shape of the task, or of the actor, that this process runs; kNone.
Index own_shape() {
  if (session == nullptr) return shm::kNone;
  const scheduler::Scheduler& scheduler = session->domain.scheduler;
  if (const Index actor = session->domain.own_entry().actor.get(); actor != shm::kNone)
    return scheduler.actors[actor].hold_shape.get();
  return session->current_task == shm::kNone ? shm::kNone : scheduler.tasks[session->current_task].shape.get();
}

// _current_placement(): (id, whether it captures) of the group that this process's task or actor is in; None.
PyObject* current_placement(PyObject*, PyObject*) {
  const Index index = own_shape();
  if (index == shm::kNone) Py_RETURN_NONE;
  const SessionUse use;
  const scheduler::Scheduler& scheduler = session->domain.scheduler;
  const scheduler::Shape& shape = scheduler.shape(index);
  if (shape.placement.get() == shm::kNone) Py_RETURN_NONE;
  const ObjectKey key = session->domain.objects.key(scheduler.placements[shape.placement.get()].ready.get());
  return Py_BuildValue("(NO)", id_of(key), shape.captures.get() != 0 ? Py_True : Py_False);
}

// _own_gpus(): numbers of the GPUs that this process's task or actor holds, a bit each.
PyObject* own_gpus(PyObject*, PyObject*) {
  if (session == nullptr) return PyLong_FromLong(0);
  return PyLong_FromUnsignedLongLong(session->domain.own_entry().gpus.get());
}

// _session_nonce(): the first half of the ids of this session's objects and actors; empty without one.
PyObject* session_nonce(PyObject*, PyObject*) {
  if (session == nullptr) return PyBytes_FromStringAndSize(nullptr, 0);
  const std::uint64_t nonce = __builtin_bswap64(session->domain.objects.nonce());
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(&nonce), sizeof(nonce));
}

PyMethodDef methods[] = {
    {"_session_nonce", guarded<session_nonce>, METH_NOARGS, nullptr},
    {"_create_placement_group", guarded<create>, METH_VARARGS, nullptr},
    {"_remove_placement_group", guarded<remove_group>, METH_O, nullptr},
    {"_placement_ready", guarded<ready_ref>, METH_O, nullptr},
    {"_placement_groups", guarded<list_groups>, METH_NOARGS, nullptr},
    {"_find_placement_group", guarded<find_named>, METH_VARARGS, nullptr},
    {"_read_bytes", guarded<read_bytes>, METH_O, nullptr},
    {"_current_placement", guarded<current_placement>, METH_NOARGS, nullptr},
    {"_own_gpus", guarded<own_gpus>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool parse_placement_id(PyObject* bytes, ObjectKey& key) {
  if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != static_cast<Py_ssize_t>(kPlacementIdBytes))
    return PyErr_Format(PyExc_ValueError, "the id of a placement group has %zu bytes", kPlacementIdBytes) != nullptr;
  const char* data = PyBytes_AS_STRING(bytes);
  const std::uint64_t nonce = session->domain.objects.nonce();
  key = {};
  if (std::memcmp(data, &nonce, kNonceBytes) != 0) return true;
  std::memcpy(&key.slot, data + kNonceBytes, 4);
  std::memcpy(&key.generation, data + kNonceBytes + 4, 4);
  return true;
}

Index open_placement(ObjectKey key) {
  const Index placement = find_placement(key);
  return placement != shm::kNone && session->domain.scheduler.placements[placement].is_open() ? placement : shm::kNone;
}

void note_captured_placement(const scheduler::TaskEntry& task) {
  const scheduler::Scheduler& scheduler = session->domain.scheduler;
  const Index index = task.actor.get() != shm::kNone ? scheduler.actors[task.actor.get()].hold_shape.get() : task.shape.get();
  const scheduler::Shape& shape = scheduler.shape(index);
  const Index placement = shape.placement.get();
  if (placement == shm::kNone && session->captured == 0) [[likely]]
    return;
  session->captured = 0;
  if (placement == shm::kNone || shape.captures.get() == 0) return;
  const ObjectKey key = session->domain.objects.key(scheduler.placements[placement].ready.get());
  session->captured = std::uint64_t{key.generation} << 32 | key.slot;
}

bool add_placement_group_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
