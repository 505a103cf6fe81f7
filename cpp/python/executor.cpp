// python/executor.cpp - see executor.hpp.
//
// Invariants  E1 results are sealed, the task ended and the next lease taken in one section: a worker killed before it leaves a lease
//                to repeat, killed after it leaves a finished task.
//             E2 user code runs only between sections, with the lease written.
#include "python/executor.hpp"

#include <algorithm>
#include <unordered_map>

#include "python/caller.hpp"
#include "python/guard.hpp"
#include "python/objects.hpp"

namespace miniray::python {

namespace {

constexpr std::uint64_t kIdleSpinNs = 100'000;
constexpr std::uint64_t kSurplusIdleNs = 2'000'000'000;

struct Function {
  std::uint32_t generation = 0;
  Owned callable;  // what runs
  Owned name;      // str
  Owned retry_on;  // None, True, or a tuple of exception types
  Owned threads;   // OMP_NUM_THREADS for it, a str
  std::uint64_t max_calls = 0;
  std::uint64_t calls = 0;
};

struct WorkerHooks {
  Owned load_function;  // (bytes-like) -> (callable, retry_on, max_calls, OMP_NUM_THREADS)
  Owned on_error;       // (name, exception, whether an argument was the error) -> exception to store
  Owned before_task;    // (OMP_NUM_THREADS) -> None; only when the function changes
  Owned after_output;   // () -> None: flush output
  Owned unread_error;   // (exception) -> None: nobody waits for this error
};

auto& functions = never_destroyed<std::unordered_map<Index, Function>>();
std::uint32_t pool_size = 0;  // workers beyond this many leave when idle for long

// What a call produced: payloads for its results, in order.
struct Outcome {
  std::vector<std::unique_ptr<Encoder>> values;
  std::vector<bool> errors;
  Owned error;          // what was stored, if it was one
  bool unread = false;  // it was stored in an object that nobody refers to
};

bool encode_error(Outcome& outcome, WorkerHooks& worker, Function* function, std::size_t count, bool is_dependency) {
  // Takes the current Python error.
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) (void)PyException_SetTraceback(value, traceback);
  Owned owned_type(type), owned_value(value), owned_traceback(traceback);
  Owned name(function != nullptr ? Py_NewRef(function->name.get()) : PyUnicode_FromString("unknown"));
  Owned stored(
      PyObject_CallFunctionObjArgs(worker.on_error.get(), name.get(), value, is_dependency ? Py_True : Py_False, nullptr));
  if (!stored) return false;
  pickling_what = "error";
  outcome.error.reset(Py_NewRef(stored.get()));
  while (outcome.values.size() < count) {
    auto encoder = std::make_unique<Encoder>();
    encoder->start_value(kErrorFormat);
    if (!encoder->add(stored.get())) return false;
    outcome.values.push_back(std::move(encoder));
    outcome.errors.push_back(true);
  }
  return true;
}

bool encode_result(Outcome& outcome, PyObject* value) {
  auto encoder = std::make_unique<Encoder>();
  encoder->start_value(kValueFormat);
  if (!encoder->add(value)) return false;
  outcome.values.push_back(std::move(encoder));
  outcome.errors.push_back(false);
  return true;
}

Function* find_function(WorkerHooks& worker, ObjectKey key) {
  Function& function = functions[key.slot];
  if (function.callable && function.generation == key.generation) return &function;
  const store::PayloadView view = session->domain.objects.view(key.slot);
  std::uint32_t name_bytes = 0;
  MINIRAY_SOUND(view.size_bytes >= 16, "objects: a function ends too early");
  std::memcpy(&name_bytes, view.data + 4, sizeof(name_bytes));
  const std::uint64_t start = 8 + (name_bytes + 7ULL) / 8 * 8;
  MINIRAY_SOUND(start <= view.size_bytes - 8, "objects: a function's name is longer than the function");
  function = Function{};
  function.name.reset(PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(view.data) + 8, name_bytes, "replace"));
  std::uint64_t pickle_bytes = 0;
  std::memcpy(&pickle_bytes, view.data + start, sizeof(pickle_bytes));
  MINIRAY_SOUND(pickle_bytes <= view.size_bytes - start - 8, "objects: a function ends too early");
  Owned bytes(
      PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.data) + start + 8, static_cast<Py_ssize_t>(pickle_bytes)));
  Owned loaded(bytes && function.name ? PyObject_CallOneArg(worker.load_function.get(), bytes.get()) : nullptr);
  if (!loaded) return nullptr;
  PyObject *callable = nullptr, *retry_on = nullptr, *threads = nullptr;
  unsigned long long max_calls = 0;
  if (!PyArg_ParseTuple(loaded.get(), "OOKO", &callable, &retry_on, &max_calls, &threads)) return nullptr;
  function.callable.reset(Py_NewRef(callable));
  function.retry_on.reset(Py_NewRef(retry_on));
  function.threads.reset(Py_NewRef(threads));
  function.max_calls = max_calls;
  function.generation = key.generation;
  return &function;
}

// The call's arguments as a vector for PyObject_Vectorcall. A dependency in error raises it. The task keeps its arguments alive, and
// views of them are looks of this process at the payload: no hold bit is needed.
bool decode_arguments(const scheduler::TaskEntry& task, std::vector<Owned>& values, Owned& names, Py_ssize_t& positional,
                      bool& is_dependency) {
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
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value)), value);
        value = nullptr;
        is_dependency = true;
      }
    }
    if (value == nullptr) return false;
    values.emplace_back(value);
  }
  return decoder.finish();
}

// Puts large results in place; then seals everything, ends the task and takes the next lease.
bool complete(Outcome& outcome) {
  Domain& domain = session->domain;
  const Index task = domain.own_entry().lease.get();
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  // A worker that died may have sealed the first of many results (T4); the others are left.
  MINIRAY_SOUND(entry.result_count.get() == outcome.values.size(), "tasks: the number of results changed");
  std::size_t sealed = outcome.values.size();
  for (Index object = entry.first_result.get(); object != shm::kNone; object = domain.objects[object].next_result.get()) {
    MINIRAY_SOUND(sealed != 0, "tasks: more results than the task has");
    --sealed;
  }
  std::size_t position = sealed;
  for (Index object = entry.first_result.get(); object != shm::kNone;
       object = domain.objects[object].next_result.get(), ++position) {
    MINIRAY_SOUND(position < outcome.values.size(), "tasks: more results than the task has");
    Encoder& encoder = *outcome.values[position];
    const std::uint64_t size = encoder.payload_size();
    if (size <= store::kInlineBytes) continue;
    PayloadMemory memory;
    do {
      if (!memory.reserve(object, size, encoder.reference_count())) return false;
      encoder.write(memory);
    } while (!memory.finish());
  }
  if (const int error = domain.ensure_rows(0, 0, 0); error != 0) return set_system_error(error, "shared memory is full");
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  position = sealed;
  for (Index object = entry.first_result.get(); object != shm::kNone; ++position) {
    if (transaction.room() < 1024) transaction.commit();
    MINIRAY_SOUND(position < outcome.values.size() && domain.objects[object].current_state() == store::ObjectState::kPending,
                  "tasks: a result that is to be made is there already");
    Encoder& encoder = *outcome.values[position];
    const Index next = domain.objects[object].next_result.get();
    if (encoder.payload_size() <= store::kInlineBytes) {
      (void)domain.objects.reserve(transaction, object, encoder.payload_size(), false);
      encoder.write_inline(domain.objects.payload_for_write(object));
    }
    for (const ObjectKey& reference : encoder.references()) {
      if (transaction.room() < 1024) transaction.commit();
      domain.objects.add_contained(transaction, object, reference);
    }
    domain.scheduler.seal(transaction, object,
                          outcome.errors[position] ? store::ObjectState::kError : store::ObjectState::kSealed, wakes);
    if (domain.objects[object].references.get() == 0) {
      outcome.unread = outcome.unread || outcome.errors[position];
      domain.objects.free(transaction, object);
    }
    object = next;
  }
  flush_releases(transaction);
  if (transaction.room() < 2048) transaction.commit();
  MINIRAY_FAULT_POINT("task.before_done");
  domain.scheduler.finish_lease(transaction, domain.self(), wakes);
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
      function->retry_on.get() == Py_None)
    return false;
  if (function->retry_on.get() == Py_True) return true;
  if (!PyTuple_Check(function->retry_on.get())) return false;
  return PyErr_ExceptionMatches(function->retry_on.get()) != 0;
}

// Runs the leased task. False: the worker must end (a Python error is set, or it asked to leave).
bool run_task(WorkerHooks& worker, bool& leave) {
  Domain& domain = session->domain;
  const Index task = domain.own_entry().lease.get();
  MINIRAY_FAULT_POINT("task.claimed");
  session->current_task = task;
  const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
  const std::uint32_t result_count = entry.result_count.get();
  Outcome outcome;
  Owned result;  // lives until its bytes are in place: it may hold the only ref to an object
  bool is_dependency = false;
  Function* function = find_function(worker, {entry.function.get(), entry.function_generation.get()});
  if (function != nullptr) {
    static PyObject* last_threads = nullptr;
    if (last_threads != function->threads.get()) {
      Owned none(PyObject_CallOneArg(worker.before_task.get(), function->threads.get()));
      if (!none) return false;
      Py_XSETREF(last_threads, Py_NewRef(function->threads.get()));
    }
    {
      std::vector<Owned> values;
      Owned names;
      Py_ssize_t positional = 0;
      if (decode_arguments(entry, values, names, positional, is_dependency)) {
        std::vector<PyObject*> arguments(values.size() + 1);
        for (std::size_t i = 0; i < values.size(); ++i) arguments[i + 1] = values[i].get();
        result.reset(PyObject_Vectorcall(function->callable.get(), arguments.data() + 1,
                                         static_cast<std::size_t>(positional) | PY_VECTORCALL_ARGUMENTS_OFFSET, names.get()));
      }
    }
    if (result) {
      pickling_what = "return value";
      if (result_count == 1) {
        (void)encode_result(outcome, result.get());
      } else if (result_count > 1) {
        Owned items(PySequence_Fast(result.get(), ""));
        if (!items || PySequence_Fast_GET_SIZE(items.get()) != static_cast<Py_ssize_t>(result_count)) {
          PyErr_Clear();
          if (items) {
            PyErr_Format(PyExc_ValueError, "Task returned %zd objects, but num_returns=%u.",
                         PySequence_Fast_GET_SIZE(items.get()), result_count);
          } else {
            PyErr_Format(PyExc_TypeError,
                         "object of type '%s' has no len(): with num_returns=%u a task must return a sequence of that length",
                         Py_TYPE(result.get())->tp_name, result_count);
          }
        }
        for (Py_ssize_t i = 0; PyErr_Occurred() == nullptr && i < static_cast<Py_ssize_t>(result_count); ++i) {
          if (!encode_result(outcome, PySequence_Fast_GET_ITEM(items.get(), i)))
            outcome.values.resize(0), outcome.errors.resize(0);
        }
      }
    }
    ++function->calls;
    leave = function->max_calls != 0 && function->calls >= function->max_calls;
  }
  if (PyErr_Occurred() != nullptr) {
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) return false;  // ends the worker
    if (wants_retry(entry, function)) {
      PyErr_Clear();
      scheduler::Wakes wakes;
      Transaction transaction(domain.lock);
      flush_releases(transaction);
      domain.scheduler.repeat_lease(transaction, domain.self(), wakes);
      session->current_task = shm::kNone;
      transaction.close();
      domain.perform(wakes);
      return true;
    }
    outcome.values.clear();
    outcome.errors.clear();
    if (!encode_error(outcome, worker, function, result_count, is_dependency)) return false;
  }
  Owned flushed(PyObject_CallNoArgs(worker.after_output.get()));
  if (!flushed) PyErr_Clear();
  if (complete(outcome)) {
    if (outcome.unread) {
      Owned told(PyObject_CallOneArg(worker.unread_error.get(), outcome.error.get()));
      if (!told) PyErr_Clear();
    }
    return true;
  }
  // The store has no room for the result: that is the result then, and if there is none for that error either, a record that needs none.
  std::uint64_t needed = 0;
  for (const auto& value : outcome.values) needed = std::max(needed, value->payload_size());
  drop_results(entry);
  Outcome failure;
  if (!encode_error(failure, worker, function, result_count, false)) return false;
  if (complete(failure)) return true;
  PyErr_Clear();
  drop_results(entry);
  Outcome record;
  const scheduler::NoRoomRecord no_room{scheduler::kNoRoomFormat, {}, needed};
  for (std::uint32_t i = 0; i < result_count; ++i) {
    record.values.push_back(std::make_unique<Encoder>());
    record.values.back()->add_bytes(&no_room, sizeof(no_room));
    record.errors.push_back(true);
  }
  return complete(record);
}

// _run_worker(load_function, on_error, before_task, after_output, unread_error, pool_size): returns when the worker is to end.
PyObject* run_worker(PyObject*, PyObject* args) {
  PyObject *load_function = nullptr, *on_error = nullptr, *before_task = nullptr, *after_output = nullptr,
           *unread_error = nullptr;
  if (!PyArg_ParseTuple(args, "OOOOOI", &load_function, &on_error, &before_task, &after_output, &unread_error, &pool_size))
    return nullptr;
  WorkerHooks worker{Owned(Py_NewRef(load_function)), Owned(Py_NewRef(on_error)), Owned(Py_NewRef(before_task)),
                     Owned(Py_NewRef(after_output)), Owned(Py_NewRef(unread_error))};
  Domain& domain = session->domain;
  session->is_worker = true;
  session->main_thread = PyThread_get_thread_ident();
  {
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.add_worker(transaction, domain.self(), wakes);
    transaction.close();
    domain.perform(wakes);
  }
  // Leaves the pool; a lease that has come meanwhile goes back to its queue in the same section, or (false) keeps the worker here.
  const auto retire = [&](bool returns_lease) {
    flush_releases_now();
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    if (domain.own_entry().lease.get() != shm::kNone) {
      if (!returns_lease) return false;
      domain.scheduler.return_lease(transaction, domain.self());
    }
    const bool retired = domain.scheduler.retire(transaction, domain.self());
    domain.scheduler.dispatch(transaction, wakes);
    wakes.doorbell = true;
    transaction.close();
    domain.perform(wakes);
    return retired;
  };
  for (bool leave = false;;) {
    if (leave && retire(true)) Py_RETURN_NONE;
    if (domain.own_entry().lease.get() == shm::kNone) {
      if (!session->releases.empty()) flush_releases_now();
      const bool surplus = domain.header().scheduler.worker_count.get() > pool_size;
      runtime::WaitOutcome outcome = runtime::WaitOutcome::kReady;
      {
        const GilRelease released;
        const std::int64_t deadline =
            surplus ? static_cast<std::int64_t>(platform::monotonic_ns() + kSurplusIdleNs) : platform::kForever;
        outcome = runtime::wait_for_lease(domain, session->processors, kIdleSpinNs, deadline);
      }
      if (outcome == runtime::WaitOutcome::kInterrupted && PyErr_CheckSignals() != 0) return nullptr;
      if (outcome == runtime::WaitOutcome::kTimedOut && domain.header().scheduler.worker_count.get() > pool_size &&
          retire(false))
        Py_RETURN_NONE;
      if (outcome != runtime::WaitOutcome::kReady) continue;
    }
    if (!run_task(worker, leave)) return nullptr;
  }
}

PyObject* current_task_name(PyObject*, PyObject*) {
  if (session == nullptr || session->current_task == shm::kNone) Py_RETURN_NONE;
  const auto found = functions.find(session->domain.scheduler.tasks[session->current_task].function.get());
  if (found == functions.end() || !found->second.name) Py_RETURN_NONE;
  return Py_NewRef(found->second.name.get());
}

PyMethodDef methods[] = {
    {"_run_worker", guarded<run_worker>, METH_VARARGS, nullptr},
    {"_current_task_name", guarded<current_task_name>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_executor_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
