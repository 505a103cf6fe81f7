// python/actor_calls.cpp - see actor_calls.hpp.
//
// Invariants  Q1 of an actor that runs several calls at once the main thread alone begins them; any thread ends them.
//             Q2 a call that is begun stays in its row until it is ended, also when the actor ends before: _end_call() then does nothing.
//             Q3 an event loop that sleeps in its selector counts as a sleeper of the process [W1], though it is another thread, the bell,
//                that the wake-up reaches: it waits on the wake word all the time, and writes to the loop's descriptor while `armed`.
// Bell        [Q3] who arms: armed, sleeping + 1, then looks for calls. Caller: calls, wake + 1, then reads sleeping, and wakes. The bell:
//             reads the wake word, looks for calls, sleeps on the word that it read. Whatever comes first, one of them sees the calls.
#include "python/actor_calls.hpp"

#include "python/guard.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

constexpr std::uint64_t kIdleSpinNs = 100'000;
constexpr std::size_t kMostBegun = 1024;

// What the event loop that sleeps, or is about to, is to be woken for.
enum class WakeFor : std::uint8_t { kNothing, kCancels, kCalls };
std::atomic<WakeFor> armed = WakeFor::kNothing;
std::atomic<bool> nudged = false;      // the main thread is wanted
PyObject* running_sequence = nullptr;  // a context variable: sequence of the call that a thread or coroutine runs

bool has_actor() { return session != nullptr && session->domain.own_entry().actor.get() != shm::kNone; }

scheduler::ActorEntry& own_actor() { return session->domain.scheduler.actors[session->domain.own_entry().actor.get()]; }

std::atomic<std::uint32_t> cancels = 0;  // of the actor's row, when its calls were looked at last

bool has_cancels(const scheduler::ActorEntry& actor) { return actor.cancels.get() != cancels.load(); }

bool has_calls(const scheduler::ActorEntry& actor) {
  return actor.first_ready.get() != shm::kNone || actor.has(scheduler::kLeaving) || has_cancels(actor);
}

bool has(WakeFor what, const scheduler::ActorEntry& actor) {
  return what == WakeFor::kCalls ? has_calls(actor) : what == WakeFor::kCancels && has_cancels(actor);
}

// _begin_calls(most): the calls that run from now on, by the numbers of their rows; None when the actor has ended.
PyObject* begin_several(PyObject*, PyObject* most) {
  const std::size_t wanted = PyLong_AsSize_t(most);
  if (wanted == static_cast<std::size_t>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  if (!has_actor()) Py_RETURN_NONE;
  runs_several = true;
  Index calls[kMostBegun];
  bool is_over = false;
  const std::size_t count = begin_calls(calls, wanted < kMostBegun ? wanted : kMostBegun, is_over);
  if (is_over) Py_RETURN_NONE;
  Owned list(PyList_New(static_cast<Py_ssize_t>(count)));
  for (std::size_t i = 0; list && i < count; ++i) {
    PyObject* number = PyLong_FromUnsignedLong(calls[i]);
    if (number == nullptr) return nullptr;
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), number);
  }
  return list.release();
}

bool parse_call(PyObject* number, Index& task) {
  task = static_cast<Index>(PyLong_AsUnsignedLong(number));
  return PyErr_Occurred() == nullptr;
}

PyObject* as_tuple(std::vector<Owned>& values, std::size_t count) {
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(count));
  for (std::size_t i = 0; tuple != nullptr && i < count; ++i) {
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), values[i].release());
  }
  return tuple;
}

// The current Python error becomes the result of the call.
PyObject* fail(Index task, Function* function, bool is_dependency, PyObject* generator = nullptr) {
  bool leave = false;
  if (!finish_run(task, function, generator, is_dependency, leave)) return nullptr;
  session->domain.processes.ring(session->domain.self().slot);  // it may be tried again
  Py_RETURN_NONE;
}

// _enter_call(call): this thread or coroutine runs it from now on, and what it starts are children of it.
PyObject* enter_call(PyObject*, PyObject* number) {
  Index task = shm::kNone;
  if (!parse_call(number, task)) return nullptr;
  if (!has_actor()) Py_RETURN_NONE;
  const Owned sequence(PyLong_FromUnsignedLongLong(session->domain.scheduler.tasks[task].sequence.get()));
  const Owned token(sequence ? PyContextVar_Set(running_sequence, sequence.get()) : nullptr);
  if (!token) return nullptr;
  Py_RETURN_NONE;
}

// _load_call(call): (what runs, positional arguments, keywords); None when it has ended with an error instead.
PyObject* load_call(PyObject*, PyObject* number) {
  Index task = shm::kNone;
  if (!parse_call(number, task)) return nullptr;
  const scheduler::TaskEntry& entry = session->domain.scheduler.tasks[task];
  MINIRAY_FAULT_POINT("task.claimed");
  Function* function = begin_function(entry);
  if (function == nullptr) return fail(task, nullptr, false);
  Arguments given;
  bool is_dependency = false;
  if (!decode_arguments(entry, given, is_dependency)) return fail(task, function, is_dependency);
  Owned named(PyDict_New());
  const auto positional = static_cast<std::size_t>(given.positional);
  for (std::size_t i = positional; named && i < given.values.size(); ++i) {
    PyObject* name = PyTuple_GET_ITEM(given.names.get(), static_cast<Py_ssize_t>(i - positional));
    if (PyDict_SetItem(named.get(), name, given.values[i].get()) != 0) return nullptr;
  }
  Owned values(as_tuple(given.values, positional));
  if (!named || !values) return nullptr;
  return PyTuple_Pack(3, function->callable.get(), values.get(), named.get());
}

// _end_call(call, value, error or None): seals the results. False: the actor ended before, and the call with it.
PyObject* end_call(PyObject*, PyObject* args) {
  PyObject *number = nullptr, *value = nullptr, *error = nullptr;
  Index task = shm::kNone;
  if (!PyArg_ParseTuple(args, "OOO", &number, &value, &error) || !parse_call(number, task)) return nullptr;
  if (!has_actor()) Py_RETURN_FALSE;
  const scheduler::TaskEntry& entry = session->domain.scheduler.tasks[task];
  Function* function = begin_function(entry);
  if (function == nullptr) return nullptr;
  if (error != Py_None) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
    Owned none(fail(task, function, false, value == Py_None ? nullptr : value));  // what yielded before it raised
    if (!none) return nullptr;
  } else {
    bool leave = false;
    if (!finish_run(task, function, value, false, leave)) return nullptr;
  }
  Py_RETURN_TRUE;
}

// _have_calls_been_cancelled(): whether a call that runs was, since the last time.
PyObject* have_calls_been_cancelled(PyObject*, PyObject*) {
  if (!has_actor()) Py_RETURN_FALSE;
  const std::uint32_t found = own_actor().cancels.get();
  return PyBool_FromLong(cancels.exchange(found) != found);
}

// _is_cancelled(call): of one that has begun.
PyObject* is_cancelled(PyObject*, PyObject* number) {
  Index task = shm::kNone;
  if (!parse_call(number, task)) return nullptr;
  return PyBool_FromLong(session != nullptr && session->domain.scheduler.tasks[task].has(scheduler::kCancelled));
}

// _end_own_actor(): it leaves; calls that have not been answered fail.
PyObject* leave_actor(PyObject*, PyObject*) {
  if (has_actor() && !end_own_actor(nullptr, false, {scheduler::kActorEndFormat, scheduler::ActorEnd::kLeft, {}, 0, 0, 0}))
    return nullptr;
  Py_RETURN_NONE;
}

// _wait_for_calls(takes): until there are calls, when it takes them, or _nudge().
PyObject* wait_for_calls(PyObject*, PyObject* takes) {
  if (!has_actor()) Py_RETURN_NONE;
  flush_before_sleep();
  const scheduler::ActorEntry& actor = own_actor();
  const bool takes_calls = takes == Py_True;
  runtime::WaitOutcome outcome = runtime::WaitOutcome::kReady;
  {
    const GilRelease released;
    outcome = runtime::wait_for_work(session->domain, session->processors, kIdleSpinNs, platform::kForever,
                                     [&] { return nudged.load() || (takes_calls && has_calls(actor)); });
  }
  if (outcome == runtime::WaitOutcome::kInterrupted && PyErr_CheckSignals() != 0) return nullptr;
  nudged.store(false);
  Py_RETURN_NONE;
}

// _nudge(): ends _wait_for_calls() of the main thread.
PyObject* nudge(PyObject*, PyObject*) {
  nudged.store(true);
  if (session != nullptr) session->domain.processes.ring(session->domain.self().slot);
  Py_RETURN_NONE;
}

// _begin_sleep(whether it takes calls, whether to spin first): whether there is something to do. If not, the bell rings when there is,
// until _end_sleep().
PyObject* begin_sleep(PyObject*, PyObject* args) {
  int takes = 0;
  int spins = 0;
  if (!PyArg_ParseTuple(args, "pp", &takes, &spins)) return nullptr;
  if (!has_actor()) Py_RETURN_TRUE;
  flush_before_sleep();
  Domain& domain = session->domain;
  const scheduler::ActorEntry& actor = own_actor();
  const WakeFor what = takes != 0 ? WakeFor::kCalls : WakeFor::kCancels;
  bool found = has(what, actor);
  if (!found && spins != 0) {
    const GilRelease released;
    found = runtime::spin_until(domain, session->processors, kIdleSpinNs, runtime::SpinFor::kLease,
                                [&] { return has(what, actor); });
  }
  if (found) Py_RETURN_TRUE;
  armed.store(what);
  domain.own_entry().sleeping.fetch_add_ordered(1);  // [Q3]
  if (!has(what, actor)) Py_RETURN_FALSE;
  armed.store(WakeFor::kNothing);
  domain.own_entry().sleeping.fetch_sub_ordered(1);
  Py_RETURN_TRUE;
}

PyObject* end_sleep(PyObject*, PyObject*) {
  if (session == nullptr) Py_RETURN_NONE;
  armed.store(WakeFor::kNothing);
  session->domain.own_entry().sleeping.fetch_sub_ordered(1);
  Py_RETURN_NONE;
}

// _ring_when_called(descriptor): writes to an eventfd when calls come while the event loop sleeps. Does not return.
PyObject* ring_when_called(PyObject*, PyObject* number) {
  const int descriptor = static_cast<int>(PyLong_AsLong(number));
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (!has_actor()) Py_RETURN_NONE;
  Domain& domain = session->domain;
  process::ProcessEntry& entry = domain.own_entry();
  const scheduler::ActorEntry& actor = own_actor();
  const GilRelease released;
  for (;;) {
    const std::uint32_t wake = entry.wake.load_ordered();  // [Q3]
    if ((domain.is_poisoned() || has(armed.load(), actor)) && armed.exchange(WakeFor::kNothing) != WakeFor::kNothing)
      platform::ring_doorbell(descriptor);
    (void)platform::wait_on_word(entry.wake.address(), wake, platform::kForever);
  }
}

PyMethodDef methods[] = {
    {"_begin_calls", guarded<begin_several>, METH_O, nullptr},
    {"_enter_call", guarded<enter_call>, METH_O, nullptr},
    {"_load_call", guarded<load_call>, METH_O, nullptr},
    {"_end_call", guarded<end_call>, METH_VARARGS, nullptr},
    {"_have_calls_been_cancelled", guarded<have_calls_been_cancelled>, METH_NOARGS, nullptr},
    {"_is_cancelled", guarded<is_cancelled>, METH_O, nullptr},
    {"_end_own_actor", guarded<leave_actor>, METH_NOARGS, nullptr},
    {"_wait_for_calls", guarded<wait_for_calls>, METH_O, nullptr},
    {"_nudge", guarded<nudge>, METH_NOARGS, nullptr},
    {"_begin_sleep", guarded<begin_sleep>, METH_VARARGS, nullptr},
    {"_end_sleep", guarded<end_sleep>, METH_NOARGS, nullptr},
    {"_ring_when_called", guarded<ring_when_called>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void flush_before_sleep() {
  if (!session->releases.empty() || session->domain.objects.has_reclaimable()) flush_releases_now();
}

std::size_t begin_calls(Index* calls, std::size_t room, bool& is_over) {
  Domain& domain = session->domain;
  scheduler::ActorEntry& actor = own_actor();
  is_over = false;
  if (!has_calls(actor)) return 0;
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  std::size_t count = 0;
  for (Index call = shm::kNone;
       count < room && (call = domain.scheduler.begin_call(transaction, domain.self())) != shm::kNone;) {
    calls[count++] = call;
    if (transaction.room() < 256) transaction.commit();
  }
  if (count != 0 || !actor.has(scheduler::kLeaving)) return count;
  is_over = domain.objects[actor.handle.get()].references.get() == 0;
  if (is_over) {
    domain.scheduler.end_actor(transaction, domain.own_entry().actor.get(),
                               {scheduler::kActorEndFormat, scheduler::ActorEnd::kOutOfScope, {}, 0, 0, 0}, {}, wakes);
  } else {
    transaction.set(actor.flags, actor.flags.get() & ~scheduler::kLeaving);  // a call by a weak handle came
  }
  transaction.close();
  domain.perform(wakes);
  return 0;
}

std::uint64_t sequence_in_context() {
  PyObject* found = nullptr;
  if (PyContextVar_Get(running_sequence, nullptr, &found) != 0) PyErr_Clear();
  const Owned sequence(found);
  return sequence ? PyLong_AsUnsignedLongLong(sequence.get()) : 0;
}

bool add_actor_call_functions(PyObject* module) {
  if (running_sequence == nullptr) running_sequence = PyContextVar_New("miniray_running_sequence", nullptr);
  return running_sequence != nullptr && PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace miniray::python
