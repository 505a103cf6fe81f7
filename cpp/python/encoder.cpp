// python/encoder.cpp - values into payloads: see codec.hpp.
#include <cstring>

#include "debug/check.hpp"
#include "python/arrays.hpp"
#include "python/codec_layout.hpp"
#include "python/store_memory.hpp"

namespace miniray::python {

namespace {

constexpr Py_ssize_t kTupleItems = 16;
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kFarBytes = 64 << 10;  // more is not copied through the encoder's own memory

constexpr std::uint64_t packed(ObjectKey key) noexcept { return std::uint64_t{key.generation} << 32 | key.slot; }

constexpr std::uint64_t round_up(std::uint64_t size, std::uint64_t unit) noexcept { return (size + unit - 1) / unit * unit; }

bool lies_in_store(PyObject* exporter) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(exporter, &buffer, PyBUF_ANY_CONTIGUOUS) != 0) {
    PyErr_Clear();
    return false;
  }
  const bool found = find_region(buffer.buf, static_cast<std::uint64_t>(buffer.len)).has_value();
  PyBuffer_Release(&buffer);
  return found;
}

// Whether two of it cannot be told from one.
bool is_scalar(PyObject* value) noexcept {
  return value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
         PyUnicode_CheckExact(value) || is_object_ref(value);
}

// PyObject_CallFunction's keyword names for pickle.dumps(value, protocol=5, buffer_callback=...).
PyObject* dumps_keywords() {
  static PyObject* names = Py_BuildValue("(ss)", "protocol", "buffer_callback");
  return names;
}
PyObject* protocol_five() {
  static PyObject* five = PyLong_FromLong(5);
  return five;
}

}  // namespace

Encoder::Encoder() noexcept = default;

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
  const std::size_t buffers_before = buffers_.size();
  if (add_native(value, 0)) return true;
  size_ = before;
  references_.resize(references_before);
  for (; buffers_.size() > buffers_before; buffers_.pop_back()) PyBuffer_Release(&buffers_.back().view);
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
    if (static_cast<std::uint64_t>(PyBytes_GET_SIZE(value)) >= kFarBytes) {
      put('B');
      return add_place(value, false);
    }
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
      if (!is_scalar(item)) {
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
    ArrayShape shape;
    Owned exporter;
    if (!describe_array(value, shape, exporter)) return false;
    // numpy gives no buffer of dates and times; as in Ray they are copied, unless they lie in the store already.
    if (shape.is_time && !lies_in_store(exporter.get())) return false;
    put('A');
    put(shape);
    return add_place(exporter.get(), true);
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
  const bool is_far = static_cast<std::uint64_t>(PyBytes_GET_SIZE(pickle.get())) >= kFarBytes;
  put('P');
  put(static_cast<std::uint32_t>(count));
  put(is_far ? kFarPickle : static_cast<std::uint64_t>(PyBytes_GET_SIZE(pickle.get())));
  if (is_far && !add_place(pickle.get(), false)) return false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!add_place(PyList_GET_ITEM(buffers.get(), i), true)) return false;
  }
  if (!is_far) add_bytes(PyBytes_AS_STRING(pickle.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(pickle.get())));
  return true;
}

// One buffer behind the items; with `may_refer`, of what lies in the store already only its place there.
bool Encoder::add_place(PyObject* exporter, bool may_refer) {
  Buffer buffer{};
  if (PyObject_GetBuffer(exporter, &buffer.view, PyBUF_ANY_CONTIGUOUS) != 0) return false;
  const auto size = static_cast<std::uint64_t>(buffer.view.len);
  buffer.patch = size_;
  buffer.is_copied = true;
  std::uint64_t offset = 0;
  ObjectKey source;
  if (may_refer) {
    if (const auto found = find_region(buffer.view.buf, size)) {
      const auto& [region, inside] = *found;
      // A small part would keep all of its source; a part of a block would end the writing of the rest.
      const bool is_whole = inside == 0 && size == region.size_bytes;
      const bool is_worth = region.block != nullptr ? is_whole : size >= kReferredBytes && 2 * size >= region.size_bytes;
      Owned keeper(is_worth ? (region.block != nullptr ? Py_NewRef(region.block) : refer_to_object(region.key)) : nullptr);
      if (keeper) {
        buffer.is_copied = false;
        offset = inside;
        source = region.key;
        references_.push_back(source);
        sources_.push_back(std::move(keeper));
      }
    }
  }
  put(offset);
  put(size);
  put(packed(source));
  buffers_.push_back(buffer);
  return true;
}

std::uint64_t Encoder::payload_size() const noexcept {
  std::uint64_t size = size_;
  for (const Buffer& buffer : buffers_) {
    if (buffer.is_copied) size = round_up(size, kAlignment) + static_cast<std::uint64_t>(buffer.view.len);
  }
  return round_up(size, 8) + 8 * references_.size();
}

void Encoder::write(PayloadMemory& memory) {
  std::uint64_t position = size_;
  for (const Buffer& buffer : buffers_) {
    if (!buffer.is_copied) continue;
    position = round_up(position, kAlignment);
    std::memcpy(data_ + buffer.patch, &position, sizeof(position));
    position += static_cast<std::uint64_t>(buffer.view.len);
  }
  memory.write(0, data_, size_);
  if (buffers_.empty()) return;
  for (const Owned& source : sources_) {
    if (is_store_block(source.get())) seal_block(source.get());
  }
  const auto copy = [&] {
    for (const Buffer& buffer : buffers_) {
      if (!buffer.is_copied) continue;
      std::uint64_t offset = 0;
      std::memcpy(&offset, data_ + buffer.patch, sizeof(offset));
      memory.write(offset, buffer.view.buf, static_cast<std::uint64_t>(buffer.view.len));
    }
  };
  if (position >= kReleaseGilBytes) {
    GilRelease released;
    copy();
  } else {
    copy();
  }
  for (const Buffer& buffer : buffers_) {
    if (!buffer.is_copied) make_read_only(buffer.view.obj);
  }
}

}  // namespace miniray::python
