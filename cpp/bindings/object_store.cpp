// bindings/object_store.cpp - see object_store.hpp. Thin: arguments and errors; the work is in runtime/blob_store.
#include "bindings/object_store.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <string>

#include "bindings/byte_string.hpp"
#include "bindings/object_id.hpp"
#include "bindings/shared_domain.hpp"
#include "python/object_ref.hpp"
#include "recovery/dead_process.hpp"
#include "runtime/blob_store.hpp"

namespace miniray::bindings {

namespace {

using runtime::BlobResult;
using runtime::BlobStore;
using shm::Index;
using store::ObjectId;

constexpr std::size_t kCopyWithoutGil = 64 << 10;

void copy(void* target, const void* source, std::size_t size) {
  if (size < kCopyWithoutGil) {
    std::memcpy(target, source, size);
    return;
  }
  const nb::gil_scoped_release released;
  std::memcpy(target, source, size);
}

// A store with what belongs to it; views share it, so that it outlives close() and the ObjectStore.
struct OpenStore {
  std::shared_ptr<SharedDomain> shared;
  BlobStore blobs;
  bool evicts;
  OpenStore(std::shared_ptr<SharedDomain> domain, bool evict)
      : shared(std::move(domain)), blobs(shared->domain()), evicts(evict) {}
  BlobStore& use() {
    bool forked = false;
    (void)shared->use(&forked);
    if (forked) blobs.forget_pins();
    return blobs;
  }
};

// --- views ---------------------------------------------------------------------------------------------------------

struct BlobViewObject {
  PyObject_HEAD std::shared_ptr<OpenStore>* store;
  const void* data;
  Py_ssize_t size;
  std::uint64_t process;  // whose pin it is
  Index slot;
};

PyTypeObject* blob_view_type = nullptr;

int get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  const auto* view = reinterpret_cast<BlobViewObject*>(self);
  return PyBuffer_FillInfo(buffer, self, const_cast<void*>(view->data), view->size, 1, flags);
}

void dealloc_view(PyObject* self) {
  auto* view = reinterpret_cast<BlobViewObject*>(self);
  const SharedDomain& shared = *(*view->store)->shared;
  if (shared.is_of_this_process() && shared.process() == view->process) {
    try {
      (*view->store)->blobs.unpin(view->slot);
    } catch (const debug::Damage&) {  // the next call raises it: the domain is poisoned
    }
  }
  delete view->store;
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot view_slots[] = {
    {Py_tp_doc, const_cast<char*>("Read-only memory of an object in an ObjectStore, which stays while this is in use.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc_view)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
    {0, nullptr},
};
PyType_Spec view_spec = {"miniray._miniray_core.BlobView", sizeof(BlobViewObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};

// --- the class -----------------------------------------------------------------------------------------------------

class ObjectStore {
 public:
  ObjectStore(bool create, const std::optional<std::string>& name, std::optional<std::uint64_t> capacity,
              const std::string& eviction, std::uint32_t max_objects) {
    if (eviction != "lru" && eviction != "error") {
      throw nb::value_error(("eviction must be 'lru' or 'error', got '" + eviction + "'").c_str());
    }
    require_within("max_objects", max_objects, runtime::kMostRows);
    if (capacity) require_within("capacity", *capacity, runtime::kMostBytes, " byte");
    runtime::DomainConfig config;
    config.object_capacity = max_objects;
    config.task_capacity = 1;
    config.heap_bytes = capacity.value_or(default_capacity_bytes());
    store_ = std::make_shared<OpenStore>(
        SharedDomain::open(name.value_or(""), "objectstore", create, config, runtime::DomainUsage::kObjectStore),
        eviction == "lru");
  }

  nb::object put(nb::handle data, const std::optional<ObjectId>& id) {
    const auto keep = store_;  // close() in another thread must not unmap while this copies
    BlobStore& blobs = keep->use();
    if (id && id->is_nil())
      throw nb::value_error("the nil id cannot name an object; use ObjectRef() or ObjectID.from_random()");
    const ByteString bytes(data, "data");
    Index slot = shm::kNone;
    int system_error = 0;
    BlobResult result = blobs.reserve(bytes.size(), id, store_->evicts, slot, system_error);
    if ((result == BlobResult::kFull || result == BlobResult::kNoSlot) && recovery::sweep(domain()) != 0) {
      result = blobs.reserve(bytes.size(), id, store_->evicts, slot, system_error);  // without what the dead had pinned
    }
    if (result != BlobResult::kDone) raise_put_error(result, bytes.size(), id, system_error);
    const ObjectId found = id.value_or(domain().objects.key(slot).id(domain().objects.nonce()));
    copy(blobs.writable(slot), bytes.data(), bytes.size());
    result = blobs.publish(slot, id);
    if (result != BlobResult::kDone) raise_put_error(result, bytes.size(), id, 0);
    PyObject* ref = python::make_bare_object_ref(found);
    if (ref == nullptr) nb::raise_python_error();
    return nb::steal(ref);
  }

  nb::bytes get(nb::handle ref) {
    const auto keep = store_;
    BlobStore& blobs = keep->use();
    Index slot = shm::kNone;
    store::PayloadView view;
    if (!blobs.pin(id_of(ref), slot, view)) raise_unknown(id_of(ref));
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(view.size_bytes));
    if (bytes != nullptr) copy(PyBytes_AS_STRING(bytes), view.data, view.size_bytes);
    blobs.unpin(slot);
    if (bytes == nullptr) nb::raise_python_error();
    return nb::steal<nb::bytes>(bytes);
  }

  nb::object get_view(nb::handle ref) {
    BlobStore& blobs = store_->use();
    BlobViewObject* object = PyObject_New(BlobViewObject, blob_view_type);
    if (object == nullptr) nb::raise_python_error();
    store::PayloadView view;
    object->store = new std::shared_ptr<OpenStore>(store_);
    object->slot = shm::kNone;
    object->process = store_->shared->process();
    const nb::object owner = nb::steal(reinterpret_cast<PyObject*>(object));
    if (!blobs.pin(id_of(ref), object->slot, view)) raise_unknown(id_of(ref));
    object->data = view.data;
    object->size = static_cast<Py_ssize_t>(view.size_bytes);
    PyObject* memory = PyMemoryView_FromObject(owner.ptr());
    if (memory == nullptr) nb::raise_python_error();
    return nb::steal(memory);
  }

  bool contains(nb::handle ref) { return store_->use().contains(id_of(ref)); }

  void erase(nb::handle ref) {
    if (!store_->use().erase(id_of(ref))) raise_unknown(id_of(ref));
  }

  std::uint32_t size() { return domain().objects.listed_count(); }
  std::uint64_t used_bytes() { return domain().heap.used_bytes(); }
  std::uint64_t capacity() { return domain().heap.capacity_bytes(); }
  const std::string& name() const { return store_->shared->file(); }
  nb::object validate() {
    const char* fault = domain().validate();
    return fault == nullptr ? nb::none() : nb::object(nb::str(fault));
  }
  void close() {
    store_->shared->close();
    if (store_.use_count() == 1) store_->shared->leave();  // else the last view does it
  }

 private:
  runtime::Domain& domain() {
    (void)store_->use();
    return store_->shared->domain();
  }

  [[noreturn]] void raise_unknown(ObjectId id) {
    const std::string text = "there is no object " + python::object_id_hex(id) + " in " + name() +
                             ": never put, deleted, or evicted (eviction='error' refuses new objects instead)";
    PyErr_SetString(PyExc_KeyError, text.c_str());
    nb::raise_python_error();
  }

  [[noreturn]] void raise_put_error(BlobResult result, std::size_t size, const std::optional<ObjectId>& id, int system_error) {
    switch (result) {
      case BlobResult::kExists:
        throw nb::value_error(("object " + python::object_id_hex(id.value_or(ObjectId{})) +
                               " exists already, and objects never change: delete it first, or put under another ref")
                                  .c_str());
      case BlobResult::kNoName:
        throw nb::value_error(("object " + python::object_id_hex(id.value_or(ObjectId{})) +
                               " cannot be put: this store gives such ids itself; put under ObjectRef(), or without a ref")
                                  .c_str());
      case BlobResult::kNoSlot:
        PyErr_Format(PyExc_MemoryError,
                     "all %u object entries are in use by objects that cannot be evicted; delete some, or make the store "
                     "with a larger max_objects",
                     domain().objects.slots.capacity());
        break;
      case BlobResult::kSystem:
        python::set_system_error(system_error, "shared memory is full: no pages for an object");
        break;
      case BlobResult::kDone:
      case BlobResult::kFull:
        python::raise_store_full("full", size, domain().heap.used_bytes(), domain().heap.capacity_bytes(), 0);
        break;
      case BlobResult::kTooLarge:
        python::raise_store_full("too large", size, domain().heap.used_bytes(), domain().heap.capacity_bytes(), 0);
        break;
    }
    nb::raise_python_error();
  }

  std::shared_ptr<OpenStore> store_;
};

std::optional<ObjectId> optional_id(nb::handle ref) {
  return ref.is_none() ? std::nullopt : std::optional<ObjectId>(id_of(ref));
}

bool is_name(nb::handle value) { return python::is_object_ref(value.ptr()) || nb::isinstance<ObjectId>(value); }

}  // namespace

void add_object_store(nb::module_& module) {
  blob_view_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  if (blob_view_type == nullptr) nb::raise_python_error();
  nb::class_<ObjectStore>(
      module, "ObjectStore",
      "Byte strings in shared memory, for all processes that open the same name.\n\n"
      "Objects live until they are deleted or, least recently used first, evicted; refs do not keep them. Safe to use\n"
      "from several threads and, after fork, in the child.")
      .def(nb::init<bool, std::optional<std::string>, std::optional<std::uint64_t>, const std::string&, std::uint32_t>(),
           nb::arg("create") = true, nb::arg("name") = nb::none(), nb::arg("capacity") = nb::none(),
           nb::arg("eviction") = "lru", nb::arg("max_objects") = 1'000'000,
           "Make a store (the main process), or open it (``create=False``).\n\n"
           "Args:\n"
           "    create: True makes the segment, which goes when this process closes it or ends; a dead program's is taken "
           "over.\n"
           "    name: None is ``miniray_objectstore`` in /dev/shm; another name gives ``miniray_<name>_objectstore``.\n"
           "    capacity: Bytes, reserved only as they are used; None is 30% of what /dev/shm has free. Ignored when opening.\n"
           "    eviction: ``\"lru\"`` drops the least recently used objects when the store is full, ``\"error\"`` refuses new "
           "ones.\n"
           "    max_objects: Entries at most. Ignored when opening.\n\n"
           "Raises:\n"
           "    FileExistsError: A live process made a store of that name; the text names it.\n"
           "    FileNotFoundError: Opened before it was made.\n"
           "    PermissionError: The segment is another user's, or readable by others.\n"
           "    RuntimeError: Another layout version, or a damaged segment.")
      .def(
          "put",
          [](ObjectStore& self, nb::object data, nb::object ref) {
            if (is_name(data) && !is_name(ref)) std::swap(data, ref);
            return self.put(data, optional_id(ref));
          },
          nb::arg("data"), nb::arg("ref") = nb::none(),
          nb::sig("def put(self, data: object, ref: ObjectRef[Any] | ObjectID | None = None) -> ObjectRef[Any]"),
          "Store bytes and return their ref. Copies once; blocks only while the store is changed.\n\n"
          "Args:\n    data: Bytes-like, or a list of integers 0 to 255.\n    ref: An ObjectRef or ObjectID to put it under.\n\n"
          "Raises:\n    ValueError: The ref has an object already; objects never change.\n"
          "    ObjectStoreFullError: No room, and nothing that may be evicted.")
      .def("get", &ObjectStore::get, nb::arg("ref"), nb::sig("def get(self, ref: ObjectRef[Any] | ObjectID) -> bytes"),
           "Return the bytes of an object: a copy.\n\nRaises:\n    KeyError: No such object.")
      .def("get_view", &ObjectStore::get_view, nb::arg("ref"),
           nb::sig("def get_view(self, ref: ObjectRef[Any] | ObjectID) -> memoryview"),
           "Return the bytes of an object where they lie: a read-only memoryview, no copy.\n\n"
           "The memory stays as long as the view or anything made from it, whatever happens to the object or the store.\n\n"
           "Raises:\n    KeyError: No such object.")
      .def("contains", &ObjectStore::contains, nb::arg("ref"),
           nb::sig("def contains(self, ref: ObjectRef[Any] | ObjectID) -> bool"), "Return whether there is such an object now.")
      .def("__contains__", &ObjectStore::contains, nb::arg("ref"),
           nb::sig("def __contains__(self, ref: ObjectRef[Any] | ObjectID) -> bool"))
      .def("delete", &ObjectStore::erase, nb::arg("ref"), nb::sig("def delete(self, ref: ObjectRef[Any] | ObjectID) -> None"),
           "Delete an object; views of it keep its memory.\n\nRaises:\n    KeyError: No such object, or deleted already.")
      .def("remove", &ObjectStore::erase, nb::arg("ref"), nb::sig("def remove(self, ref: ObjectRef[Any] | ObjectID) -> None"),
           "The same as ``delete``.")
      .def("size", &ObjectStore::size, "Return how many objects there are.")
      .def("__len__", &ObjectStore::size)
      .def_prop_ro("used_bytes", &ObjectStore::used_bytes, "Bytes that objects of more than 32 bytes take, with rounding.")
      .def_prop_ro("capacity", &ObjectStore::capacity, "Bytes that objects may take.")
      .def_prop_ro("name", &ObjectStore::name, "File in /dev/shm.")
      .def("close", &ObjectStore::close, "Leave the store; in the process that made it, remove it. Twice is harmless.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __enter__(self) -> ObjectStore"))
      .def(
          "__exit__", [](ObjectStore& self, const nb::args&) { self.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"))
      .def("_validate", &ObjectStore::validate, nb::sig("def _validate(self) -> str | None"));
}

}  // namespace miniray::bindings
