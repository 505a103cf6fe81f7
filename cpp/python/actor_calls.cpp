// python/actor_calls.cpp - see actor_calls.hpp.
//
// Invariants  Q1 of an actor that runs several calls at once the main thread begins them, or a thread that takes them itself
//                (call_threads.hpp); any thread ends them.
//             Q2 an event loop that sleeps in its selector counts as a sleeper of the process [W1], though it is another thread, the bell,
//                that the wake-up reaches: it waits on the wake word all the time, and writes to the loop's descriptor while `armed`.
// Bell        [Q2] who arms: armed, sleeping + 1, then looks for calls. Caller: calls, wake + 1, then reads sleeping, and wakes. The bell:
//             reads the wake word, looks for calls, sleeps on the word that it read. Whatever comes first, one of them sees the calls.
#include "python/actor_calls.hpp"

#include <utility>

#include "python/begun_call.hpp"
#include "python/call_threads.hpp"
#include "python/guard.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

constexpr std::size_t kMostBegun = 1024;

// What the event loop that sleeps, or is about to, is to be woken for.
enum class WakeFor : std::uint8_t { kNothing, kCancels, kCalls };
std::atomic<WakeFor> armed = WakeFor::kNothing;
std::atomic<bool> nudged = false;  // the main thread is wanted
bool has_run = false;              // a call has begun or ended since the event loop slept last

scheduler::ActorEntry& own_actor() { return session->domain.scheduler.actors[session->domain.own_entry().actor.get()]; }

std::atomic<std::uint32_t> cancels = 0;  // of the actor's row, when its calls were looked at last

bool has_cancels(const scheduler::ActorEntry& actor) { return actor.cancels.get() != cancels.load(); }

bool has_calls(const scheduler::ActorEntry& actor) {
  return actor.first_ready.get() != shm::kNone || actor.has(scheduler::kLeaving) || has_cancels(actor);
}

bool has(WakeFor what, const scheduler::ActorEntry& actor) {
  return what == WakeFor::kCalls ? has_calls(actor) : what == WakeFor::kCancels && has_cancels(actor);
}

// _begin_calls(most): the BegunCalls that run from now on, without those that fail at once; None when the actor has ended.
PyObject* begin_several(PyObject*, PyObject* most) {
  const std::size_t wanted = PyLong_AsSize_t(most);
  if (wanted == static_cast<std::size_t>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  if (!has_actor()) Py_RETURN_NONE;
  runs_several = true;
  Index calls[kMostBegun];
  bool is_over = false;
  const std::size_t count = begin_calls(calls, wanted < kMostBegun ? wanted : kMostBegun, is_over);
  if (is_over) Py_RETURN_NONE;
  if (count != 0) has_run = true;
  Owned list(PyList_New(0));
  for (std::size_t i = 0; list && i < count; ++i) {
    const Owned call(load_begun_call(calls[i]));
    if (call ? PyList_Append(list.get(), call.get()) != 0 : PyErr_Occurred() != nullptr) return nullptr;
  }
  occupy_threads(list ? static_cast<std::size_t>(PyList_GET_SIZE(list.get())) : 0);
  return list.release();
}

// _have_calls_been_cancelled(): whether a call that runs was, since the last time.
PyObject* have_calls_been_cancelled(PyObject*, PyObject*) {
  if (!has_actor()) Py_RETURN_FALSE;
  return PyBool_FromLong(take_cancels());
}

// _end_own_actor(): it leaves; calls that have not been answered fail.
PyObject* leave_actor(PyObject*, PyObject*) {
  if (has_actor() && !end_own_actor(nullptr, false, {scheduler::kActorEndFormat, scheduler::ActorEnd::kLeft, {}, 0, 0, 0}))
    return nullptr;
  Py_RETURN_NONE;
}

// _nudge(): ends _stand_by() of the main thread.
PyObject* nudge(PyObject*, PyObject*) {
  nudge_main();
  Py_RETURN_NONE;
}

// _begin_sleep(whether it takes calls): whether there is something to do. If not, the bell rings when there is, until _end_sleep(). It
// spins first when a call has begun or ended since.
PyObject* begin_sleep(PyObject*, PyObject* takes) {
  if (!has_actor()) Py_RETURN_TRUE;
  const bool spins = std::exchange(has_run, false);
  flush_before_sleep();
  Domain& domain = session->domain;
  const scheduler::ActorEntry& actor = own_actor();
  const WakeFor what = takes == Py_True ? WakeFor::kCalls : WakeFor::kCancels;
  bool found = has(what, actor);
  if (!found && spins) {
    const GilRelease released;
    found = runtime::spin_until(domain, session->processors, kIdleSpinNs, runtime::SpinFor::kLease,
                                [&] { return has(what, actor); });
  }
  if (found) Py_RETURN_TRUE;
  armed.store(what);
  domain.own_entry().sleeping.fetch_add_ordered(1);  // [Q2]
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
    const std::uint32_t wake = entry.wake.load_ordered();  // [Q2]
    if ((domain.is_poisoned() || has(armed.load(), actor)) && armed.exchange(WakeFor::kNothing) != WakeFor::kNothing)
      platform::ring_doorbell(descriptor);
    (void)platform::wait_on_word(entry.wake.address(), wake, platform::kForever);
  }
}

PyMethodDef methods[] = {
    {"_begin_calls", guarded<begin_several>, METH_O, nullptr},
    {"_have_calls_been_cancelled", guarded<have_calls_been_cancelled>, METH_NOARGS, nullptr},
    {"_end_own_actor", guarded<leave_actor>, METH_NOARGS, nullptr},
    {"_nudge", guarded<nudge>, METH_NOARGS, nullptr},
    {"_begin_sleep", guarded<begin_sleep>, METH_O, nullptr},
    {"_end_sleep", guarded<end_sleep>, METH_NOARGS, nullptr},
    {"_ring_when_called", guarded<ring_when_called>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool has_actor() { return session != nullptr && session->domain.own_entry().actor.get() != shm::kNone; }

bool has_calls() { return has_actor() && has_calls(own_actor()); }

bool take_cancels() {
  const std::uint32_t found = own_actor().cancels.get();
  return cancels.exchange(found) != found;
}

void wake_own_threads() {
  process::ProcessEntry& entry = session->domain.own_entry();
  entry.wake.fetch_add_ordered(1);
  platform::wake_word(entry.wake.address(), 1 << 30);
}

void nudge_main() {
  nudged.store(true);
  if (session != nullptr) wake_own_threads();
}

bool is_main_nudged() { return nudged.load(); }

void forget_nudge() { nudged.store(false); }

void note_call_ended() { has_run = true; }

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

bool add_actor_call_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
