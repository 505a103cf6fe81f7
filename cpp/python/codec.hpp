// python/codec.hpp - Python values as bytes: a native encoding of small values, pickle protocol 5 with out-of-band buffers for the rest.
//
// A payload is a format byte, seven bytes of padding, and one item; arguments are a header and one item each. Items, by first byte:
//   N T F        None, True, False            i int64         d double         s u32 length, UTF-8      b u64 length, bytes
//   t u8 count, items (nesting at most kTupleDepth)           R u32 slot, u32 generation: an ObjectRef
//   B place                                      bytes too many to copy twice, behind all items
//   A ArrayShape, place                          numpy array (arrays.hpp)
//   P u32 buffer count, u64 pickle size, count x place, pickle; u64 ~0 as the size: one more place, first, is the pickle's
// A place is (u64 offset, u64 size, u64 source): 64-aligned behind all items of this payload, offset from its start; or, with a source
// (u32 slot, u32 generation), inside the payload of that object, which is among the contained references. Those follow at the very end
// (store/object_table.hpp O6).
// Damage      whoever reads believes no length, offset or count before it is compared with the payload's end: Damage otherwise. What
//             pickle makes of wrong bytes is an error of its own.
// Copies      one: each buffer goes from its owner straight to its place; none when it lies in the store already. Reading copies nothing
//             out of band: views are read-only.
#pragma once

#include <cstring>

#include "python/object_ref.hpp"
#include "python/store_memory.hpp"

namespace miniray::python {

inline constexpr std::uint8_t kValueFormat = 0;
inline constexpr std::uint8_t kErrorFormat = 2;  // the item is an exception
inline constexpr int kTupleDepth = 3;

class Encoder {
 public:
  Encoder() noexcept;  // leaves the bytes as they are
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Appends one item. False with a Python error (TypeError for what cannot be pickled).
  bool add(PyObject* value);
  void add_bytes(const void* data, std::size_t size);
  void start_value(std::uint64_t header);

  // References met, in order; hold them until the bytes are in place. Top-level refs are listed in `dependencies` by the caller.
  [[nodiscard]] const std::vector<ObjectKey>& references() const noexcept { return references_; }
  [[nodiscard]] std::size_t inline_size() const noexcept { return size_; }  // items alone
  [[nodiscard]] bool has_buffers() const noexcept { return !buffers_.empty(); }
  [[nodiscard]] std::uint32_t reference_count() const noexcept { return static_cast<std::uint32_t>(references_.size()); }
  [[nodiscard]] std::uint64_t payload_size() const noexcept;  // items, buffers, room for the references
  // Writes items and buffers; large payloads without the GIL. Seals the blocks among the sources.
  void write(PayloadMemory& memory);
  // The same for a payload that has no buffers.
  void write_inline(std::byte* payload) const noexcept { std::memcpy(payload, data_, size_); }
  [[nodiscard]] const char* items() const noexcept { return data_; }

 private:
  bool add_native(PyObject* value, int depth);
  bool add_pickled(PyObject* value);
  void grow(std::size_t more);
  bool add_place(PyObject* exporter, bool may_refer);
  template <class T>
  void put(T value) {
    add_bytes(&value, sizeof(value));
  }

  static constexpr std::size_t kStackBytes = 512;
  struct Buffer {
    Py_buffer view;
    std::size_t patch;  // where in the items its offset goes
    bool is_copied;     // false: it lies in the store, and stays there
  };
  char stack_[kStackBytes];
  char* data_ = stack_;
  std::size_t size_ = 0;
  std::size_t capacity_ = kStackBytes;
  std::vector<ObjectKey> references_;
  std::vector<Buffer> buffers_;
  std::vector<Owned> sources_;  // what keeps the objects that places refer to; a StoreBlock among them is sealed by write()
};

class Decoder {
 public:
  // `size` without the contained references. `object` (or kNone) is the object the bytes belong to; views of it count as uses of it.
  Decoder(const std::byte* base, std::uint64_t size, Index object) noexcept
      : base_(reinterpret_cast<const char*>(base)), end_(size), object_(object) {}
  void seek(std::uint64_t position) { (void)skip(position - position_); }
  // New reference, or nullptr with a Python error.
  PyObject* item() { return item(0); }
  // The key of an ObjectRef item, without making the ref; false when the next item is something else.
  bool try_reference(ObjectKey& key);
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, skip(sizeof(value)), sizeof(value));
    return value;
  }
  [[nodiscard]] std::uint64_t left() const noexcept { return end_ - position_; }
  // Sets the hold bits of refs that were made; call once after the last item.
  bool finish() { return fresh_.empty() || hold_all(fresh_); }

 private:
  // The next bytes, which are passed.
  const char* skip(std::uint64_t size) {
    MINIRAY_SOUND(size <= end_ - position_, "objects: a payload ends too early");
    const char* start = base_ + position_;
    position_ += size;
    return start;
  }
  ObjectKey take_reference();
  PyObject* item(int depth);
  PyObject* pickled();
  bool place(const char*& data, std::uint64_t& size, PayloadPin& pin, Index& object);
  const char* base_;
  std::uint64_t end_;
  std::uint64_t position_ = 0;
  Index object_;
  std::vector<ObjectKey> fresh_;
};

// The value of a sealed object; raises what it holds when that is an error. The caller keeps the object alive meanwhile.
PyObject* decode_object(ObjectKey key, const store::PayloadView& view);
// The same, but an error comes back as the exception object, with `is_error` set.
PyObject* decode_object_or_error(ObjectKey key, const store::PayloadView& view, bool& is_error);

}  // namespace miniray::python
