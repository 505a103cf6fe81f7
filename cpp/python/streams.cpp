// python/streams.cpp - see streams.hpp.
//
// Invariants  scheduler/stream_entry.hpp.
//             Z1 who makes a stream looks under the lock whether the row is still its call's: the actor of several calls at once may end
//                while one yields.
//             Z2 position counts what this run yielded: what an earlier run has made is passed over (M6).
#include "python/streams.hpp"

#include "python/call_site.hpp"
#include "python/codec.hpp"
#include "python/guard.hpp"
#include "python/raised.hpp"
#include "python/waiting.hpp"

namespace miniray::python {

namespace {

using scheduler::StreamRecord;
using scheduler::TaskEntry;
using Yield = scheduler::Scheduler::Yield;

// A task or call that yields, as long as it is one.
struct Producer {
  Index task;
  std::uint64_t sequence;

  explicit Producer(Index number) : task(number), sequence(row().sequence.get()) {}
  [[nodiscard]] const TaskEntry& row() const { return session->domain.scheduler.tasks[task]; }
  [[nodiscard]] bool runs() const {
    return row().sequence.get() == sequence && row().worker.get() == session->domain.self().packed() &&
           row().state.get() == static_cast<std::uint32_t>(scheduler::TaskState::kLeased);
  }
  [[nodiscard]] Index stream() const { return session->domain.scheduler.stream_of(task); }
  [[nodiscard]] StreamRecord& record() const { return session->domain.scheduler.stream_record(stream()); }
};

enum class Added : std::uint8_t { kGoesOn, kIsOver, kFailed, kGone };

// One value becomes an item. kFailed: a Python error is set.
Added add_value(const Producer& producer, PyObject* value) {
  Domain& domain = session->domain;
  Encoder encoder;
  encoder.start_value(kValueFormat);
  pickling_what = "yielded value";
  if (!encoder.add(value)) return Added::kFailed;
  if (!producer.runs()) return Added::kGone;
  StreamRecord& record = producer.record();
  const Index tail = record.tail.get();
  if (record.is_given_up() || producer.row().first_result.get() != tail) return Added::kIsOver;
  const std::uint64_t size = encoder.payload_size();
  const bool is_inline = size <= store::kInlineBytes;
  if (!is_inline) {
    PayloadMemory memory;
    do {
      if (!memory.reserve(tail, size, encoder.reference_count())) return Added::kFailed;
      encoder.write(memory);
    } while (!memory.finish());
  }
  if (records_call_sites) [[unlikely]]
    note_call_site(domain.objects.key(tail));
  std::size_t counted = 0;
  for (;;) {
    if (const int error = domain.ensure_rows(1, 0, 0); error != 0) {
      set_system_error(error, "shared memory is full: no room for object entries");
      return Added::kFailed;
    }
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    if (!producer.runs()) return Added::kGone;
    if (is_inline && counted == 0) {
      (void)domain.objects.reserve(transaction, tail, size, false);
      encoder.write_inline(domain.objects.payload_for_write(tail));
    }
    for (; counted < encoder.references().size(); ++counted) {
      if (transaction.room() < 1024) transaction.commit();
      domain.objects.add_contained(transaction, tail, encoder.references()[counted]);
    }
    if (transaction.room() < 2048) transaction.commit();
    MINIRAY_FAULT_POINT("stream.before_item");
    const Yield made = domain.scheduler.add_item(transaction, producer.task, wakes);
    if (made == Yield::kNoRow && !domain.objects.slots.is_full()) continue;
    if (made == Yield::kNoRow) {
      domain.objects.discard_payload(transaction, tail);
      transaction.close();
      PyErr_Format(PyExc_MemoryError,
                   "miniray: all %u object entries are in use. Drop unused ObjectRefs, or raise init(object_capacity=...).",
                   domain.objects.slots.capacity());
      return Added::kFailed;
    }
    flush_releases(transaction);
    transaction.close();
    MINIRAY_FAULT_POINT("stream.after_item");
    domain.perform(wakes);
    return made == Yield::kGoesOn ? Added::kGoesOn : Added::kIsOver;
  }
}

// While a signal may interrupt user code of a task.
class UserCode {
 public:
  explicit UserCode(bool is_task) noexcept : is_task_(is_task) {
    if (is_task_) session->runs_user_code = true;
  }
  ~UserCode() {
    if (is_task_) session->runs_user_code = false;
  }
  UserCode(const UserCode&) = delete;
  UserCode& operator=(const UserCode&) = delete;

 private:
  bool is_task_;
};

// The next value; null at the end, or with a Python error.
PyObject* next_value(const Producer& producer, PyObject* iterator, bool is_task) {
  const UserCode running(is_task);
  if (is_task && producer.row().has(scheduler::kCancelled)) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    return nullptr;
  }
  return PyIter_Next(iterator);
}

// Until the stream has room. False with a Python error.
bool wait_for_room(const Producer& producer, bool is_task) {
  const UserCode running(is_task);
  while (producer.runs() && !producer.record().has_room()) {
    const ObjectKey stream = session->domain.objects.key(producer.stream());
    if (wait_for_objects({stream}, 1, false, platform::kForever) == Waited::kError) return false;
  }
  return true;
}

// Ends the generator: what it has in `finally` runs. Keeps the Python error, if one is set.
void close_generator(PyObject* iterator) {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyGen_Check(iterator)) {
    const Owned none(PyObject_CallMethod(iterator, "close", nullptr));
    if (!none) PyErr_WriteUnraisable(iterator);
  }
  PyErr_Restore(type, value, traceback);
}

// A run that ends before what an earlier one has made.
bool check_replay(const Producer& producer, std::uint64_t position) {
  const std::uint64_t produced = producer.record().produced.get();
  if (position >= produced) return true;
  const Owned module(PyImport_ImportModule("miniray.exceptions"));
  const Owned error(module ? PyObject_CallMethod(module.get(), "StreamingGeneratorReplayInconsistentError", "N",
                                                 PyUnicode_FromFormat("the generator was run again and yielded %llu values, "
                                                                      "after it had yielded %llu in the run before",
                                                                      static_cast<unsigned long long>(position),
                                                                      static_cast<unsigned long long>(produced)))
                           : nullptr);
  raise_object(error.get());
  return false;
}

// A call of this process by its number; false with a Python error.
bool parse_call(PyObject* number, Index& task) {
  task = static_cast<Index>(PyLong_AsUnsignedLong(number));
  return PyErr_Occurred() == nullptr;
}

// _add_item(call, value, position): for a coroutine that yields. 0: nobody reads on; 1: an item, go on; 2: wait for room first.
PyObject* add_item(PyObject*, PyObject* args) {
  PyObject *number = nullptr, *value = nullptr;
  unsigned long long position = 0;
  Index task = shm::kNone;
  if (!PyArg_ParseTuple(args, "OOK", &number, &value, &position) || !parse_call(number, task)) return nullptr;
  if (session == nullptr || session->domain.own_entry().actor.get() == shm::kNone) return PyLong_FromLong(0);
  const Producer producer(task);
  if (position >= producer.record().produced.get()) {
    const Added added = add_value(producer, value);
    if (added == Added::kFailed) return nullptr;
    if (added != Added::kGoesOn) return PyLong_FromLong(0);
  }
  if (producer.row().has(scheduler::kCancelled)) return PyLong_FromLong(0);
  return PyLong_FromLong(producer.record().has_room() ? 1 : 2);
}

// _await_room(call): None when there is room; otherwise (number of the session, bare ref), which _collect_awaited() gives when there is.
PyObject* await_room(PyObject*, PyObject* number) {
  Index task = shm::kNone;
  if (!parse_call(number, task)) return nullptr;
  if (session == nullptr || session->domain.own_entry().actor.get() == shm::kNone) Py_RETURN_NONE;
  const Producer producer(task);
  const ObjectKey stream = session->domain.objects.key(producer.stream());
  switch (session->awaited.add(stream)) {
    case runtime::StandingWait::Added::kWaits:
      return Py_BuildValue("(KN)", static_cast<unsigned long long>(epoch),
                           make_bare_object_ref(stream.id(session->domain.objects.nonce())));
    case runtime::StandingWait::Added::kSealed:
      Py_RETURN_NONE;
    case runtime::StandingWait::Added::kNoRoom:
      break;
  }
  PyErr_SetString(PyExc_MemoryError, "miniray: no room in shared memory to wait for a reader");
  return nullptr;
}

PyMethodDef functions[] = {
    {"_add_item", guarded<add_item>, METH_VARARGS, nullptr},
    {"_await_room", guarded<await_room>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

Streamed run_stream(Index task, PyObject* generator) {
  const Producer producer(task);
  const bool is_task = !producer.row().is_call();
  const Owned iterator(PyObject_GetIter(generator));
  if (!iterator) return Streamed::kFailed;
  for (std::uint64_t position = 0;; ++position) {
    const Owned value(next_value(producer, iterator.get(), is_task));
    if (!producer.runs()) return Streamed::kGone;
    if (!value) return PyErr_Occurred() == nullptr && check_replay(producer, position) ? Streamed::kDone : Streamed::kFailed;
    Added added = position < producer.record().produced.get() ? Added::kGoesOn : add_value(producer, value.get());
    if (added == Added::kGoesOn && !wait_for_room(producer, is_task)) added = Added::kFailed;
    if (added == Added::kGoesOn && !producer.runs()) added = Added::kGone;
    if (added == Added::kGoesOn && !(producer.row().has(scheduler::kCancelled) && !is_task)) continue;
    close_generator(iterator.get());
    if (added == Added::kFailed) return Streamed::kFailed;
    return added == Added::kGone || !producer.runs() ? Streamed::kGone : Streamed::kDone;
  }
}

bool add_stream_functions(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace miniray::python
