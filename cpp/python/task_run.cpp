#include "python/task_run.hpp"

#include <algorithm>
#include <unordered_map>

#include "python/after_task.hpp"
#include "python/begun_call.hpp"
#include "python/call_threads.hpp"
#include "python/caller.hpp"
#include "python/objects.hpp"
#include "python/outcome.hpp"
#include "python/placement_groups.hpp"
#include "python/raised.hpp"
#include "python/streams.hpp"

namespace miniray::python {

WorkerHooks& worker_hooks = never_destroyed<WorkerHooks>();
MINIRAY_STATIC_TLS thread_local constinit Index next_call = shm::kNone;
bool runs_several = false;

namespace {

auto& functions = never_destroyed<std::unordered_map<Index, Function>>();

Function* find_function(ObjectKey key) {
  Function& function = functions[key.slot];
  if (function.callable && function.generation == key.generation) return &function;
  const store::PayloadView view = session->domain.objects.view(key.slot);
  std::uint32_t name_bytes = 0;
  MINIRAY_SOUND(view.size_bytes >= 16, "objects: a function ends too early");
  std::memcpy(&name_bytes, view.data + 4, sizeof(name_bytes));
  const std::uint64_t start = 8 + (name_bytes + 7ULL) / 8 * 8;
  MINIRAY_SOUND(start <= view.size_bytes - 8, "objects: a function's name is longer than the function");
  Function fresh;  // in the place of the old one as a whole: loading lets other threads run
  fresh.name.reset(PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(view.data) + 8, name_bytes, "replace"));
  std::uint64_t pickle_bytes = 0;
  std::memcpy(&pickle_bytes, view.data + start, sizeof(pickle_bytes));
  MINIRAY_SOUND(pickle_bytes <= view.size_bytes - start - 8, "objects: a function ends too early");
  Owned bytes(
      PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.data) + start + 8, static_cast<Py_ssize_t>(pickle_bytes)));
  Owned loaded(bytes && fresh.name ? PyObject_CallOneArg(worker_hooks.load_function.get(), bytes.get()) : nullptr);
  if (!loaded) return nullptr;
  PyObject *callable = nullptr, *retry_on = nullptr, *threads = nullptr;
  unsigned long long max_calls = 0;
  if (!PyArg_ParseTuple(loaded.get(), "OOKO", &callable, &retry_on, &max_calls, &threads)) return nullptr;
  fresh.callable.reset(Py_NewRef(callable));
  fresh.retry_on.reset(Py_NewRef(retry_on));
  fresh.threads.reset(Py_NewRef(threads));
  fresh.max_calls = max_calls;
  fresh.generation = key.generation;
  function = std::move(fresh);
  return &function;
}

// Puts large results in place; then seals everything, ends the task and takes the next lease, or the actor's next call.
bool complete(Outcome& outcome, Index task) {
  Domain& domain = session->domain;
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  // A worker that died may have sealed the first of many results (T4); the others are left.
  MINIRAY_SOUND(entry.result_count.get() == outcome.results.size(), "tasks: the number of results changed");
  std::size_t sealed = outcome.results.size();
  for (Index object = entry.first_result.get(); object != shm::kNone; object = domain.objects[object].next_result.get()) {
    MINIRAY_SOUND(sealed != 0, "tasks: more results than the task has");
    --sealed;
  }
  std::size_t position = sealed;
  for (Index object = entry.first_result.get(); object != shm::kNone;
       object = domain.objects[object].next_result.get(), ++position) {
    MINIRAY_SOUND(position < outcome.results.size(), "tasks: more results than the task has");
    Encoder& encoder = outcome.results[position];
    const std::uint64_t size = encoder.payload_size();
    if (size <= store::kInlineBytes) continue;
    PayloadMemory memory;
    do {
      if (!memory.reserve(object, size, encoder.reference_count())) return false;
      encoder.write(memory);
    } while (!memory.finish());
  }
  if (const int error = domain.ensure_rows(0, 0, 0); error != 0) return set_system_error(error, "shared memory is full");
  if (takes_next) will_look();  // call_threads.hpp [K3]
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  position = sealed;
  for (Index object = entry.first_result.get(); object != shm::kNone; ++position) {
    if (transaction.room() < 1024) transaction.commit();
    MINIRAY_SOUND(position < outcome.results.size() && domain.objects[object].current_state() == store::ObjectState::kPending,
                  "tasks: a result that is to be made is there already");
    Encoder& encoder = outcome.results[position];
    const Index next = domain.objects[object].next_result.get();
    if (encoder.payload_size() <= store::kInlineBytes) {
      (void)domain.objects.reserve(transaction, object, encoder.payload_size(), false);
      encoder.write_inline(domain.objects.payload_for_write(object));
    }
    for (const ObjectKey& reference : encoder.references()) {
      if (transaction.room() < 1024) transaction.commit();
      domain.objects.add_contained(transaction, object, reference);
    }
    if (domain.objects[object].references.get() == 0) outcome.unread = outcome.unread || outcome.results.is_error(position);
    domain.scheduler.seal(transaction, object,
                          outcome.results.is_error(position) ? store::ObjectState::kError : store::ObjectState::kSealed, wakes);
    object = next;
  }
  flush_releases(transaction);
  if (transaction.room() < 2048) transaction.commit();
  MINIRAY_FAULT_POINT("task.before_done");
  if (entry.is_call()) {
    domain.scheduler.finish_call(transaction, task);
    if (!runs_several || takes_next) next_call = domain.scheduler.begin_call(transaction, domain.self());
  } else if (entry.actor.get() != shm::kNone) {
    domain.scheduler.finish_creation(transaction, domain.self(), wakes);
  } else {
    domain.scheduler.finish_lease(transaction, domain.self(), wakes);
  }
  session->current_task = shm::kNone;
  transaction.close();
  MINIRAY_FAULT_POINT("task.after_done");
  domain.perform(wakes);
  domain.own_entry().tasks_run.store_relaxed(domain.own_entry().tasks_run.load_relaxed() + 1);
  return true;
}

void drop_results(const scheduler::TaskEntry& entry) {
  Domain& domain = session->domain;
  Transaction transaction(domain.lock);
  debug::WalkLimit limit = domain.scheduler.result_limit();
  for (Index object = entry.first_result.get(); object != shm::kNone; object = domain.objects[object].next_result.get()) {
    limit.step();
    domain.objects.discard_payload(transaction, object);
  }
}

bool wants_retry(const scheduler::TaskEntry& entry, const Function* function) {
  if (function == nullptr || !PyErr_ExceptionMatches(PyExc_Exception) || entry.retries_left.get() == 0 ||
      entry.has(scheduler::kCancelled) || function->retry_on.get() == Py_None)
    return false;
  if (function->retry_on.get() == Py_True) return true;
  if (!PyTuple_Check(function->retry_on.get())) return false;
  return PyErr_ExceptionMatches(function->retry_on.get()) != 0;
}

}  // namespace

std::uint64_t parent_sequence() {
  if (session->current_task != shm::kNone) return session->domain.scheduler.tasks[session->current_task].sequence.get();
  return runs_several ? running_call().sequence : 0;
}

Function* begin_function(const scheduler::TaskEntry& task) {
  Function* function = find_function({task.function.get(), task.function_generation.get()});
  if (function == nullptr) return nullptr;
  static PyObject* last_threads = nullptr;
  static std::uint64_t last_gpus = 0;
  const std::uint64_t gpus = session->domain.own_entry().gpus.get();
  if (last_threads != function->threads.get() || last_gpus != gpus) {
    const Owned held(PyLong_FromUnsignedLongLong(gpus));
    Owned none(held ? PyObject_CallFunctionObjArgs(worker_hooks.before_task.get(), function->threads.get(), held.get(), nullptr)
                    : nullptr);
    if (!none) return nullptr;
    Py_XSETREF(last_threads, Py_NewRef(function->threads.get()));
    last_gpus = gpus;
  }
  return function;
}

void forget_functions() { functions.clear(); }

PyObject* task_name(const scheduler::TaskEntry& task) {
  const auto found = functions.find(task.function.get());
  if (found == functions.end() || !found->second.name) Py_RETURN_NONE;
  return Py_NewRef(found->second.name.get());
}

PyObject* task_callable(const scheduler::TaskEntry& task) {
  const auto found = functions.find(task.function.get());
  if (found == functions.end() || !found->second.callable) Py_RETURN_NONE;
  return Py_NewRef(found->second.callable.get());
}

bool decode_arguments(const scheduler::TaskEntry& task, Arguments& arguments, bool& is_dependency) {
  auto& [values, names, positional] = arguments;
  const Index object = task.arguments.get();
  const std::uint64_t pair_bytes = 8ULL * task.inline_references.get();
  const std::byte* base = task.inline_bytes + pair_bytes;
  std::uint64_t size = task.inline_bytes_used.get();
  MINIRAY_SOUND(size <= scheduler::kInlineArgumentBytes && (object != shm::kNone || pair_bytes <= size),
                "tasks: more bytes than a row has room for");
  size -= object != shm::kNone ? 0 : pair_bytes;
  PayloadPin pin;
  if (object != shm::kNone) {
    store::PayloadView view;
    if (!pin.acquire(session->domain.objects.key(object), view)) return false;
    base = view.data;
    size = view.value_bytes();
  }
  Decoder decoder(base, size, object);
  const auto header = decoder.take<std::uint64_t>();
  positional = static_cast<Py_ssize_t>(header >> 8 & 0xFFFFFF);
  const auto named = static_cast<Py_ssize_t>(header >> 32);
  MINIRAY_SOUND(static_cast<std::uint64_t>(positional + named) <= decoder.left(), "tasks: more arguments than bytes of them");
  names.reset(named > 0 ? PyTuple_New(named) : nullptr);
  values.reserve(static_cast<std::size_t>(positional + named));
  for (Py_ssize_t i = 0; i < positional + named; ++i) {
    if (i >= positional) {
      PyObject* name = decoder.item();
      if (name == nullptr) return false;
      PyTuple_SET_ITEM(names.get(), i - positional, name);
      MINIRAY_SOUND(PyUnicode_Check(name), "tasks: a name of an argument is no text");
      PyUnicode_InternInPlace(&name);
      PyTuple_SET_ITEM(names.get(), i - positional, name);
    }
    ObjectKey key;
    PyObject* value = nullptr;
    if (decoder.try_reference(key)) {
      value = get_value(key, platform::kForever);
      is_dependency = value == nullptr;
    } else {
      value = decoder.item();
      if (value != nullptr && PyExceptionInstance_Check(value) && PyObject_IsInstance(value, hooks.ray_error) == 1) {
        Owned error(value);  // a RayError given as an argument is a failed argument, as in Ray
        raise_object(value);
        value = nullptr;
        is_dependency = true;
      }
    }
    if (value == nullptr) return false;
    values.emplace_back(value);
  }
  return decoder.finish();
}

// The actor that this process hosts ends; `record` tells why, for kInitFailed with the current Python error.
bool end_own_actor(Function* function, bool is_dependency, scheduler::ActorEndRecord record) {
  Domain& domain = session->domain;
  Index error = shm::kNone;
  if (record.end == scheduler::ActorEnd::kInitFailed) {
    Outcome outcome;
    if (!encode_error(outcome, function, 1, is_dependency)) return false;
    error = write_object(outcome.results[0]);
    if (error == shm::kNone) PyErr_Clear();
  }
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  ObjectKey key;
  if (error != shm::kNone) {
    key = domain.objects.key(error);
    domain.scheduler.seal(transaction, error, store::ObjectState::kError, wakes);
  } else if (record.end == scheduler::ActorEnd::kInitFailed) {
    record.end = scheduler::ActorEnd::kDied;  // no room for the error
  }
  domain.scheduler.end_actor(transaction, domain.own_entry().actor.get(), record, key, wakes);
  if (error != shm::kNone) (void)domain.objects.unhold(transaction, domain.self(), error);
  session->current_task = shm::kNone;
  transaction.close();
  domain.perform(wakes);
  return true;
}

bool run_task(Index task, bool& leave) {
  Domain& domain = session->domain;
  MINIRAY_FAULT_POINT("task.claimed");
  session->current_task = task;
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  Owned result;
  bool is_dependency = false;
  if (!entry.is_call()) note_captured_placement(entry);
  Function* function = begin_function(entry);
  if (function != nullptr) {
    Arguments given;
    if (decode_arguments(entry, given, is_dependency)) {
      PyObject* few[9];
      std::vector<PyObject*> many(given.values.size() < std::size(few) ? 0 : given.values.size() + 1);
      PyObject** arguments = many.empty() ? few : many.data();
      for (std::size_t i = 0; i < given.values.size(); ++i) arguments[i + 1] = given.values[i].get();
      session->runs_user_code = !entry.is_call();
      if (entry.has(scheduler::kCancelled)) {  // after runs_user_code is set: a later cancellation interrupts
        PyErr_SetNone(PyExc_KeyboardInterrupt);
      } else {
        result.reset(PyObject_Vectorcall(function->callable.get(), arguments + 1,
                                         static_cast<std::size_t>(given.positional) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                         given.names.get()));
      }
      session->runs_user_code = false;
    }
  }
  return finish_run(task, function, result.get(), is_dependency, leave);
}

bool finish_run(Index task, Function* function, PyObject* result, bool is_dependency, bool& leave) {
  Domain& domain = session->domain;
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  const std::uint32_t result_count = entry.result_count.get();
  Outcome outcome;
  bool has_yielded = false;
  if (entry.has(scheduler::kStreams) && result != nullptr) {
    has_yielded = true;
    if (PyErr_Occurred() == nullptr && result != Py_None && run_stream(task, result) == Streamed::kGone) {
      PyErr_Clear();
      return true;
    }
  }
  if (entry.is_call() && entry.has(scheduler::kCancelled)) {  // whatever came of it: as in Ray
    PyErr_Clear();
    PyErr_SetNone(PyExc_KeyboardInterrupt);
  } else if (result != nullptr && PyErr_Occurred() == nullptr) {
    encode_results(outcome, result, entry);
  }
  if (function != nullptr) {
    ++function->calls;
    leave = function->max_calls != 0 && function->calls >= function->max_calls;
  }
  if (PyErr_Occurred() != nullptr) {
    const bool is_exit = PyErr_ExceptionMatches(PyExc_SystemExit) != 0;
    if (entry.actor.get() != shm::kNone && (is_exit || !entry.is_call())) {
      scheduler::ActorEndRecord record{scheduler::kActorEndFormat, scheduler::ActorEnd::kLeft, {}, 0, 0, 0};
      if (!is_exit) record.end = scheduler::ActorEnd::kInitFailed;
      leave = true;
      return end_own_actor(function, is_dependency, record) && !is_exit;
    }
    if (is_exit) return false;  // ends the worker
    if (wants_retry(entry, function)) {
      PyErr_Clear();
      scheduler::Wakes wakes;
      Transaction transaction(domain.lock);
      flush_releases(transaction);
      if (entry.is_call()) {
        domain.scheduler.repeat_call(transaction, task);
        if (!runs_several) next_call = domain.scheduler.begin_call(transaction, domain.self());
      } else {
        domain.scheduler.repeat_lease(transaction, domain.self(), wakes);
      }
      session->current_task = shm::kNone;
      transaction.close();
      domain.perform(wakes);
      return true;
    }
    if (!outcome.keeps) outcome.results.clear();
    // What a generator raises is its last item; it has completed all the same, unless it was cancelled.
    const bool is_item = has_yielded && !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    if (!encode_error(outcome, function, is_item ? 1 : result_count, is_dependency)) return false;
    if (is_item && !encode_result(outcome, Py_None)) return false;
  }
  const Owned done(is_called_after_task() ? PyObject_CallNoArgs(worker_hooks.after_task.get()) : Py_NewRef(Py_None));
  if (!done && entry.is_call() && PyErr_ExceptionMatches(PyExc_SystemExit)) {  // exit_actor() was called, and caught
    PyErr_Clear();
    leave = true;
    return end_own_actor(function, false, {scheduler::kActorEndFormat, scheduler::ActorEnd::kLeft, {}, 0, 0, 0});
  }
  if (!done) PyErr_Clear();
  if (complete(outcome, task)) {
    if (outcome.unread) {
      Owned told(PyObject_CallOneArg(worker_hooks.unread_error.get(), outcome.error.get()));
      if (!told) PyErr_Clear();
    }
    return true;
  }
  // The store has no room for the result: that is the result then, and if there is none for that error either, a record that needs none.
  std::uint64_t needed = 0;
  for (std::size_t i = 0; i < outcome.results.size(); ++i) needed = std::max(needed, outcome.results[i].payload_size());
  drop_results(entry);
  Outcome failure;
  if (!encode_error(failure, function, result_count, false)) return false;
  if (complete(failure, task)) return true;
  PyErr_Clear();
  drop_results(entry);
  Outcome record;
  const scheduler::NoRoomRecord no_room{scheduler::kNoRoomFormat, {}, needed};
  for (std::uint32_t i = 0; i < result_count; ++i) {
    record.results.add(true).add_bytes(&no_room, sizeof(no_room));
  }
  return complete(record, task);
}

}  // namespace miniray::python
