// python/decoder.cpp - payloads into values: see codec.hpp. Who decodes keeps the payload where it is.
#include <cstring>

#include "python/arrays.hpp"
#include "python/codec_layout.hpp"
#include "python/raised.hpp"
#include "python/store_memory.hpp"
#include "scheduler/scheduler.hpp"

namespace miniray::python {

namespace {

constexpr std::uint64_t kCopiedBytes = 2 << 10;  // small payloads without buffers are copied and read without a pin

// Of the bytes of an ArrayShape: whether they are one, whose members may be read.
bool is_array_shape(const char* facts) noexcept {
  const auto is_bool = [facts](std::size_t place) { return static_cast<unsigned char>(facts[place]) <= 1; };
  int dimensions = 0;
  std::memcpy(&dimensions, facts + offsetof(ArrayShape, dimensions), sizeof(dimensions));
  return std::memchr(facts, 0, sizeof(ArrayShape::type)) != nullptr && is_bool(offsetof(ArrayShape, is_fortran)) &&
         is_bool(offsetof(ArrayShape, is_time)) && dimensions >= 0 && dimensions <= ArrayShape::kDimensions;
}

PyObject* loads_keywords() {
  static PyObject* names = Py_BuildValue("(s)", "buffers");
  return names;
}

}  // namespace

ObjectKey Decoder::take_reference() {
  ObjectKey key;
  key.slot = take<std::uint32_t>();
  key.generation = take<std::uint32_t>();
  MINIRAY_SOUND(is_possible(key), "objects: a payload refers to what is not there");
  return key;
}

bool Decoder::try_reference(ObjectKey& key) {
  if (left() == 0 || base_[position_] != 'R') return false;
  ++position_;
  key = take_reference();
  return true;
}

PyObject* Decoder::item(int depth) {
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
      return PyUnicode_FromStringAndSize(skip(length), length);
    }
    case 'b': {
      const auto length = take<std::uint64_t>();
      const char* bytes = skip(length);
      return PyBytes_FromStringAndSize(bytes, static_cast<Py_ssize_t>(length));
    }
    case 'B': {
      const char* bytes = nullptr;
      std::uint64_t length = 0;
      PayloadPin pin;
      Index object = object_;
      if (!place(bytes, length, pin, object)) return nullptr;
      PyObject* copy = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(length));
      if (copy == nullptr) return nullptr;
      if (length >= kReleaseGilBytes) {
        const GilRelease released;
        std::memcpy(PyBytes_AS_STRING(copy), bytes, length);
      } else {
        std::memcpy(PyBytes_AS_STRING(copy), bytes, length);
      }
      return copy;
    }
    case 'A': {
      ArrayShape shape;
      const char* facts = skip(sizeof(shape));
      MINIRAY_SOUND(is_array_shape(facts), "objects: an array of impossible shape");
      std::memcpy(&shape, facts, sizeof(shape));
      const char* data = nullptr;
      std::uint64_t length = 0;
      PayloadPin pin;
      Index object = object_;
      Owned memory(place(data, length, pin, object) ? make_view(data, length, object) : nullptr);
      return memory ? make_array(shape, memory.get()) : nullptr;
    }
    case 't': {
      const auto count = take<std::uint8_t>();
      MINIRAY_SOUND(depth <= kTupleDepth, "objects: tuples in tuples without end");
      Owned tuple(PyTuple_New(count));
      if (!tuple) return nullptr;
      for (std::uint8_t i = 0; i < count; ++i) {
        PyObject* value = item(depth + 1);
        if (value == nullptr) return nullptr;
        PyTuple_SET_ITEM(tuple.get(), i, value);
      }
      return tuple.release();
    }
    case 'R': {
      const ObjectKey key = take_reference();
      if (session->counts[key.slot] == 0) fresh_.push_back(key);
      return make_object_ref(key);
    }
    case 'P':
      return pickled();
    default:
      debug::found_damage("objects: a payload is no value");
  }
}

// Takes a place. `pin` keeps its source, and `object` becomes it, when that is another object than this one.
bool Decoder::place(const char*& data, std::uint64_t& size, PayloadPin& pin, Index& object) {
  const auto offset = take<std::uint64_t>();
  size = take<std::uint64_t>();
  const auto source = take<std::uint64_t>();
  const char* base = base_;
  std::uint64_t end = end_;
  if (source != 0) {
    store::PayloadView view;
    const ObjectKey key{static_cast<Index>(source), static_cast<std::uint32_t>(source >> 32)};
    if (!pin.acquire(key, view)) return false;
    base = reinterpret_cast<const char*>(view.data);
    end = view.value_bytes();
    object = key.slot;
  }
  MINIRAY_SOUND(offset <= end && size <= end - offset, "objects: a part of a payload lies outside of it");
  data = base + offset;
  return true;
}

PyObject* Decoder::pickled() {
  const auto count = take<std::uint32_t>();
  auto size = take<std::uint64_t>();
  const char* far_pickle = nullptr;
  if (size == kFarPickle) {
    PayloadPin none;
    Index object = object_;
    if (!place(far_pickle, size, none, object)) return nullptr;
  }
  MINIRAY_SOUND(count <= left(), "objects: more buffers than a payload has room for");
  Owned buffers(PyTuple_New(count));
  if (!buffers) return nullptr;
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* data = nullptr;
    std::uint64_t length = 0;
    PayloadPin pin;
    Index object = object_;
    PyObject* view = place(data, length, pin, object) ? make_view(data, length, object) : nullptr;
    if (view == nullptr) return nullptr;
    PyTuple_SET_ITEM(buffers.get(), static_cast<Py_ssize_t>(i), view);
  }
  const char* start = far_pickle != nullptr ? far_pickle : skip(size);
  Owned pickle(PyMemoryView_FromMemory(const_cast<char*>(start), static_cast<Py_ssize_t>(size), PyBUF_READ));
  if (!pickle) return nullptr;
  RefCollector collector;
  PyObject* arguments[] = {pickle.get(), buffers.get()};
  PyObject* value = PyObject_Vectorcall(hooks.loads, arguments, 1, loads_keywords());
  fresh_.insert(fresh_.end(), collector.fresh.begin(), collector.fresh.end());
  if (value == nullptr && PyErr_ExceptionMatches(PyExc_Exception)) {
    const Owned raised(take_raised());
    raise_object(Owned(PyObject_CallOneArg(hooks.unpickle_error, raised.get())).get());
  }
  return value;
}

namespace {

// The text of a note about a death, None when there is none any more.
PyObject* read_death_note(std::uint32_t number) {
  if (number == 0) Py_RETURN_NONE;
  char text[scheduler::kNoteBytes];
  std::size_t size = 0;
  {
    Transaction transaction(session->domain.lock);
    size = session->domain.header().scheduler.death_notes.read(number, text);
  }
  if (size == 0) Py_RETURN_NONE;
  return PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(size), "replace");
}

// Of a payload in memory that stays: inline, pinned, or a copy.
// The error of a call that an actor will not answer: the handle object tells how it ended.
PyObject* decode_actor_end(Index object, const store::PayloadView& view) {
  store::ObjectTable& objects = session->domain.objects;
  scheduler::ActorEndRecord record;
  std::memcpy(&record, view.data, sizeof(record));
  const ObjectKey handle = objects.contained(object, 0);
  Owned error(Py_NewRef(Py_None));
  if (record.end != scheduler::ActorEnd::kUnavailable) {
    std::memcpy(&record, objects.view(handle.slot).data, sizeof(record));
    if (record.end == scheduler::ActorEnd::kInitFailed) {
      const ObjectKey cause = objects.contained(handle.slot, 0);
      bool is_error = false;
      error.reset(decode_object_or_error(cause, objects.view(cause.slot), is_error));
    }
  }
  Owned note(read_death_note(record.note));
  if (!note || !error) return nullptr;
  const std::string name = object_id_hex(handle.id(objects.nonce()));
  return PyObject_CallFunction(hooks.actor_error, "siiiOO", name.c_str(), static_cast<int>(record.end), record.pid,
                               record.status, note.get(), error.get());
}

PyObject* decode_in_place(ObjectKey key, const store::PayloadView& view, bool& is_error) {
  is_error = view.is_error;
  const std::uint64_t size_bytes = view.value_bytes();
  MINIRAY_SOUND(size_bytes >= 8, "objects: a payload ends too early");
  const auto format = static_cast<std::uint8_t>(view.data[0]);
  if (format == scheduler::kCrashFormat) {
    scheduler::CrashRecord record;
    MINIRAY_SOUND(size_bytes >= sizeof(record), "objects: a payload ends too early");
    std::memcpy(&record, view.data, sizeof(record));
    MINIRAY_SOUND(record.name_bytes <= size_bytes - sizeof(record), "objects: a payload ends too early");
    Owned note(read_death_note(record.note));
    if (!note) return nullptr;
    return PyObject_CallFunction(hooks.crash_error, "s#iiIiO", reinterpret_cast<const char*>(view.data) + sizeof(record),
                                 static_cast<Py_ssize_t>(record.name_bytes), record.pid, record.status, record.attempts,
                                 static_cast<int>(record.cause), note.get());
  }
  if (format == scheduler::kActorEndFormat) return decode_actor_end(key.slot, view);
  if (format == scheduler::kNoRoomFormat) {
    scheduler::NoRoomRecord record;
    MINIRAY_SOUND(size_bytes >= sizeof(record), "objects: a payload ends too early");
    std::memcpy(&record, view.data, sizeof(record));
    const store::PageHeap& heap = session->domain.heap;
    return make_store_full("result", record.needed_bytes, heap.used_bytes(), heap.capacity_bytes(), 0);
  }
  Decoder decoder(view.data, size_bytes, key.slot);
  decoder.seek(8);
  const bool pickled = decoder.left() != 0 && view.data[8] == std::byte{'P'};
  Owned value(decoder.item());
  if (!decoder.finish() || !value) return nullptr;
  if (!is_error && pickled && hooks.ray_error != nullptr && PyExceptionInstance_Check(value.get())) {
    const int raises = PyObject_IsInstance(value.get(), hooks.ray_error);
    if (raises < 0) return nullptr;
    is_error = raises != 0;
  }
  return value.release();
}

bool has_places(const std::byte* payload, std::uint64_t size_bytes) noexcept {
  if (size_bytes < 13) return false;  // no place fits
  // A tuple may hold anything.
  if (payload[8] != std::byte{'P'})
    return payload[8] == std::byte{'A'} || payload[8] == std::byte{'B'} || payload[8] == std::byte{'t'};
  std::uint32_t count = 0;
  std::memcpy(&count, payload + 9, sizeof(count));
  return count != 0;
}

}  // namespace

PyObject* decode_object_or_error(ObjectKey key, const store::PayloadView& view, bool& is_error) {
  if (!view.in_heap) return decode_in_place(key, view, is_error);
  if (!view.is_spilled && view.value_bytes() <= kCopiedBytes) {
    std::byte copy[kCopiedBytes];
    if (session->domain.objects.try_copy(key, view, copy) && !has_places(copy, view.value_bytes())) {
      store::PayloadView copied = view;
      copied.data = copy;
      return decode_in_place(key, copied, is_error);
    }
  }
  PayloadPin pin;
  store::PayloadView pinned;
  if (!pin.acquire(key, pinned)) return nullptr;
  return decode_in_place(key, pinned, is_error);
}

PyObject* decode_object(ObjectKey key, const store::PayloadView& view) {
  bool is_error = false;
  Owned value(decode_object_or_error(key, view, is_error));
  if (!value || !is_error) return value.release();
  if (view.is_error && session->counts[key.slot] != 0) session->read_errors.push_back(key.slot);
  Owned none(PyObject_CallOneArg(hooks.raise_error, value.get()));
  if (none) PyErr_SetString(PyExc_RuntimeError, "miniray: an error was not raised");
  return nullptr;
}

}  // namespace miniray::python
