// python/caller.cpp - the callable behind `f.remote`: arguments in, refs out, one section.
//
// A caller is configured once per session by Python (`configure`): function object, shape, options. After that a call stays in C++.
#include "python/caller.hpp"

#include <structmember.h>

#include "python/call_site.hpp"
#include "python/guard.hpp"
#include "python/objects.hpp"
#include "python/pending_calls.hpp"
#include "python/placement_groups.hpp"
#include "python/stream_reader.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

// What a call makes: a task, a new actor, or a call of one.
enum class CallKind : std::uint8_t { kTask = 0, kCreation = 1, kMethod = 2 };

struct CallerObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* owner;        // the RemoteFunction: prepare(), check_arguments()
  PyObject* function;     // ObjectRef of the exported function; keeps it
  PyObject* known_names;  // keyword names that passed the signature check last, with known_count positional arguments
  Py_ssize_t known_count;
  Py_ssize_t least;  // positional arguments that need no further check, when there are no keywords; least > most: always check
  Py_ssize_t most;
  std::uint64_t epoch;
  Index shape;
  std::uint32_t result_count;
  std::uint32_t retries;
  CallKind kind;
  PyObject* actor;                // of a method: the ref of the handle object, which keeps the actor; bare for a weak handle
  ObjectKey actor_key;            // of the same
  std::uint32_t most_pending;     // calls of the actor, of this process; 0: any number
  Index hold_shape;               // of a creation
  ObjectKey placement;            // ready object of the placement group that it is made in; none
  scheduler::DeathCause refusal;  // kDied: none; what else is the error of each call
  std::uint64_t captured;         // Session::captured when it was configured
  std::uint32_t restarts;
  std::uint32_t actor_flags;
  PyObject* reader;            // of what yields: the type that calls give, a StreamReader; null: refs
  std::uint32_t stream_limit;  // of items that are made and not taken; 0: none
};

PyTypeObject* caller_type = nullptr;

CallerObject* cast(PyObject* self) noexcept { return reinterpret_cast<CallerObject*>(self); }

bool check_signature(CallerObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  if (names == nullptr ? count >= self->least && count <= self->most : names == self->known_names && count == self->known_count)
    return true;
  Owned positional(PyTuple_New(count));
  Owned keywords(PyDict_New());
  if (!positional || !keywords) return false;
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(positional.get(), i, Py_NewRef(arguments[i]));
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < named; ++i) {
    if (PyDict_SetItem(keywords.get(), PyTuple_GET_ITEM(names, i), arguments[count + i]) != 0) return false;
  }
  Owned result(PyObject_CallMethod(self->owner, "_check_arguments", "OO", positional.get(), keywords.get()));
  if (!result) return false;
  if (names != nullptr) {
    Py_XSETREF(self->known_names, Py_NewRef(names));
    self->known_count = count;
  }
  return true;
}

PyObject* full_table(const char* what, std::uint32_t capacity, const char* option) {
  return PyErr_Format(PyExc_MemoryError,
                      "miniray: all %u %s are in use. Get results and drop refs before more calls, or raise init(%s=...).",
                      capacity, what, option);
}

// Makes the row a call of its actor, or the creation of a new one. False: no room, or (is_gone) no such actor; nothing was changed.
bool join_actor(Transaction& transaction, CallerObject* self, scheduler::TaskEntry& entry, Index task, bool& is_gone) {
  Domain& domain = session->domain;
  is_gone = false;
  Transaction::init(entry.actor, shm::kNone);
  if (self->kind == CallKind::kTask) return true;
  if (self->kind == CallKind::kMethod) {
    is_gone = !domain.objects.is_current(self->actor_key);
    if (is_gone) return false;
    Transaction::init(entry.actor, domain.scheduler.actor_of(self->actor_key.slot));
    Transaction::init(entry.caller, domain.self().packed());
    domain.objects.add_reference(transaction, self->actor_key.slot);
    return true;
  }
  const Index actor =
      domain.scheduler.create_actor(transaction, self->hold_shape, self->restarts, self->actor_flags, domain.self());
  if (actor == shm::kNone) return false;
  Transaction::init(entry.actor, actor);
  transaction.set(domain.scheduler.actors[actor].creation, task);
  (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), domain.scheduler.actors[actor].handle.get());
  return true;
}

PyObject* call(PyObject* callable, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  CallerObject* self = cast(callable);
  const Py_ssize_t count = PyVectorcall_NARGS(flags);
  if (session == nullptr || self->epoch != epoch || self->captured != session->captured) [[unlikely]] {
    if (!require_session()) return nullptr;
    Owned result(PyObject_CallMethod(self->owner, "_prepare", "O", callable));
    if (!result) return nullptr;
    if (self->epoch != epoch) return PyErr_Format(PyExc_RuntimeError, "miniray: the session ended during the call");
  }
  if (!require_session()) return nullptr;
  const SessionUse use;
  if (!check_signature(self, arguments, count, names)) return nullptr;
  Domain& domain = session->domain;
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  Encoder encoder;
  encoder.start_value(kArgumentsFormat | static_cast<std::uint64_t>(count) << 8 | static_cast<std::uint64_t>(named) << 32);
  std::vector<ObjectKey> dependencies;
  pickling_what = "argument";
  for (Py_ssize_t i = 0; i < count + named; ++i) {
    PyObject* argument = arguments[i];
    if (i >= count && !encoder.add(PyTuple_GET_ITEM(names, i - count))) return nullptr;
    if (!encoder.add(argument)) return nullptr;
    if (is_object_ref(argument)) dependencies.push_back(key_of(argument));
  }
  const std::vector<ObjectKey>& references = encoder.references();
  const std::size_t inline_size = encoder.inline_size() + 8 * references.size();
  const bool is_inline = inline_size <= scheduler::kInlineArgumentBytes && !encoder.has_buffers();
  Index argument_object = shm::kNone;
  if (!is_inline) {
    argument_object = write_object(encoder);
    if (argument_object == shm::kNone) return nullptr;
  }
  const auto give_up = [&] {
    if (argument_object == shm::kNone) return;
    Transaction transaction(domain.lock);
    domain.objects.discard_payload(transaction, argument_object);
    (void)domain.objects.unhold(transaction, domain.self(), argument_object);
  };
  std::vector<ObjectKey> results;
  results.reserve(self->result_count + 2);  // nothing allocates inside the section
  if (self->most_pending != 0 && is_full_of_calls(self->actor_key, self->most_pending)) [[unlikely]] {
    give_up();
    return PyObject_CallMethod(self->owner, "_raise_full", nullptr);
  }
  const std::uint64_t parent = parent_sequence();
  Index task = shm::kNone;
  std::uint64_t sequence = 0;
  scheduler::Wakes wakes;
again:
  if (self->kind == CallKind::kCreation) {
    if (const int error = domain.scheduler.actors.ensure_backed(domain.lock, 1); error != 0) [[unlikely]] {
      give_up();
      set_system_error(error, "shared memory is full: no room for actor entries");
      return nullptr;
    }
  }
  if (const int error = domain.ensure_rows(self->result_count + 2, 1, static_cast<std::uint32_t>(dependencies.size()));
      error != 0) [[unlikely]] {
    give_up();
    set_system_error(error, "shared memory is full: no room for task entries");
    return nullptr;
  }
  {
    Transaction transaction(domain.lock);
    task = domain.scheduler.tasks.take(transaction);
    if (task == shm::kNone) [[unlikely]] {
      if (!domain.scheduler.tasks.is_full()) goto again;  // other processes took what was backed
      transaction.close();
      give_up();
      return full_table("task entries", domain.scheduler.tasks.capacity(), "task_capacity");
    }
    scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
    bool is_gone = false;
    if (!join_actor(transaction, self, entry, task, is_gone)) [[unlikely]] {
      domain.scheduler.tasks.put(transaction, task);
      if (!is_gone && !domain.scheduler.actors.is_full() && !domain.objects.slots.is_full()) goto again;
      const bool actors_full = domain.scheduler.actors.is_full();
      transaction.close();
      give_up();
      if (is_gone) return PyObject_CallMethod(self->owner, "_raise_gone", nullptr);
      return actors_full ? full_table("actor entries", domain.scheduler.actors.capacity(), "actor_capacity")
                         : full_table("object entries", domain.objects.slots.capacity(), "object_capacity");
    }
    transaction.set(entry.state, static_cast<std::uint32_t>(scheduler::TaskState::kWaiting));
    const ObjectKey function = key_of(self->function);
    Transaction::init(entry.dependencies, 1);
    Transaction::init(entry.function, function.slot);
    Transaction::init(entry.function_generation, function.generation);
    Transaction::init(entry.arguments, argument_object);
    Transaction::init(entry.first_result, shm::kNone);
    Transaction::init(entry.result_count, self->result_count);
    Transaction::init(entry.shape, self->shape);
    Transaction::init(entry.retries_left, self->retries);
    Transaction::init(entry.attempt, 0);
    Transaction::init(entry.worker, 0);
    Transaction::init(entry.flags, (self->retries != 0 ? scheduler::kRetriable : 0) |
                                       (self->kind == CallKind::kCreation ? scheduler::kCreation : 0));
    Transaction::init(entry.tag_high, parent);
    // Told from the start: with very many results the row is committed before it is complete.
    Transaction::init(entry.inline_references, 0);
    Transaction::init(entry.inline_bytes_used, 0);
    domain.objects.add_reference(transaction, function.slot);
    Index previous = shm::kNone;
    for (std::uint32_t i = 0; i <= self->result_count; ++i) {
      if (transaction.room() < 512) transaction.commit();
      const bool is_last = i == self->result_count;  // behind the results the stream, if there is one
      if (is_last && self->reader == nullptr) break;
      const Index result = is_last ? shm::kNone : domain.objects.create(transaction, store::ObjectState::kPending, 0);
      if (is_last && domain.scheduler.create_stream(transaction, task, self->stream_limit)) break;
      if (result == shm::kNone) [[unlikely]] {
        // Everything of this section is undone by hand: nothing of it is queued yet.
        for (Index made = entry.first_result.get(); made != shm::kNone;) {
          const Index next = domain.objects[made].next_result.get();
          domain.objects.free(transaction, made);
          made = next;
        }
        Transaction::init(entry.arguments, shm::kNone);
        Transaction::init(entry.inline_references, 0);
        domain.scheduler.end_task(transaction, task);
        if (!domain.objects.slots.is_full()) goto again;
        transaction.close();
        give_up();
        return full_table("object entries", domain.objects.slots.capacity(), "object_capacity");
      }
      Transaction::init(domain.objects[result].producer, task);
      Transaction::init(domain.objects[result].maker,
                        static_cast<std::uint32_t>(domain.header().scheduler.next_sequence.get() + 1));
      if (previous == shm::kNone) {
        transaction.set(entry.first_result, result);
      } else {
        transaction.set(domain.objects[previous].next_result, result);
      }
      previous = result;
    }
    Index first_given = entry.first_result.get();
    if (self->reader != nullptr) {
      first_given = domain.objects[first_given].next_result.get();  // the item that is made next is the stream's
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), domain.scheduler.stream_of(task));
    }
    for (Index result = first_given; result != shm::kNone; result = domain.objects[result].next_result.get()) {
      if (transaction.room() < 512) transaction.commit();
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), result);
    }
    if (is_inline) {
      auto* pairs = reinterpret_cast<std::uint32_t*>(entry.inline_bytes);
      for (std::size_t i = 0; i < references.size(); ++i) {
        pairs[2 * i] = references[i].slot;
        pairs[2 * i + 1] = references[i].generation;
        domain.objects.add_reference(transaction, references[i].slot);
      }
      std::memcpy(entry.inline_bytes + 8 * references.size(), encoder.items(), encoder.inline_size());
      transaction.set(entry.inline_references, static_cast<std::uint32_t>(references.size()));
      Transaction::init(entry.inline_bytes_used, static_cast<std::uint32_t>(inline_size));
    } else {
      (void)domain.objects.seal(transaction, argument_object, store::ObjectState::kSealed);
      domain.objects.add_reference(transaction, argument_object);
      (void)domain.objects.unhold(transaction, domain.self(), argument_object);
    }
    for (const ObjectKey& key : dependencies) {
      if (domain.objects[key.slot].current_state() != store::ObjectState::kPending) continue;
      if (transaction.room() < 512) transaction.commit();
      if (domain.waits.add_dependency(transaction, domain.objects, task, key.slot)) transaction.add(entry.dependencies, 1);
    }
    if (self->kind == CallKind::kCreation)
      results.push_back(domain.objects.key(domain.scheduler.actors[entry.actor.get()].handle.get()));
    for (Index result = first_given; result != shm::kNone; result = domain.objects[result].next_result.get()) {
      results.push_back(domain.objects.key(result));
    }
    if (self->reader != nullptr) results.push_back(domain.objects.key(domain.scheduler.stream_of(task)));
    if (self->placement || self->refusal != scheduler::DeathCause::kDied) [[unlikely]] {
      const bool is_open = !self->placement || open_placement(self->placement) != shm::kNone;
      const scheduler::DeathCause cause = is_open ? self->refusal : scheduler::DeathCause::kGroupRemoved;
      if (cause != scheduler::DeathCause::kDied) domain.scheduler.refuse(transaction, task, cause, wakes);
    }
    domain.scheduler.submit(transaction, task, wakes);
    sequence = entry.sequence.get();
    flush_releases(transaction);
  }
  if (self->most_pending != 0) [[unlikely]]
    note_pending_call(self->actor_key, task, sequence);
  domain.perform(wakes);
  if (records_call_sites) [[unlikely]] {
    for (const ObjectKey& key : results) note_call_site(key);
  }
  if (self->reader != nullptr)
    return make_stream_reader(reinterpret_cast<PyTypeObject*>(self->reader), results.front(), results.back());
  if (results.empty()) Py_RETURN_NONE;
  if (results.size() == 1) return make_object_ref(results.front());
  Owned refs(PyList_New(static_cast<Py_ssize_t>(results.size())));
  for (std::size_t i = 0; refs && i < results.size(); ++i) {
    PyList_SET_ITEM(refs.get(), static_cast<Py_ssize_t>(i), make_object_ref(results[i]));
  }
  return refs.release();
}

PyObject* new_caller(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* owner = nullptr;
  if (!PyArg_ParseTuple(args, "O", &owner)) return nullptr;
  auto* self = reinterpret_cast<CallerObject*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->vectorcall = guarded<call>;
  self->owner = Py_NewRef(owner);
  self->least = 1;
  self->most = 0;
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(cast(self)->owner);
  Py_VISIT(cast(self)->actor);
  Py_VISIT(cast(self)->reader);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(cast(self)->owner);
  Py_CLEAR(cast(self)->function);
  Py_CLEAR(cast(self)->known_names);
  Py_CLEAR(cast(self)->actor);
  Py_CLEAR(cast(self)->reader);
  return 0;
}

void dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  (void)clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// configure(function ref, shape, result count, retries or -1, least, most): last, since calls are made from then on.
PyObject* configure(PyObject* object, PyObject* args) {
  CallerObject* self = cast(object);
  PyObject* function = nullptr;
  long long retries = 0;
  if (!PyArg_ParseTuple(args, "OIILnn", &function, &self->shape, &self->result_count, &retries, &self->least, &self->most))
    return nullptr;
  if (!is_object_ref(function) || !check_object_ref(function)) return nullptr;
  self->retries = retries < 0 ? scheduler::kRetryForever : static_cast<std::uint32_t>(retries);
  Py_XSETREF(self->function, Py_NewRef(function));
  self->epoch = epoch;
  self->captured = session->captured;
  self->placement = {};
  self->refusal = scheduler::DeathCause::kDied;
  Py_RETURN_NONE;
}

// configure_place(id of a placement group or None, cause or 0): calls are of that group; with a cause they fail with its error.
PyObject* configure_place(PyObject* object, PyObject* args) {
  CallerObject* self = cast(object);
  PyObject* id = nullptr;
  unsigned char cause = 0;
  if (!PyArg_ParseTuple(args, "Ob", &id, &cause)) return nullptr;
  if (cause != 0 && cause != static_cast<unsigned char>(scheduler::DeathCause::kNoSuchNode) &&
      cause != static_cast<unsigned char>(scheduler::DeathCause::kGroupRemoved))
    return PyErr_Format(PyExc_ValueError, "%u is no reason to refuse a call", cause);
  if (!require_session() || (id != Py_None && !parse_placement_id(id, self->placement))) return nullptr;
  self->refusal = static_cast<scheduler::DeathCause>(cause);
  if (id != Py_None && !self->placement) self->refusal = scheduler::DeathCause::kGroupRemoved;  // of another session
  Py_RETURN_NONE;
}

// configure_creation(hold shape, restarts or -1, whether calls may run at once, whether it outlives handles and creator): calls make
// actors and give the ref of the handle object.
PyObject* configure_creation(PyObject* object, PyObject* args) {
  CallerObject* self = cast(object);
  long long restarts = 0;
  int is_unordered = 0;
  int is_detached = 0;
  if (!PyArg_ParseTuple(args, "ILpp", &self->hold_shape, &restarts, &is_unordered, &is_detached)) return nullptr;
  self->restarts = restarts < 0 ? scheduler::kRetryForever : static_cast<std::uint32_t>(restarts);
  self->actor_flags = (is_unordered != 0 ? scheduler::kUnorderedCalls : 0) | (is_detached != 0 ? scheduler::kDetached : 0);
  self->kind = CallKind::kCreation;
  Py_RETURN_NONE;
}

// configure_method(ref of the handle object, calls that may be unfinished or 0 for any number): calls are of that actor.
PyObject* configure_method(PyObject* object, PyObject* args) {
  CallerObject* self = cast(object);
  PyObject* ref = nullptr;
  unsigned int most_pending = 0;
  if (!PyArg_ParseTuple(args, "OI", &ref, &most_pending)) return nullptr;
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "configure_method() takes an ObjectRef");
  const auto* found = reinterpret_cast<ObjectRefObject*>(ref);
  if (found->epoch != 0 ? found->epoch != epoch : found->id.high != session->domain.objects.nonce())
    return PyErr_Format(PyExc_ValueError, "the handle was made before the last miniray.shutdown(), or in another program");
  self->most_pending = most_pending;
  self->actor_key = key_of(ref);
  Py_XSETREF(self->actor, Py_NewRef(ref));
  self->kind = CallKind::kMethod;
  Py_RETURN_NONE;
}

// configure_stream(subtype of StreamReader, limit or 0): calls give one of those.
PyObject* configure_stream(PyObject* object, PyObject* args) {
  CallerObject* self = cast(object);
  PyObject* reader = nullptr;
  if (!PyArg_ParseTuple(args, "O!I", &PyType_Type, &reader, &self->stream_limit)) return nullptr;
  if (self->result_count != 2) return PyErr_Format(PyExc_ValueError, "a call that yields has two results");
  Py_XSETREF(self->reader, Py_NewRef(reader));
  Py_RETURN_NONE;
}

// Attributes of the function, as `f.remote.__name__` gives them in Ray.
PyObject* get_name(PyObject* self, void*) { return PyObject_GetAttrString(cast(self)->owner, "__name__"); }
PyObject* get_doc(PyObject* self, void*) { return PyObject_GetAttrString(cast(self)->owner, "__doc__"); }
PyObject* get_wrapped(PyObject* self, void*) { return PyObject_GetAttrString(cast(self)->owner, "__wrapped__"); }
PyGetSetDef properties[] = {{"__name__", get_name, nullptr, nullptr, nullptr},
                            {"__doc__", get_doc, nullptr, nullptr, nullptr},
                            {"__wrapped__", get_wrapped, nullptr, nullptr, nullptr},
                            {}};
PyMethodDef methods[] = {{"configure", guarded<configure>, METH_VARARGS, nullptr},
                         {"configure_creation", guarded<configure_creation>, METH_VARARGS, nullptr},
                         {"configure_method", guarded<configure_method>, METH_VARARGS, nullptr},
                         {"configure_stream", guarded<configure_stream>, METH_VARARGS, nullptr},
                         {"configure_place", guarded<configure_place>, METH_VARARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(CallerObject, vectorcall), READONLY, nullptr}, {}};
PyType_Slot slots[] = {
    {Py_tp_getset, properties},
    {Py_tp_new, reinterpret_cast<void*>(new_caller)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, nullptr},
};
PyType_Spec spec = {"miniray._miniray_core.Caller", sizeof(CallerObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots};

}  // namespace

bool add_caller_type(PyObject* module) {
  caller_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return caller_type != nullptr && PyModule_AddObjectRef(module, "Caller", reinterpret_cast<PyObject*>(caller_type)) == 0;
}

}  // namespace miniray::python
