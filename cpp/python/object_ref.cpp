#include "python/object_ref.hpp"

#include "python/guard.hpp"

#include <structmember.h>

#include <cstdio>
#include <cstring>

namespace miniray::python {

PyTypeObject* object_ref_type = nullptr;

namespace {

MINIRAY_STATIC_TLS thread_local constinit RefCollector* collector = nullptr;
PyObject* rebuild_function = nullptr;

ObjectRefObject* cast(PyObject* self) noexcept { return reinterpret_cast<ObjectRefObject*>(self); }

void to_hex(const store::ObjectId& id, char (&text)[33]) noexcept {
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(id.high),
                static_cast<unsigned long long>(id.low));
}

ObjectRefObject* allocate() { return PyObject_New(ObjectRefObject, object_ref_type); }

void dealloc(PyObject* self) {
  ObjectRefObject* ref = cast(self);
  if (ref->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  if (session != nullptr && ref->epoch == epoch && epoch != 0) count_down(key_of(self).slot);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

PyObject* new_ref(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"object_id", nullptr};
  PyObject* source = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ObjectRef", const_cast<char**>(names), &source)) return nullptr;
  store::ObjectId id;
  if (source == Py_None) {
    platform::fill_random(&id, sizeof(id));
  } else if (PyBytes_Check(source)) {  // as Ray: the binary form
    if (PyBytes_GET_SIZE(source) != 16) {
      return PyErr_Format(PyExc_ValueError, "expected 16 bytes, the length of an object id, got %zd", PyBytes_GET_SIZE(source));
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(source));
    for (int i = 0; i < 8; ++i) id.high = id.high << 8 | bytes[i];
    for (int i = 8; i < 16; ++i) id.low = id.low << 8 | bytes[i];
  } else {
    Owned hex(PyObject_CallMethod(source, "to_hex", nullptr));
    if (!hex) {
      PyErr_Clear();
      return PyErr_Format(PyExc_TypeError, "ObjectRef() takes an ObjectID, not %s", Py_TYPE(source)->tp_name);
    }
    Py_ssize_t length = 0;
    const char* text = PyUnicode_AsUTF8AndSize(hex.get(), &length);
    if (text == nullptr) return nullptr;
    if (!parse_object_id(text, length, id)) return PyErr_Format(PyExc_ValueError, "not an object id: %R", hex.get());
  }
  return make_bare_object_ref(id);
}

PyObject* hex(PyObject* self, PyObject*) {
  char text[33];
  to_hex(cast(self)->id, text);
  return PyUnicode_FromString(text);
}

PyObject* binary(PyObject* self, PyObject*) {
  char bytes[16];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(cast(self)->id.high >> (56 - 8 * i));
  for (int i = 0; i < 8; ++i) bytes[8 + i] = static_cast<char>(cast(self)->id.low >> (56 - 8 * i));
  return PyBytes_FromStringAndSize(bytes, sizeof(bytes));
}

PyObject* is_nil(PyObject* self, PyObject*) { return PyBool_FromLong(cast(self)->id.is_nil()); }

PyObject* repr(PyObject* self) {
  char text[33];
  to_hex(cast(self)->id, text);
  return PyUnicode_FromFormat("ObjectRef(%s)", text);
}

Py_hash_t hash(PyObject* self) {
  const auto value = static_cast<Py_hash_t>(cast(self)->id.hash());
  return value == -1 ? -2 : value;
}

PyObject* compare(PyObject* self, PyObject* other, int operation) {
  if ((operation != Py_EQ && operation != Py_NE) || !is_object_ref(other)) Py_RETURN_NOTIMPLEMENTED;
  const bool equal = cast(self)->id == cast(other)->id;
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

PyObject* get_object_id(PyObject* self, PyObject*) {
  Owned module(PyImport_ImportModule("miniray._miniray_core"));
  if (!module) return nullptr;
  Owned text(hex(self, nullptr));
  Owned type(PyObject_GetAttrString(module.get(), "ObjectID"));
  if (!type || !text) return nullptr;
  return PyObject_CallMethod(type.get(), "from_hex", "O", text.get());
}

PyObject* id_property(PyObject* self, void*) { return get_object_id(self, nullptr); }

PyObject* reduce(PyObject* self, PyObject*) {
  ObjectRefObject* ref = cast(self);
  if (collector != nullptr) {  // on its way into the store
    if (!check_object_ref(self)) return nullptr;
    collector->pickled.push_back(key_of(self));
  } else if (ref->epoch != 0 && session != nullptr && ref->epoch == epoch) {
    (void)count_up(key_of(self).slot);  // pickled by hand: kept until the session ends, as in Ray
  }
  return Py_BuildValue("O(KK)", rebuild_function, static_cast<unsigned long long>(ref->id.high),
                       static_cast<unsigned long long>(ref->id.low));
}

PyObject* await_ref(PyObject* self) { return PyObject_CallOneArg(hooks.awaiting, self); }
PyObject* future(PyObject* self, PyObject*) { return PyObject_CallOneArg(hooks.future, self); }

// as_future(_internal=False): what Ray's own callers say with _internal makes no difference here.
PyObject* as_future(PyObject* self, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"_internal", nullptr};
  PyObject* ignored = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:as_future", const_cast<char**>(names), &ignored)) return nullptr;
  return PyObject_CallOneArg(hooks.as_future, self);
}

PyObject* task_id(PyObject* self, PyObject*) {
  if (!check_object_ref(self)) return nullptr;
  const SessionUse use;
  std::uint32_t maker = 0;
  {
    const Transaction transaction(session->domain.lock);
    const ObjectKey key = key_of(self);
    if (session->domain.objects.is_current(key)) maker = session->domain.objects[key.slot].maker.get();
  }
  const Owned number(PyLong_FromUnsignedLong(maker));
  return number ? PyObject_CallOneArg(hooks.task_id, number.get()) : nullptr;
}
PyObject* job_id(PyObject* self, PyObject* none) {
  const Owned task(task_id(self, none));
  return task ? PyObject_CallMethod(task.get(), "job_id", nullptr) : nullptr;
}

PyObject* copy(PyObject* self, PyObject*) { return Py_NewRef(self); }

PyObject* rebuild(PyObject*, PyObject* args) {
  unsigned long long high = 0;
  unsigned long long low = 0;
  if (!PyArg_ParseTuple(args, "KK", &high, &low)) return nullptr;
  const store::ObjectId id{high, low};
  if (session == nullptr || high != session->domain.objects.nonce()) return make_bare_object_ref(id);
  const ObjectKey key{static_cast<Index>(low), static_cast<std::uint32_t>(low >> 32)};
  bool is_current = key.slot <= session->domain.objects.slots.capacity() && session->counts[key.slot] != 0;
  if (!is_current) {
    const Transaction transaction(session->domain.lock);
    is_current = session->domain.objects.is_current(key);
  }
  if (!is_current) return make_bare_object_ref(id);
  const bool first = session->counts[key.slot] == 0;
  Owned ref(make_object_ref(key));
  if (!ref) return nullptr;
  if (first) {
    if (collector != nullptr) {
      collector->fresh.push_back(key);
    } else if (!hold_all({key})) {
      return nullptr;
    }
  }
  return ref.release();
}

PyObject* from_random(PyObject*, PyObject*) {
  store::ObjectId id;
  platform::fill_random(&id, sizeof(id));
  return make_bare_object_ref(id);
}

PyObject* nil(PyObject*, PyObject*) { return make_bare_object_ref({}); }

PyObject* size(PyObject*, PyObject*) { return PyLong_FromLong(16); }

PyObject* from_binary(PyObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"id_bytes", nullptr};
  PyObject* bytes = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:from_binary", const_cast<char**>(names), &bytes)) return nullptr;
  return PyObject_CallOneArg(type, bytes);
}

PyMethodDef methods[] = {
    {"hex", guarded<hex>, METH_NOARGS, "The id as 32 hexadecimal digits."},
    {"to_hex", guarded<hex>, METH_NOARGS, "The id as 32 hexadecimal digits."},
    {"binary", guarded<binary>, METH_NOARGS, "The id as 16 bytes."},
    {"is_nil", guarded<is_nil>, METH_NOARGS, "Whether the id is all zero."},
    {"get_object_id", guarded<get_object_id>, METH_NOARGS, "The ObjectID this refers to."},
    {"from_random", guarded<from_random>, METH_NOARGS | METH_CLASS, "A ref of a random id."},
    {"from_binary", as_method(guarded<from_binary>), METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     "from_binary($type, id_bytes)\n--\n\nThe bare ref of 16 bytes."},
    {"nil", guarded<nil>, METH_NOARGS | METH_CLASS, "The ref of the nil id."},
    {"size", guarded<size>, METH_NOARGS | METH_CLASS, "Bytes of an id."},
    {"future", guarded<future>, METH_NOARGS,
     "A concurrent.futures.Future of its value. Cancelling that does not cancel the task."},
    {"task_id", guarded<task_id>, METH_NOARGS, "The TaskID of the task that makes its value, or put it."},
    {"job_id", guarded<job_id>, METH_NOARGS, "The JobID of the program."},
    {"as_future", as_method(guarded<as_future>), METH_VARARGS | METH_KEYWORDS,
     "as_future($self, _internal=False)\n--\n\nAn asyncio.Future of its value, of the running loop."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "ObjectRef[int], for annotations."},
    {"__reduce__", guarded<reduce>, METH_NOARGS, nullptr},
    {"__copy__", guarded<copy>, METH_NOARGS, nullptr},
    {"__deepcopy__", guarded<copy>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef properties[] = {{"id", id_property, nullptr, "The ObjectID this refers to.", nullptr}, {}};
PyMemberDef members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(ObjectRefObject, weak_references), READONLY, nullptr}, {}};
PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("ObjectRef(object_id=None)\n--\n\nNames an object, ready or not, and keeps it alive.")},
    {Py_tp_new, reinterpret_cast<void*>(new_ref)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(repr)},
    {Py_tp_hash, reinterpret_cast<void*>(hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(compare)},
    {Py_tp_methods, methods},
    {Py_am_await, reinterpret_cast<void*>(await_ref)},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {0, nullptr},
};
PyType_Spec spec = {"miniray.ObjectRef", sizeof(ObjectRefObject), 0, Py_TPFLAGS_DEFAULT, slots};
PyMethodDef rebuild_method = {"_rebuild_object_ref", guarded<rebuild>, METH_VARARGS, nullptr};

}  // namespace

bool parse_object_id(const char* text, Py_ssize_t length, store::ObjectId& id) noexcept {
  if (length != 32) return false;
  std::uint64_t words[2] = {0, 0};
  for (int i = 0; i < 32; ++i) {
    const char c = text[i];
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else {
      return false;
    }
    words[i / 16] = words[i / 16] << 4 | digit;
  }
  id = {words[0], words[1]};
  return true;
}

std::string object_id_hex(const store::ObjectId& id) {
  char text[33];
  to_hex(id, text);
  return text;
}

PyObject* make_bare_object_ref(store::ObjectId id) {
  ObjectRefObject* ref = allocate();
  if (ref == nullptr) return nullptr;
  ref->id = id;
  ref->epoch = 0;
  ref->weak_references = nullptr;
  return reinterpret_cast<PyObject*>(ref);
}

PyObject* make_object_ref(ObjectKey key) {
  ObjectRefObject* ref = allocate();
  if (ref == nullptr) return nullptr;
  ref->id = key.id(session->domain.objects.nonce());
  ref->epoch = epoch;
  ref->weak_references = nullptr;
  (void)count_up(key.slot);
  return reinterpret_cast<PyObject*>(ref);
}

bool check_object_ref(PyObject* ref) {
  const ObjectRefObject* self = cast(ref);
  if (session != nullptr && self->epoch == epoch) [[likely]]
    return true;
  PyErr_Format(PyExc_ValueError,
               "%R: its owner is unknown. The ref was made before the last miniray.shutdown(), in another program, or its "
               "object is gone",
               ref);
  return false;
}

RefCollector::RefCollector() noexcept : outer_(collector) { collector = this; }
RefCollector::~RefCollector() { collector = outer_; }
RefCollector* current_collector() noexcept { return collector; }

bool add_object_ref_type(PyObject* module) {
  object_ref_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (object_ref_type == nullptr) return false;
  Owned name(PyUnicode_FromString("miniray._miniray_core"));
  rebuild_function = PyCFunction_NewEx(&rebuild_method, nullptr, name.get());
  return rebuild_function != nullptr && PyModule_AddObjectRef(module, "_rebuild_object_ref", rebuild_function) == 0 &&
         PyModule_AddObjectRef(module, "ObjectRef", reinterpret_cast<PyObject*>(object_ref_type)) == 0;
}

}  // namespace miniray::python
