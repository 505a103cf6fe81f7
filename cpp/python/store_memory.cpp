#include "python/store_memory.hpp"

#include "python/guard.hpp"

#include <cstring>
#include <map>

#include "runtime/write_guard.hpp"
#include "store/page_heap.hpp"

namespace miniray::python {

namespace {

auto& regions = never_destroyed<std::map<const std::byte*, StoreRegion>>();

constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 62;
constexpr std::uint64_t kSmallestBlock = 64;  // never inline: a view must not point into the control region

struct ViewObject {
  PyObject_HEAD const char* data;
  Py_ssize_t size;
  Index object;
  std::uint64_t epoch;
};
struct BlockObject {
  PyObject_HEAD std::byte* data;
  Py_ssize_t size;
  ObjectKey key;
  std::uint64_t epoch;
  bool is_sealed;
};
PyTypeObject* view_type = nullptr;
PyTypeObject* block_type = nullptr;

ViewObject* as_view(PyObject* self) noexcept { return reinterpret_cast<ViewObject*>(self); }
BlockObject* as_block(PyObject* self) noexcept { return reinterpret_cast<BlockObject*>(self); }
bool is_of_session(std::uint64_t of_epoch) noexcept { return session != nullptr && of_epoch == epoch; }

int view_get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  return PyBuffer_FillInfo(buffer, self, const_cast<char*>(as_view(self)->data), as_view(self)->size, 1, flags);
}

void view_dealloc(PyObject* self) {
  if (is_of_session(as_view(self)->epoch)) pin_down(as_view(self)->object);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

// Whole pages that belong to the block alone can be protected from late writers; smaller blocks share theirs.
bool has_own_pages(const BlockObject* block) noexcept { return static_cast<std::uint64_t>(block->size) > store::kLargestBlock; }

int block_get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  const BlockObject* block = as_block(self);
  return PyBuffer_FillInfo(buffer, self, block->data, block->size, block->is_sealed ? 1 : 0, flags);
}

void block_dealloc(PyObject* self) {
  BlockObject* block = as_block(self);
  if (is_of_session(block->epoch)) {
    remove_region(block->data);
    --session->block_count;
    if (block->is_sealed) {
      if (has_own_pages(block)) runtime::allow_writing(block->data, static_cast<std::uint64_t>(block->size));
      pin_down(block->key.slot);
    } else {
      runtime::expect_no_range(static_cast<std::uint64_t>(block->size));
    }
    count_down(block->key.slot);
  }
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

Py_ssize_t block_length(PyObject* self) { return as_block(self)->size; }

PyObject* block_get_item(PyObject* self, PyObject* key) {
  Owned memory(PyMemoryView_FromObject(self));
  return memory ? PyObject_GetItem(memory.get(), key) : nullptr;
}

int block_set_item(PyObject* self, PyObject* key, PyObject* value) {
  if (value == nullptr) {
    PyErr_SetString(PyExc_TypeError, "bytes of the store cannot be deleted");
    return -1;
  }
  if (as_block(self)->is_sealed) {
    PyErr_SetString(PyExc_TypeError, "these bytes of the store have been put or returned, and objects never change");
    return -1;
  }
  Owned memory(PyMemoryView_FromObject(self));
  return memory ? PyObject_SetItem(memory.get(), key, value) : -1;
}

// Out of band, so that the encoder finds where it lies; it comes back as a read-only memoryview.
PyObject* block_reduce(PyObject* self, PyObject*) {
  Owned closures(PyImport_ImportModule("miniray._runtime.closures"));
  Owned rebuild(closures ? PyObject_GetAttrString(closures.get(), "rebuild_memoryview") : nullptr);
  Owned buffer(rebuild ? PyPickleBuffer_FromObject(self) : nullptr);
  return buffer ? Py_BuildValue("O(Os(n))", rebuild.get(), buffer.get(), "B", as_block(self)->size) : nullptr;
}

PyObject* block_is_sealed(PyObject* self, void*) { return PyBool_FromLong(as_block(self)->is_sealed); }

// _create_block(nbytes): StoreBlock of uninitialized memory.
PyObject* create_block(PyObject*, PyObject* argument) {
  unsigned long long size = PyLong_AsUnsignedLongLong(argument);
  if (size == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return nullptr;
    PyErr_Clear();  // too large for any store
  }
  if (size > kLargestSize) size = kLargestSize;
  if (!require_session()) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  const Index slot = create_writing_object();
  if (slot == shm::kNone) return nullptr;
  PayloadMemory memory;
  if (!memory.reserve_in_heap(slot, size < kSmallestBlock ? kSmallestBlock : size)) {
    discard_writing_object(slot);
    return nullptr;
  }
  BlockObject* block = PyObject_New(BlockObject, block_type);
  if (block == nullptr) {
    discard_writing_object(slot);
    return nullptr;
  }
  runtime::expect_range(size);
  block->data = memory.base();
  block->size = static_cast<Py_ssize_t>(size);
  block->key = domain.objects.key(slot);
  block->epoch = epoch;
  block->is_sealed = false;
  ++session->block_count;
  (void)count_up(slot);  // its hold bit is set
  add_region(block->data, {block->key, size, reinterpret_cast<PyObject*>(block)});
  return reinterpret_cast<PyObject*>(block);
}

// _fill_zero(block): zeros an unsealed block without the GIL.
PyObject* fill_zero(PyObject*, PyObject* argument) {
  if (!is_store_block(argument) || as_block(argument)->is_sealed)
    return PyErr_Format(PyExc_TypeError, "_fill_zero takes a StoreBlock that is not sealed");
  {
    const GilRelease released;
    std::memset(as_block(argument)->data, 0, static_cast<std::size_t>(as_block(argument)->size));
  }
  Py_RETURN_NONE;
}

// _is_spilled(ref): whether the object's payload lies in the spill file.
PyObject* is_spilled(PyObject*, PyObject* ref) {
  if (!require_session()) return nullptr;
  if (!is_object_ref(ref) || !check_object_ref(ref)) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "_is_spilled takes an ObjectRef");
    return nullptr;
  }
  return PyBool_FromLong(session->domain.objects[key_of(ref).slot].has(store::kSpilled));
}

// _is_in_store(buffer): whether its memory is a block, or a payload that this process looks at.
PyObject* is_in_store(PyObject*, PyObject* argument) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(argument, &buffer, PyBUF_ANY_CONTIGUOUS) != 0) return nullptr;
  const bool found = session != nullptr && find_region(buffer.buf, static_cast<std::uint64_t>(buffer.len)).has_value();
  PyBuffer_Release(&buffer);
  return PyBool_FromLong(found);
}

PyType_Slot view_slots[] = {
    {Py_tp_doc, const_cast<char*>("Read-only memory of a sealed object; keeps the payload while it is in use.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(view_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(view_get_buffer)},
    {0, nullptr},
};
PyType_Spec view_spec = {"miniray._miniray_core.PayloadView", sizeof(ViewObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};
PyGetSetDef block_properties[] = {
    {"sealed", block_is_sealed, nullptr, "Whether it has become (part of) an object, and is read-only.", nullptr}, {}};
PyMethodDef block_methods[] = {{"__reduce_ex__", guarded<block_reduce>, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyType_Slot block_slots[] = {
    {Py_tp_doc, const_cast<char*>("Writable bytes of the object store that are no object yet: see miniray.create().")},
    {Py_tp_methods, block_methods},
    {Py_mp_length, reinterpret_cast<void*>(block_length)},
    {Py_mp_subscript, reinterpret_cast<void*>(block_get_item)},
    {Py_mp_ass_subscript, reinterpret_cast<void*>(block_set_item)},
    {Py_tp_dealloc, reinterpret_cast<void*>(block_dealloc)},
    {Py_tp_getset, block_properties},
    {Py_bf_getbuffer, reinterpret_cast<void*>(block_get_buffer)},
    {0, nullptr},
};
PyType_Spec block_spec = {"miniray._miniray_core.StoreBlock", sizeof(BlockObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, block_slots};
PyMethodDef functions[] = {{"_create_block", guarded<create_block>, METH_O, nullptr},
                           {"_is_in_store", guarded<is_in_store>, METH_O, nullptr},
                           {"_is_spilled", guarded<is_spilled>, METH_O, nullptr},
                           {"_fill_zero", guarded<fill_zero>, METH_O, nullptr},
                           {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_region(const std::byte* address, const StoreRegion& region) { regions[address] = region; }
void remove_region(const std::byte* address) noexcept { regions.erase(address); }
void forget_regions() noexcept { regions.clear(); }

std::optional<std::pair<StoreRegion, std::uint64_t>> find_region(const void* data, std::uint64_t size_bytes) {
  const auto* start = static_cast<const std::byte*>(data);
  auto found = regions.upper_bound(start);
  if (found == regions.begin()) return std::nullopt;
  --found;
  const auto offset = static_cast<std::uint64_t>(start - found->first);
  if (offset > found->second.size_bytes || size_bytes > found->second.size_bytes - offset) return std::nullopt;
  return std::pair(found->second, offset);
}

PyObject* refer_to_object(ObjectKey key) {
  if (session->counts[key.slot] == 0) {
    Domain& domain = session->domain;
    Transaction transaction(domain.lock);
    if (!domain.objects.is_current(key)) return nullptr;
    (void)domain.objects.hold(transaction, domain.own_entry(), domain.self(), key.slot);
  }
  return make_object_ref(key);
}

bool is_store_block(PyObject* object) noexcept { return Py_TYPE(object) == block_type; }

PyObject* make_view(const char* data, std::uint64_t size_bytes, Index object) {
  ViewObject* view = PyObject_New(ViewObject, view_type);
  if (view == nullptr) return nullptr;
  view->data = data;
  view->size = static_cast<Py_ssize_t>(size_bytes);
  view->object = object;
  view->epoch = epoch;
  pin_up(object);
  return reinterpret_cast<PyObject*>(view);
}

void seal_block(PyObject* object) {
  BlockObject* block = as_block(object);
  if (block->is_sealed || !is_of_session(block->epoch)) return;
  Domain& domain = session->domain;
  {
    Transaction transaction(domain.lock);
    (void)domain.objects.pin(transaction, domain.own_entry(), domain.self(), block->key.slot);
    (void)domain.objects.seal(transaction, block->key.slot, store::ObjectState::kSealed);
  }
  pin_up(block->key.slot);
  block->is_sealed = true;
  if (has_own_pages(block)) runtime::forbid_writing(block->data, static_cast<std::uint64_t>(block->size));
  runtime::expect_no_range(static_cast<std::uint64_t>(block->size));
}

void make_read_only(PyObject* exporter) noexcept {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  static PyObject* const kNames = Py_BuildValue("(s)", "write");
  Owned current(Py_XNewRef(exporter));
  for (int depth = 0; current && !is_store_block(current.get()) && depth < 16; ++depth) {
    Owned set_flags(PyObject_GetAttrString(current.get(), "setflags"));
    PyObject* arguments[] = {Py_False};
    Owned done(set_flags ? PyObject_Vectorcall(set_flags.get(), arguments, 0, kNames) : nullptr);
    if (!done) break;
    current.reset(PyObject_GetAttrString(current.get(), "base"));
  }
  PyErr_Clear();
  PyErr_Restore(type, value, traceback);
}

bool add_store_memory(PyObject* module) {
  view_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  block_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&block_spec));
  return view_type != nullptr && block_type != nullptr && PyModule_AddFunctions(module, functions) == 0 &&
         PyModule_AddObjectRef(module, "PayloadView", reinterpret_cast<PyObject*>(view_type)) == 0 &&
         PyModule_AddObjectRef(module, "StoreBlock", reinterpret_cast<PyObject*>(block_type)) == 0;
}

}  // namespace miniray::python
