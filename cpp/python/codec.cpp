#include "python/codec.hpp"

#include <cstring>

#include "scheduler/scheduler.hpp"

namespace miniray::python {

namespace {

constexpr int kTupleDepth = 3;
constexpr Py_ssize_t kTupleItems = 16;
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kReleaseGilBytes = 1 << 20;

constexpr std::uint64_t round_up(std::uint64_t size, std::uint64_t unit) noexcept { return (size + unit - 1) / unit * unit; }

// --- a read-only view of a sealed payload, which keeps the object ----------------------------------------------------

struct ViewObject {
  PyObject_HEAD const char* data;
  Py_ssize_t size;
  Index object;
  std::uint64_t epoch;
};
PyTypeObject* view_type = nullptr;

int view_get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  auto* view = reinterpret_cast<ViewObject*>(self);
  return PyBuffer_FillInfo(buffer, self, const_cast<char*>(view->data), view->size, 1, flags);
}

void view_dealloc(PyObject* self) {
  auto* view = reinterpret_cast<ViewObject*>(self);
  if (session != nullptr && view->epoch == epoch) count_down(view->object);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

PyType_Slot view_slots[] = {
    {Py_tp_doc, const_cast<char*>("Read-only memory of a sealed object; keeps the object while it is in use.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(view_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(view_get_buffer)},
    {0, nullptr},
};
PyType_Spec view_spec = {"miniray._miniray_core.PayloadView", sizeof(ViewObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};

PyObject* make_view(const char* data, std::uint64_t size, Index object) {
  ViewObject* view = PyObject_New(ViewObject, view_type);
  if (view == nullptr) return nullptr;
  view->data = data;
  view->size = static_cast<Py_ssize_t>(size);
  view->object = object;
  view->epoch = epoch;
  (void)count_up(object);  // the caller holds the object, so its hold bit is set
  return reinterpret_cast<PyObject*>(view);
}

// PyObject_CallFunction's keyword names for pickle.dumps(value, protocol=5, buffer_callback=...).
PyObject* dumps_keywords() {
  static PyObject* names = Py_BuildValue("(ss)", "protocol", "buffer_callback");
  return names;
}
PyObject* loads_keywords() {
  static PyObject* names = Py_BuildValue("(s)", "buffers");
  return names;
}
PyObject* protocol_five() {
  static PyObject* five = PyLong_FromLong(5);
  return five;
}

}  // namespace

// --- writing -------------------------------------------------------------------------------------------------------

Encoder::~Encoder() {
  for (Buffer& buffer : buffers_) PyBuffer_Release(&buffer.view);
  if (data_ != stack_) PyMem_Free(data_);
}

void Encoder::grow(std::size_t more) {
  std::size_t wanted = capacity_ * 2;
  while (wanted < size_ + more) wanted *= 2;
  auto* fresh = static_cast<char*>(PyMem_Malloc(wanted));
  MINIRAY_REQUIRE(fresh != nullptr);
  std::memcpy(fresh, data_, size_);
  if (data_ != stack_) PyMem_Free(data_);
  data_ = fresh;
  capacity_ = wanted;
}

void Encoder::add_bytes(const void* data, std::size_t size) {
  if (size_ + size > capacity_) [[unlikely]]
    grow(size);
  std::memcpy(data_ + size_, data, size);
  size_ += size;
}

void Encoder::start_value(std::uint64_t header) { put(header); }

bool Encoder::add(PyObject* value) {
  const std::size_t before = size_;
  const std::size_t references_before = references_.size();
  if (add_native(value, 0)) return true;
  size_ = before;
  references_.resize(references_before);
  if (PyErr_Occurred() != nullptr) return false;
  return add_pickled(value);
}

// False without an error: not a value of the native encoding.
bool Encoder::add_native(PyObject* value, int depth) {
  PyTypeObject* type = Py_TYPE(value);
  if (value == Py_None) {
    put('N');
  } else if (type == &PyBool_Type) {
    put(value == Py_True ? 'T' : 'F');
  } else if (type == &PyLong_Type) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
    put('i');
    put(static_cast<std::int64_t>(number));
  } else if (type == &PyFloat_Type) {
    put('d');
    put(PyFloat_AS_DOUBLE(value));
  } else if (type == &PyUnicode_Type) {
    Py_ssize_t length = 0;
    const char* text = PyUnicode_AsUTF8AndSize(value, &length);
    if (text == nullptr) {
      PyErr_Clear();  // lone surrogates: pickle can
      return false;
    }
    if (length > 0xFFFFFFF0LL) return false;
    put('s');
    put(static_cast<std::uint32_t>(length));
    add_bytes(text, static_cast<std::size_t>(length));
  } else if (type == &PyBytes_Type) {
    put('b');
    put(static_cast<std::uint64_t>(PyBytes_GET_SIZE(value)));
    add_bytes(PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value)));
  } else if (type == &PyTuple_Type) {
    const Py_ssize_t count = PyTuple_GET_SIZE(value);
    if (depth >= kTupleDepth || count > kTupleItems) return false;
    put('t');
    put(static_cast<std::uint8_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PyTuple_GET_ITEM(value, i);
      // One object twice must stay one object: pickle keeps that, this encoding does not.
      if (PyTuple_CheckExact(item) || PyBytes_CheckExact(item)) {
        for (Py_ssize_t j = 0; j < i; ++j) {
          if (PyTuple_GET_ITEM(value, j) == item) return false;
        }
      }
      if (!add_native(item, depth + 1)) return false;
    }
  } else if (type == object_ref_type) {
    if (!check_object_ref(value)) return false;
    const ObjectKey key = key_of(value);
    put('R');
    put(key.slot);
    put(key.generation);
    references_.push_back(key);
  } else {
    return false;
  }
  return true;
}

bool Encoder::add_pickled(PyObject* value) {
  RefCollector collector;
  Owned buffers(PyList_New(0));
  Owned append(buffers ? PyObject_GetAttrString(buffers.get(), "append") : nullptr);
  if (!append) return false;
  PyObject* arguments[] = {value, protocol_five(), append.get()};
  Owned pickle(PyObject_Vectorcall(hooks.dumps, arguments, 1, dumps_keywords()));
  const bool by_name = pickle && PyBytes_GET_SIZE(pickle.get()) > 0 &&
                       memmem(PyBytes_AS_STRING(pickle.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(pickle.get())),
                              "__main__", 8) != nullptr;
  if (!pickle || by_name) {
    // What pickle refuses, or would send as a name that only this process knows.
    if (!pickle && !PyErr_ExceptionMatches(PyExc_Exception)) return false;
    PyErr_Clear();
    collector.pickled.clear();
    buffers.reset(PyList_New(0));
    append.reset(buffers ? PyObject_GetAttrString(buffers.get(), "append") : nullptr);
    if (!append) return false;
    pickle.reset(PyObject_CallFunction(hooks.dumps_slow, "OOs", value, append.get(), pickling_what));
    if (!pickle) return false;
    if (!PyBytes_Check(pickle.get())) {
      PyErr_SetString(PyExc_TypeError, "serialization gave no bytes");
      return false;
    }
  }
  references_.insert(references_.end(), collector.pickled.begin(), collector.pickled.end());
  const Py_ssize_t count = PyList_GET_SIZE(buffers.get());
  put('P');
  put(static_cast<std::uint32_t>(count));
  put(static_cast<std::uint64_t>(PyBytes_GET_SIZE(pickle.get())));
  for (Py_ssize_t i = 0; i < count; ++i) {
    Buffer buffer{};
    if (PyObject_GetBuffer(PyList_GET_ITEM(buffers.get(), i), &buffer.view, PyBUF_ANY_CONTIGUOUS) != 0) return false;
    buffer.patch = size_;
    put(std::uint64_t{0});
    put(static_cast<std::uint64_t>(buffer.view.len));
    buffers_.push_back(buffer);
  }
  add_bytes(PyBytes_AS_STRING(pickle.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(pickle.get())));
  return true;
}

std::uint64_t Encoder::payload_size() const noexcept {
  std::uint64_t size = size_;
  for (const Buffer& buffer : buffers_) size = round_up(size, kAlignment) + static_cast<std::uint64_t>(buffer.view.len);
  return round_up(size, 8) + 8 * references_.size();
}

void Encoder::write(std::byte* base) {
  std::uint64_t position = size_;
  for (const Buffer& buffer : buffers_) {
    position = round_up(position, kAlignment);
    std::memcpy(data_ + buffer.patch, &position, sizeof(position));
    position += static_cast<std::uint64_t>(buffer.view.len);
  }
  std::memcpy(base, data_, size_);
  if (buffers_.empty()) return;
  const auto copy = [&] {
    for (const Buffer& buffer : buffers_) {
      std::uint64_t offset = 0;
      std::memcpy(&offset, data_ + buffer.patch, sizeof(offset));
      std::byte* target = base + offset;
      const auto length = static_cast<std::uint64_t>(buffer.view.len);
      if (length >= kReleaseGilBytes) {
        auto address = reinterpret_cast<std::uintptr_t>(target);
        const std::uintptr_t first = round_up(address, platform::kPageBytes);
        const std::uintptr_t last = (address + length) & ~(platform::kPageBytes - 1);
        platform::populate_for_write(reinterpret_cast<std::byte*>(first), last - first);
      }
      std::memcpy(target, buffer.view.buf, length);
    }
  };
  if (position >= kReleaseGilBytes) {
    GilRelease released;
    copy();
  } else {
    copy();
  }
}

// --- reading -------------------------------------------------------------------------------------------------------

bool Decoder::try_reference(ObjectKey& key) noexcept {
  if (base_[position_] != 'R') return false;
  ++position_;
  key.slot = take<std::uint32_t>();
  key.generation = take<std::uint32_t>();
  return true;
}

PyObject* Decoder::item() {
  switch (take<char>()) {
    case 'N':
      Py_RETURN_NONE;
    case 'T':
      Py_RETURN_TRUE;
    case 'F':
      Py_RETURN_FALSE;
    case 'i':
      return PyLong_FromLongLong(take<std::int64_t>());
    case 'd':
      return PyFloat_FromDouble(take<double>());
    case 's': {
      const auto length = take<std::uint32_t>();
      const char* text = base_ + position_;
      position_ += length;
      return PyUnicode_FromStringAndSize(text, length);
    }
    case 'b': {
      const auto length = take<std::uint64_t>();
      const char* bytes = base_ + position_;
      position_ += length;
      return PyBytes_FromStringAndSize(bytes, static_cast<Py_ssize_t>(length));
    }
    case 't': {
      const auto count = take<std::uint8_t>();
      Owned tuple(PyTuple_New(count));
      if (!tuple) return nullptr;
      for (std::uint8_t i = 0; i < count; ++i) {
        PyObject* value = item();
        if (value == nullptr) return nullptr;
        PyTuple_SET_ITEM(tuple.get(), i, value);
      }
      return tuple.release();
    }
    case 'R': {
      ObjectKey key;
      key.slot = take<std::uint32_t>();
      key.generation = take<std::uint32_t>();
      if (session->counts[key.slot] == 0) fresh_.push_back(key);
      return make_object_ref(key);
    }
    case 'P':
      return pickled();
    default:
      PyErr_SetString(PyExc_RuntimeError, "miniray: damaged payload");
      return nullptr;
  }
}

PyObject* Decoder::pickled() {
  const auto count = take<std::uint32_t>();
  const auto size = take<std::uint64_t>();
  Owned buffers(PyTuple_New(count));
  if (!buffers) return nullptr;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto offset = take<std::uint64_t>();
    const auto length = take<std::uint64_t>();
    PyObject* view = make_view(base_ + offset, length, object_);
    if (view == nullptr) return nullptr;
    PyTuple_SET_ITEM(buffers.get(), static_cast<Py_ssize_t>(i), view);
  }
  Owned pickle(PyMemoryView_FromMemory(const_cast<char*>(base_ + position_), static_cast<Py_ssize_t>(size), PyBUF_READ));
  if (!pickle) return nullptr;
  position_ += size;
  RefCollector collector;
  PyObject* arguments[] = {pickle.get(), buffers.get()};
  PyObject* value = PyObject_Vectorcall(hooks.loads, arguments, 1, loads_keywords());
  fresh_.insert(fresh_.end(), collector.fresh.begin(), collector.fresh.end());
  if (value == nullptr && PyErr_ExceptionMatches(PyExc_Exception)) {
    PyObject *type = nullptr, *raised = nullptr, *traceback = nullptr;
    PyErr_Fetch(&type, &raised, &traceback);
    PyErr_NormalizeException(&type, &raised, &traceback);
    if (traceback != nullptr) (void)PyException_SetTraceback(raised, traceback);
    Owned owned_type(type), owned_raised(raised), owned_traceback(traceback);
    Owned told(PyObject_CallOneArg(hooks.unpickle_error, raised));
    if (told) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(told.get())), told.get());
  }
  return value;
}

PyObject* decode_object_or_error(ObjectKey key, const store::PayloadView& view, bool& is_error) {
  is_error = view.is_error;
  const auto format = static_cast<std::uint8_t>(view.data[0]);
  if (format == scheduler::kCrashFormat) {
    scheduler::CrashRecord record;
    std::memcpy(&record, view.data, sizeof(record));
    return PyObject_CallFunction(hooks.crash_error, "s#iiI", reinterpret_cast<const char*>(view.data) + sizeof(record),
                                 static_cast<Py_ssize_t>(record.name_bytes), record.pid, record.status, record.attempts);
  }
  Decoder decoder(view.data, view.size_bytes, key.slot);
  decoder.seek(8);
  const bool pickled = view.data[8] == std::byte{'P'};
  Owned value(decoder.item());
  if (!decoder.finish() || !value) return nullptr;
  if (!is_error && pickled && hooks.ray_error != nullptr && PyExceptionInstance_Check(value.get())) {
    const int raises = PyObject_IsInstance(value.get(), hooks.ray_error);
    if (raises < 0) return nullptr;
    is_error = raises != 0;
  }
  return value.release();
}

PyObject* decode_object(ObjectKey key, const store::PayloadView& view) {
  bool is_error = false;
  Owned value(decode_object_or_error(key, view, is_error));
  if (!value || !is_error) return value.release();
  if (view.is_error) session->read_errors.push_back(key.slot);
  Owned none(PyObject_CallOneArg(hooks.raise_error, value.get()));
  if (none) PyErr_SetString(PyExc_RuntimeError, "miniray: an error was not raised");
  return nullptr;
}

bool add_view_type(PyObject* module) {
  view_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&view_spec));
  return view_type != nullptr && PyModule_AddObjectRef(module, "PayloadView", reinterpret_cast<PyObject*>(view_type)) == 0;
}

}  // namespace miniray::python
