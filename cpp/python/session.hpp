// python/session.hpp - this process's part of a session: the attached domain, its own reference counts, and the Python hooks.
//
// Invariants  Y1 everything here is guarded by the GIL, except what the domain's lock guards.
//             Y2 counts[slot] is how many ObjectRefs of this process name that object; the process's hold bit in shared memory is set
//                while it is above 0, and until the next flush after it came to 0.
//             Y2p pins[slot] is how many views and readers of this process look at that object's payload; the pin bit is set while it
//                is above 0.
//             Y3 while a call is inside (SessionUse), the session stays: close waits for it, and `ends` makes waits give up.
//             Y4 `epoch` changes with each session; an ObjectRef of another epoch never touches shared memory.
//             Y5 in a poisoned session (shm/lock.hpp L7) every call raises; closing it works.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "runtime/spilling.hpp"
#include "runtime/wait.hpp"

namespace miniray::python {

using runtime::Domain;
using runtime::ObjectKey;
using shm::Index;
using shm::Transaction;

// What the value being pickled is for: the word in the error message. A static string.
extern const char* pickling_what;

// Python callables and types the core needs for what is rare; set once by configure_hooks().
struct Hooks {
  PyObject* dumps_slow = nullptr;      // (value, buffer_callback) -> bytes; cloudpickle; raises TypeError that explains
  PyObject* loads = nullptr;           // pickle.loads
  PyObject* dumps = nullptr;           // pickle.dumps
  PyObject* crash_error = nullptr;     // (name, pid, status, attempts, cause, note) -> exception
  PyObject* raise_error = nullptr;     // (exception) -> raises what the user sees
  PyObject* ray_error = nullptr;       // type RayError
  PyObject* timeout_error = nullptr;   // type GetTimeoutError
  PyObject* store_full = nullptr;      // (reason, needed bytes, used bytes, capacity bytes, system error) -> exception
  PyObject* lost_error = nullptr;      // (ref, reason) -> exception
  PyObject* auto_init = nullptr;       // () -> None
  PyObject* unpickle_error = nullptr;  // (exception) -> exception to raise in its place
  PyObject* actor_error = nullptr;     // (actor id, ActorEnd, pid, status, note, error of the constructor or None) -> exception
  PyObject* unread_error = nullptr;    // (exception): an error object goes that nobody here has read
  PyObject* awaiting = nullptr;        // (ref) -> iterator that gives its value, as __await__ does
  PyObject* future = nullptr;          // (ref) -> concurrent.futures.Future
  PyObject* as_future = nullptr;       // (ref) -> asyncio.Future
  PyObject* task_id = nullptr;         // (number of a task) -> TaskID
};

// A number for each slot, 0 at first. Not of malloc(): memory that was freed before would be touched as a whole, in every worker.
class SlotNumbers {
 public:
  SlotNumbers() = default;
  ~SlotNumbers() {
    if (numbers_ != nullptr) platform::unmap(reinterpret_cast<std::byte*>(numbers_), size_bytes());
  }
  SlotNumbers(const SlotNumbers&) = delete;
  SlotNumbers& operator=(const SlotNumbers&) = delete;
  // Once; throws std::bad_alloc.
  void begin(std::uint32_t slots) {
    count_ = slots + 1;
    numbers_ = reinterpret_cast<std::uint32_t*>(platform::map_zeros(size_bytes()));
    if (numbers_ == nullptr) throw std::bad_alloc();
  }
  [[nodiscard]] std::uint32_t& operator[](Index slot) noexcept { return numbers_[slot]; }
  void forget_all() noexcept { std::fill_n(numbers_, count_, 0); }

 private:
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return std::uint64_t{count_} * sizeof(std::uint32_t); }
  std::uint32_t* numbers_ = nullptr;
  std::uint32_t count_ = 0;
};

struct Session {
  Domain domain;
  runtime::StandingWait awaited{domain};
  std::uint64_t epoch = 0;
  std::uint32_t processors = 1;
  bool is_worker = false;
  SlotNumbers counts;
  SlotNumbers pins;
  SlotNumbers waited;  // by slot: number of the last wait that was about it
  std::uint32_t wait_number = 0;
  std::uint32_t block_count = 0;   // StoreBlocks alive
  std::vector<Index> unverified;   // spilled payloads that a thread reads to compare their checksum, without the GIL
  std::vector<Index> read_errors;  // objects in error that were raised here; small, errors are rare
  std::vector<Index> releases;     // objects whose count came to 0 and whose hold bit may still be set
  Index current_task = shm::kNone;
  std::uint64_t captured = 0;   // placement group that what this process submits belongs to, unless it says otherwise; 0: none
  bool runs_user_code = false;  // the main thread is in the function of current_task, which may be interrupted
  unsigned long main_thread = 0;
  std::atomic<bool> ends = false;           // being closed: no new calls
  std::atomic<bool> awaiting_ends = false;  // whoever awaits is to be told so, before the workers are ended
  std::uint32_t uses = 0;                   // calls inside, of all threads
  std::string name;
};

extern Session* session;     // null while none is attached
extern std::uint64_t epoch;  // of the current session; never reused
extern Hooks hooks;

MINIRAY_STATIC_TLS extern thread_local constinit std::uint32_t uses_of_this_thread;
// One call of a thread that uses the session; pickling may run user code in between, which lets other threads run.
class SessionUse {
 public:
  SessionUse() noexcept : session_(session) {
    ++session_->uses;
    ++uses_of_this_thread;
  }
  ~SessionUse() {
    --session_->uses;
    --uses_of_this_thread;
  }
  SessionUse(const SessionUse&) = delete;
  SessionUse& operator=(const SessionUse&) = delete;

 private:
  Session* session_;
};

inline constexpr std::size_t kReleaseBatch = 64;
inline constexpr std::uint64_t kReleaseAtOnceBytes = 64 << 10;

// Whether a key that was read from a payload can be an index of `counts` and `pins`; its object may be gone.
inline bool is_possible(ObjectKey key) noexcept { return key.slot - 1 < session->domain.objects.slots.capacity(); }
// Counts one more use of an object of this session. True when it is the first: its hold bit must be set before the GIL is given up.
inline bool count_up(Index slot) noexcept { return session->counts[slot]++ == 0; }
// Counts one use less; may flush.
void count_down(Index slot) noexcept;
// Drops the hold bits of objects nobody here names any more. At most kReleaseBatch of them.
void flush_releases(Transaction& transaction);
void flush_releases_now();
// Sets hold bits for objects just counted up; false and a Python error when one is gone.
bool hold_all(const std::vector<ObjectKey>& keys);

// One look at a payload. While it exists the payload stays where it is; views made meanwhile keep it further.
class PayloadPin {
 public:
  PayloadPin() = default;
  ~PayloadPin() { release(); }
  PayloadPin(const PayloadPin&) = delete;
  PayloadPin& operator=(const PayloadPin&) = delete;
  // Of a sealed object that the caller keeps. False with a Python error: it is gone, or its spilled payload is damaged.
  bool acquire(ObjectKey key, store::PayloadView& view);
  void release() noexcept;

 private:
  bool verify(ObjectKey key);  // of a spilled payload; false with a Python error, and released
  Index slot_ = shm::kNone;
};
// Counts one more look at a payload that this process has pinned already.
inline void pin_up(Index slot) noexcept { ++session->pins[slot]; }
void pin_down(Index slot) noexcept;

// Memory for a payload that is about to be written: in the heap, or where that is full in the spill file.
class PayloadMemory {
 public:
  // Room for an encoded payload, written by write() and ended by finish(). False with a Python error (full store, full disk) and
  // nothing left behind.
  bool reserve(Index object, std::uint64_t size_bytes, std::uint32_t contained_count);
  // The same for memory that the caller writes at base(): always in the heap.
  bool reserve_in_heap(Index object, std::uint64_t size_bytes);
  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  void write(std::uint64_t position, const void* data, std::uint64_t size_bytes);  // needs no GIL
  // The bytes are in place. False: there was no room after all; reserve and write again.
  [[nodiscard]] bool finish();

 private:
  Index object_ = shm::kNone;
  std::byte* base_ = nullptr;
  bool in_file_ = false;
  bool is_fresh_ = false;
  bool may_grow_ = true;
  runtime::FreshWriter fresh_;
  runtime::PayloadWindow window_;

  bool reserve(const runtime::PayloadDemand& demand);
};
// A new object in state kWriting, held by this process; kNone with a Python error. Without a payload yet.
Index create_writing_object();
void discard_writing_object(Index slot) noexcept;
bool set_system_error(int error, const char* what);
PyObject* make_store_full(const char* reason, std::uint64_t needed, std::uint64_t used, std::uint64_t capacity,
                          int system_error);  // the exception, or nullptr with a Python error
void raise_store_full(const char* reason, std::uint64_t needed, std::uint64_t used, std::uint64_t capacity, int system_error);
PyObject* raise_lost(ObjectKey key, const char* reason);

// Ready-made checks.
bool require_session();   // starts one when allowed; false with a Python error, also when it is poisoned
bool require_attached();  // poisoned or not; false with a Python error

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// A function that takes more than (self, argument), as PyMethodDef wants it; its flags tell Python how to call it.
template <class Function>
PyCFunction as_method(Function* function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

struct Decref {
  void operator()(PyObject* object) const noexcept { Py_XDECREF(object); }
};
using Owned = std::unique_ptr<PyObject, Decref>;

// A global of type T that is never destroyed. C's exit() destroys globals in whatever thread calls it, without the GIL and beside threads
// that still run: what holds Python objects, or is read by others, must outlive that.
template <class T>
T& never_destroyed() {
  return *new T();
}

}  // namespace miniray::python
