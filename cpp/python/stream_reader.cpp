// python/stream_reader.cpp - see stream_reader.hpp.
//
// Invariants  Y1 a reader keeps its stream by an ObjectRef like any other: its last ref gives the stream up.
//             Y2 several threads may read: each takes what is first under the lock, or finds that another has.
#include "python/stream_reader.hpp"

#include "python/guard.hpp"
#include "python/object_ref.hpp"
#include "python/waiting.hpp"

namespace miniray::python {

namespace {

struct Reader {
  PyObject_HEAD PyObject* stream;  // ObjectRef of the stream, which keeps its items
  PyObject* completed;             // ObjectRef
};

PyTypeObject* reader_type = nullptr;

Reader* cast(PyObject* self) noexcept { return reinterpret_cast<Reader*>(self); }

bool check_reader(PyObject* self) { return require_session() && check_object_ref(cast(self)->stream); }

enum class Next : std::uint8_t { kItem, kEnd, kNotYet, kError };

// Looks at the first item without taking it.
Next peek(PyObject* self, ObjectKey& key) {
  Domain& domain = session->domain;
  const Index stream = key_of(cast(self)->stream).slot;
  for (;;) {
    const Index head = domain.objects[stream].next_result.get();
    if (head == shm::kNone) return Next::kEnd;
    key = domain.objects.key(head);
    store::PayloadView view;
    switch (domain.objects.try_read(domain.lock, key, view)) {
      case store::ObjectTable::ReadResult::kNotReady:
        return Next::kNotYet;
      case store::ObjectTable::ReadResult::kReady:
        return domain.scheduler.is_stream_end(stream) ? Next::kEnd : Next::kItem;
      case store::ObjectTable::ReadResult::kGone:
        continue;  // another thread took it
    }
  }
}

// Takes the first item: its ref, or nullptr with a Python error, or without one when it is not there.
PyObject* take(PyObject* self) {
  Domain& domain = session->domain;
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  const Index item = domain.scheduler.take_item(transaction, key_of(cast(self)->stream).slot, domain.self(), wakes);
  if (item == shm::kNone) return nullptr;
  const ObjectKey key = domain.objects.key(item);
  (void)count_up(item);  // or a release of an earlier ref, which is still to be done, would let it go
  flush_releases(transaction);
  transaction.close();
  MINIRAY_FAULT_POINT("stream.after_take");
  PyObject* ref = make_object_ref(key);
  count_down(item);
  domain.perform(wakes);
  return ref;
}

// The next ref; waits for it. nullptr without an error at the end.
PyObject* iternext(PyObject* self) {
  if (!check_reader(self)) return nullptr;
  const SessionUse use;
  const Owned keeper(Py_NewRef(self));
  for (;;) {
    ObjectKey key;
    switch (peek(self, key)) {
      case Next::kItem:
        if (PyObject* ref = take(self); ref != nullptr || PyErr_Occurred() != nullptr) return ref;
        break;
      case Next::kEnd:
      case Next::kError:
        return nullptr;
      case Next::kNotYet:
        if (wait_for_objects({key}, 1, false, platform::kForever) == Waited::kError) return nullptr;
        break;
    }
  }
}

// _next_nowait(): the next ref; None when it is not there yet, False at the end.
PyObject* next_nowait(PyObject* self, PyObject*) {
  if (!check_reader(self)) return nullptr;
  const SessionUse use;
  ObjectKey key;
  switch (peek(self, key)) {
    case Next::kItem:
      if (PyObject* ref = take(self); ref != nullptr || PyErr_Occurred() != nullptr) return ref;
      Py_RETURN_NONE;
    case Next::kEnd:
      Py_RETURN_FALSE;
    default:
      Py_RETURN_NONE;
  }
}

// _peek(): a ref of what is next, an item or the end, without taking it; that of completed() after the end.
PyObject* peek_ref(PyObject* self, PyObject*) {
  if (!check_reader(self)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  ObjectKey next;
  {
    Transaction transaction(domain.lock);
    const Index head = domain.objects[key_of(cast(self)->stream).slot].next_result.get();
    if (head != shm::kNone) {
      next = domain.objects.key(head);
      (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), head);
    }
  }
  return next ? make_object_ref(next) : Py_NewRef(cast(self)->completed);
}

// An error that is let go here was not left unread: who has the stream reads it, or has read it.
void note_read(PyObject* ref) {
  const Index slot = key_of(ref).slot;
  if (session->domain.objects[slot].current_state() == store::ObjectState::kError) session->read_errors.push_back(slot);
}

// _unpeek(ref): before what _peek() gave goes.
PyObject* unpeek(PyObject* self, PyObject* ref) {
  if (is_object_ref(ref) && check_reader(self) && check_object_ref(ref)) note_read(ref);
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* next_ready(PyObject* self, PyObject*) {
  if (!check_reader(self)) return nullptr;
  ObjectKey key;
  return PyBool_FromLong(peek(self, key) == Next::kItem);
}

PyObject* is_finished(PyObject* self, PyObject*) {
  if (!check_reader(self)) return nullptr;
  ObjectKey key;
  return PyBool_FromLong(peek(self, key) == Next::kEnd);
}

PyObject* completed(PyObject* self, PyObject*) { return Py_NewRef(cast(self)->completed); }

PyObject* reduce(PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError,
                      "You cannot return or pass a generator to other task. Serializing a ObjectRefGenerator is not allowed.");
}

PyObject* refuse_new(PyTypeObject*, PyObject*, PyObject*) {
  return PyErr_Format(PyExc_TypeError, "an ObjectRefGenerator is made by .remote() of a function or method that yields");
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Reader* reader = cast(self);
  if (reader->completed != nullptr && session != nullptr &&
      reinterpret_cast<ObjectRefObject*>(reader->completed)->epoch == epoch)
    (void)guard_quietly([reader] { note_read(reader->completed); });
  Py_CLEAR(cast(self)->stream);  // gives the stream up
  Py_CLEAR(cast(self)->completed);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef reader_methods[] = {
    {"completed", guarded<completed>, METH_NOARGS,
     "The ObjectRef that is ready when the task has ended; it raises what ended the task without an item."},
    {"next_ready", guarded<next_ready>, METH_NOARGS, "Whether next() gives a ref at once."},
    {"is_finished", guarded<is_finished>, METH_NOARGS, "Whether no ref is left and none will come."},
    {"_next_nowait", guarded<next_nowait>, METH_NOARGS, nullptr},
    {"_peek", guarded<peek_ref>, METH_NOARGS, nullptr},
    {"_unpeek", guarded<unpeek>, METH_O, nullptr},
    {"__reduce__", guarded<reduce>, METH_NOARGS, nullptr},
    {"__reduce_ex__", guarded<reduce>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot reader_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(refuse_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(guarded<iternext>)},
    {Py_tp_methods, reader_methods},
    {0, nullptr},
};
PyType_Spec reader_spec = {"miniray._miniray_core.StreamReader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                           reader_slots};

}  // namespace

PyObject* make_stream_reader(PyTypeObject* type, ObjectKey completed_key, ObjectKey stream) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  cast(self)->completed = make_object_ref(completed_key);
  cast(self)->stream = make_object_ref(stream);
  return self;
}

bool is_stream_reader(PyObject* object) noexcept { return PyObject_TypeCheck(object, reader_type); }

bool add_stream_reader_type(PyObject* module) {
  reader_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&reader_spec));
  return reader_type != nullptr && PyModule_AddObjectRef(module, "StreamReader", reinterpret_cast<PyObject*>(reader_type)) == 0;
}

}  // namespace miniray::python
