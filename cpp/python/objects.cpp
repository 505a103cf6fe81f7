#include "python/objects.hpp"

#include "python/call_site.hpp"
#include "python/guard.hpp"
#include "python/stream_reader.hpp"
#include "python/waiting.hpp"

namespace miniray::python {

namespace {

using ReadResult = store::ObjectTable::ReadResult;

PyObject* raise_timeout(std::size_t missing) {
  Owned text(PyUnicode_FromFormat(
      "Get timed out: %zu of the requested objects are not ready yet. The refs stay usable: call get again, "
      "with a longer timeout or without one.",
      missing));
  if (text) PyErr_SetObject(hooks.timeout_error, text.get());
  return nullptr;
}

PyObject* read_ready(ObjectKey key) {
  store::PayloadView view;
  // Sealed, perhaps by a section that is just ending: a moment.
  for (;;) {
    switch (session->domain.objects.try_read(session->domain.lock, key, view)) {
      case ReadResult::kReady:
        return decode_object(key, view);
      case ReadResult::kGone:
        return raise_lost(key, "gone");
      case ReadResult::kNotReady:
        if (wait_for_objects({key}, 1, true, platform::kForever) == Waited::kError) return nullptr;
    }
  }
}

PyObject* get_list(PyObject* list, std::int64_t deadline_ns) {
  const Py_ssize_t count = PyList_GET_SIZE(list);
  std::vector<ObjectKey> keys(static_cast<std::size_t>(count));
  Owned keeper(PyList_GetSlice(list, 0, count));  // the refs stay alive whatever other threads do to the list
  if (!keeper) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* ref = PyList_GET_ITEM(keeper.get(), i);
    if (!is_object_ref(ref)) {
      return PyErr_Format(PyExc_TypeError, "Attempting to call `get` on the value %R, which is not an ray.ObjectRef.", ref);
    }
    if (!check_object_ref(ref)) return nullptr;
    keys[static_cast<std::size_t>(i)] = key_of(ref);
  }
  Owned result(PyList_New(count));
  if (!result) return nullptr;
  bool waited = false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const ObjectKey key = keys[static_cast<std::size_t>(i)];
    if (!waited && !is_ready(key)) {
      waited = true;
      std::vector<ObjectKey> rest(keys.begin() + i, keys.end());
      const Waited outcome = wait_for_objects(rest, rest.size(), true, deadline_ns);
      if (outcome == Waited::kError) return nullptr;
      std::size_t missing = 0;
      for (const ObjectKey& other : rest) {
        store::PayloadView view;
        const auto state = session->domain.objects.try_read(session->domain.lock, other, view);
        if (state == ReadResult::kReady && view.is_error) return decode_object(other, view);  // fail fast
        missing += state == ReadResult::kNotReady ? 1U : 0U;
      }
      if (outcome == Waited::kTimedOut) {
        if (missing != 0) return raise_timeout(missing);
      }
    }
    PyObject* value = read_ready(key);
    if (value == nullptr) return nullptr;
    PyList_SET_ITEM(result.get(), i, value);
  }
  return result.release();
}

// get(object_refs, *, timeout=None)
PyObject* get(PyObject*, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  PyObject* refs = count > 0 ? arguments[0] : nullptr;
  PyObject* timeout = nullptr;
  if (count > 1) return PyErr_Format(PyExc_TypeError, "get() takes 1 positional argument but %zd were given", count);
  for (Py_ssize_t i = 0; names != nullptr && i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0) {
      timeout = arguments[count + i];
    } else if (PyUnicode_CompareWithASCIIString(name, "object_refs") == 0 && refs == nullptr) {
      refs = arguments[count + i];
    } else {
      return PyErr_Format(PyExc_TypeError, "get() got an unexpected keyword argument %R", name);
    }
  }
  if (refs == nullptr) return PyErr_Format(PyExc_TypeError, "get() missing 1 required positional argument: 'object_refs'");
  if (!require_session()) return nullptr;
  const SessionUse use;
  std::int64_t deadline_ns = platform::kForever;
  if (timeout != nullptr && !parse_deadline(timeout, deadline_ns)) return nullptr;
  if (is_object_ref(refs)) {
    if (!check_object_ref(refs)) return nullptr;
    Owned keeper(Py_NewRef(refs));
    return get_value(key_of(refs), deadline_ns);
  }
  if (PyList_Check(refs)) return get_list(refs, deadline_ns);
  if (is_stream_reader(refs)) return Py_NewRef(refs);
  return PyErr_Format(
      PyExc_ValueError,
      "Invalid type of object refs, %S, is given. 'object_refs' must either be an ObjectRef or a list of ObjectRefs. ",
      reinterpret_cast<PyObject*>(Py_TYPE(refs)));
}

PyObject* put_as(PyObject* value, std::uint8_t format, store::ObjectState state) {
  if (!require_session()) return nullptr;
  const SessionUse use;
  Encoder encoder;
  encoder.start_value(format);
  pickling_what = "put value";
  if (!encoder.add(value)) return nullptr;
  const Index slot = write_object(encoder);
  if (slot == shm::kNone) return nullptr;
  Domain& domain = session->domain;
  PyObject* ref = make_object_ref(domain.objects.key(slot));
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  domain.scheduler.seal(transaction, slot, state, wakes);
  flush_releases(transaction);
  transaction.close();
  domain.perform(wakes);
  return ref;
}

// _put(value): ObjectRef
PyObject* put(PyObject*, PyObject* value) { return put_as(value, kValueFormat, store::ObjectState::kSealed); }
// _put_error(exception): ObjectRef that raises it
PyObject* put_error(PyObject*, PyObject* error) { return put_as(error, kErrorFormat, store::ObjectState::kError); }

// ObjectRef of the object with that outside id; made unless it exists, which is None when it `must_be_new`.
PyObject* put_or_find(PyObject* args, bool must_be_new) {
  const char* payload = nullptr;
  const char* id_bytes = nullptr;
  Py_ssize_t size = 0;
  Py_ssize_t id_size = 0;
  if (!PyArg_ParseTuple(args, "y#y#", &payload, &size, &id_bytes, &id_size)) return nullptr;
  if (id_size != 16) return PyErr_Format(PyExc_ValueError, "an id has 16 bytes, got %zd", id_size);
  if (!require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  store::ObjectId id;
  std::memcpy(&id, id_bytes, sizeof(id));
  const auto find = [&](Transaction& transaction) {
    const ObjectKey found = domain.objects.find(id);
    if (found && !must_be_new) (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), found.slot);
    return found;
  };
  // Refs are made, and above all dropped, out of the sections: dropping one may give others back, which takes the lock.
  const auto answer = [&](ObjectKey found) { return must_be_new ? Py_NewRef(Py_None) : make_object_ref(found); };
  ObjectKey found;
  {
    Transaction transaction(domain.lock);
    found = find(transaction);
  }
  if (found) return answer(found);
  Encoder encoder;
  encoder.add_bytes(payload, static_cast<std::size_t>(size));
  const Index slot = write_object(encoder);
  if (slot == shm::kNone) return nullptr;
  ObjectKey made;
  {
    Transaction transaction(domain.lock);
    made = domain.objects.key(slot);
    found = find(transaction);
    if (found) {  // another process was faster
      (void)domain.objects.unhold(transaction, domain.self(), slot);
    } else {
      domain.objects.set_outside_id(transaction, slot, id);
      (void)domain.objects.seal(transaction, slot, store::ObjectState::kSealed);
    }
  }
  return found ? answer(found) : make_object_ref(made);
}

// _put_named(bytes payload, 16-byte id): ObjectRef, of the one that was there if there was one.
PyObject* put_named(PyObject*, PyObject* args) { return put_or_find(args, false); }
// _claim_name(bytes payload, 16-byte id): ObjectRef, or None when the id is taken.
PyObject* claim_name(PyObject*, PyObject* args) { return put_or_find(args, true); }

PyMethodDef functions[] = {
    {"get", as_method(guarded<get>), METH_FASTCALL | METH_KEYWORDS,
     "get(object_refs, *, timeout=None)\n--\n\nReturn the value of an ObjectRef, or the list of values of a list of "
     "ObjectRefs, in order.\n\n"
     "Blocks until all are ready, without the GIL. Arrays and other buffers are read-only views of shared memory, not copies; "
     "they\n"
     "stay valid after the ref is gone. The first error among the refs is raised at once, as an instance of both RayTaskError "
     "and\n"
     "the type that the task raised.\n\n"
     "Args:\n    object_refs: An ObjectRef, or a list of them.\n    timeout: Seconds to wait; 0 only looks, None waits for "
     "ever.\n\n"
     "Raises:\n    GetTimeoutError: Not all were ready in time; the refs stay usable.\n    ValueError: A ref of an earlier "
     "session, or not a ref or a list.\n"},
    {"_put", guarded<put>, METH_O, nullptr},
    {"_put_error", guarded<put_error>, METH_O, nullptr},
    {"_put_named", guarded<put_named>, METH_VARARGS, nullptr},
    {"_claim_name", guarded<claim_name>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* get_value(ObjectKey key, std::int64_t deadline_ns) {
  store::PayloadView view;
  const auto state = session->domain.objects.try_read(session->domain.lock, key, view);
  if (state == ReadResult::kReady) [[likely]]
    return decode_object(key, view);
  if (state == ReadResult::kGone) return raise_lost(key, "gone");
  switch (wait_for_objects({key}, 1, true, deadline_ns)) {
    case Waited::kReady:
      return read_ready(key);
    case Waited::kTimedOut:
      return is_ready(key) ? read_ready(key) : raise_timeout(1);
    case Waited::kError:
      break;
  }
  return nullptr;
}

Index write_object(Encoder& encoder) {
  const Index slot = create_writing_object();
  if (slot == shm::kNone || fill_object(slot, encoder)) return slot;
  discard_writing_object(slot);
  return shm::kNone;
}

bool fill_object(Index slot, Encoder& encoder) {
  Domain& domain = session->domain;
  PayloadMemory memory;
  do {
    if (!memory.reserve(slot, encoder.payload_size(), encoder.reference_count())) return false;
    encoder.write(memory);
  } while (!memory.finish());
  if (records_call_sites) [[unlikely]]
    note_call_site(domain.objects.key(slot));
  const std::vector<ObjectKey>& references = encoder.references();
  for (std::size_t position = 0; position < references.size();) {
    Transaction transaction(domain.lock);
    for (; position < references.size() && transaction.room() > 64; ++position) {
      domain.objects.add_contained(transaction, slot, references[position]);
    }
  }
  return true;
}

bool add_object_functions(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace miniray::python
