// python/actors.cpp - see actors.hpp.
//
// Invariants  an actor is named by the key of its handle object; a handle object that is gone is an actor that ended long ago.
#include "python/actors.hpp"

#include <cstring>

#include "python/guard.hpp"
#include "python/object_ref.hpp"

namespace miniray::python {

namespace {

// The actor of a ref, weak or strong, under the lock; kNone when it is gone.
Index find_actor(ObjectKey key) {
  Domain& domain = session->domain;
  if (!domain.objects.is_current(key) || !domain.objects[key.slot].has(store::kHandle) ||
      domain.objects[key.slot].has(store::kStream))
    return shm::kNone;
  return domain.scheduler.actor_of(key.slot);
}

bool take_ref(PyObject* ref, ObjectKey& key) {
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "not the ref of an actor: %R", ref) != nullptr;
  key = key_of(ref);
  return require_session();
}

// _kill_actor(ref, restart): number of the process that is to be killed; 0 when there is none.
PyObject* kill_actor(PyObject*, PyObject* args) {
  PyObject* ref = nullptr;
  int restart = 0;
  ObjectKey key;
  if (!PyArg_ParseTuple(args, "Op", &ref, &restart) || !take_ref(ref, key)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  scheduler::Wakes wakes;
  platform::ProcessNumber host = 0;
  int error = 0;
  {
    Transaction transaction(domain.lock);
    if (const Index actor = find_actor(key); actor != shm::kNone) {
      const Index slot = domain.scheduler.kill_actor(transaction, actor, restart != 0, wakes);
      // Under the lock: the row is freed, and given to another process, only by who holds it.
      if (slot != shm::kNone) {
        host = domain.processes.identity(slot).number;
        error = domain.processes.end(slot);
      }
    }
  }
  domain.perform(wakes);
  if (error != 0) {
    (void)set_system_error(error, "the actor's process could not be told of its end; kill it again");
    return nullptr;
  }
  return PyLong_FromLong(host);
}

// _actor_facts(ref): (state, process number or 0, restarts, calls that wait, references), or None when it is gone.
PyObject* actor_facts(PyObject*, PyObject* ref) {
  ObjectKey key;
  if (!take_ref(ref, key)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  std::uint32_t state = 0, restarts = 0, waiting = 0, references = 0;
  int number = 0;
  {
    const Transaction transaction(domain.lock);
    const Index index = find_actor(key);
    if (index == shm::kNone) Py_RETURN_NONE;
    const scheduler::ActorEntry& actor = domain.scheduler.actors[index];
    const Index host = process::ProcessId::unpack(actor.host.get()).slot;
    state = actor.state.get();
    number = host == shm::kNone ? 0 : static_cast<int>(domain.processes.identity(host).number);
    restarts = actor.restarts.get();
    waiting = actor.waiting_count.get();
    references = domain.objects[key.slot].references.get();
  }
  return Py_BuildValue("(IiIII)", state, number, restarts, waiting, references);
}

// _set_actor_name(ref, ref of the object that carries the name): it goes with the actor.
PyObject* set_actor_name(PyObject*, PyObject* args) {
  PyObject *ref = nullptr, *name = nullptr;
  ObjectKey key;
  if (!PyArg_ParseTuple(args, "OO", &ref, &name) || !take_ref(ref, key)) return nullptr;
  if (!is_object_ref(name) || !check_object_ref(name)) return nullptr;
  const SessionUse use;
  Transaction transaction(session->domain.lock);
  const Index actor = find_actor(key);
  if (actor != shm::kNone && !session->domain.scheduler.actors[actor].is_over())
    session->domain.scheduler.set_name(transaction, actor, key_of(name).slot);
  Py_RETURN_NONE;
}

// _find_actor(16-byte id of a name): (weak ref, payload of the object that carries the name); None when no such actor lives.
PyObject* find_named_actor(PyObject*, PyObject* args) {
  const char* bytes = nullptr;
  Py_ssize_t size = 0;
  if (!PyArg_ParseTuple(args, "y#", &bytes, &size)) return nullptr;
  if (size != 16) return PyErr_Format(PyExc_ValueError, "an id has 16 bytes, got %zd", size);
  if (!require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  store::ObjectId id;
  std::memcpy(&id, bytes, sizeof(id));
  ObjectKey name;
  ObjectKey handle;
  {
    Transaction transaction(domain.lock);
    name = domain.objects.find(id);
    if (!name) Py_RETURN_NONE;
    domain.scheduler.actors.for_each_used([&](Index index) {
      const scheduler::ActorEntry& actor = domain.scheduler.actors[index];
      if (actor.name.get() == name.slot && !actor.is_over() && !actor.has(scheduler::kKilled))
        handle = domain.objects.key(actor.handle.get());
    });
    if (!handle) Py_RETURN_NONE;
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), name.slot);
  }
  Owned keeper(make_object_ref(name));
  PayloadPin pin;
  store::PayloadView view;
  if (!keeper || !pin.acquire(name, view)) return nullptr;
  PyObject* found = Py_BuildValue("(Ny#)", make_bare_object_ref(handle.id(domain.objects.nonce())),
                                  reinterpret_cast<const char*>(view.data), static_cast<Py_ssize_t>(view.value_bytes()));
  keeper.reset();
  flush_releases_now();  // a hold that stays would keep the name taken when the actor has gone
  return found;
}

// _is_bare(ref): whether it names an object without keeping it.
PyObject* is_bare(PyObject*, PyObject* ref) {
  ObjectKey key;
  if (!take_ref(ref, key)) return nullptr;
  return PyBool_FromLong(reinterpret_cast<ObjectRefObject*>(ref)->epoch == 0);
}

// _weak_ref(ref): the same object named without keeping it.
PyObject* weak_ref(PyObject*, PyObject* ref) {
  ObjectKey key;
  if (!take_ref(ref, key)) return nullptr;
  return make_bare_object_ref(key.id(session->domain.objects.nonce()));
}

// _own_actor(): a weak ref of the actor that this process hosts, or None.
PyObject* own_actor(PyObject*, PyObject*) {
  if (session == nullptr) Py_RETURN_NONE;
  Domain& domain = session->domain;
  const Index actor = domain.own_entry().actor.get();
  if (actor == shm::kNone) Py_RETURN_NONE;
  return make_bare_object_ref(domain.objects.key(domain.scheduler.actors[actor].handle.get()).id(domain.objects.nonce()));
}

// _failed_starts(): how many hosts of the actor of this process died in its constructor, in a row.
PyObject* failed_starts(PyObject*, PyObject*) {
  if (session == nullptr || session->domain.own_entry().actor.get() == shm::kNone) return PyLong_FromLong(0);
  return PyLong_FromUnsignedLong(session->domain.scheduler.actors[session->domain.own_entry().actor.get()].failed_starts.get());
}

// _flush_releases(): what this process let go is given back now, not with its next call.
PyObject* flush(PyObject*, PyObject*) {
  if (session != nullptr) flush_releases_now();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_flush_releases", guarded<flush>, METH_NOARGS, nullptr},
    {"_kill_actor", guarded<kill_actor>, METH_VARARGS, nullptr},
    {"_actor_facts", guarded<actor_facts>, METH_O, nullptr},
    {"_set_actor_name", guarded<set_actor_name>, METH_VARARGS, nullptr},
    {"_find_actor", guarded<find_named_actor>, METH_VARARGS, nullptr},
    {"_is_bare", guarded<is_bare>, METH_O, nullptr},
    {"_weak_ref", guarded<weak_ref>, METH_O, nullptr},
    {"_failed_starts", guarded<failed_starts>, METH_NOARGS, nullptr},
    {"_own_actor", guarded<own_actor>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_actor_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
