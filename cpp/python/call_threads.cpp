// python/call_threads.cpp - see call_threads.hpp.
#include "python/call_threads.hpp"

#include <utility>

#include "python/actor_calls.hpp"
#include "python/begun_call.hpp"
#include "python/guard.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

MINIRAY_STATIC_TLS thread_local constinit bool takes_next = false;

namespace {

bool runs_in_threads = false;
bool take_themselves = false;  // not where there are groups: who takes a call cannot tell of which it is
std::size_t limit = 0;         // of busy threads
std::atomic<std::size_t> busy = 0;
std::atomic<std::uint32_t> lookers = 0;
std::atomic<bool> main_is_called = false;  // it counts as a looker
bool is_armed = false;
bool one_waits = false;
MINIRAY_STATIC_TLS thread_local constinit bool looks = false;

process::ProcessEntry& own_entry() { return session->domain.own_entry(); }

bool is_wanted() { return lookers.load() == 0 && busy.load() < limit && !are_calls_refused(); }

bool is_main_wanted() { return main_is_called.load() || is_main_nudged() || (is_wanted() && has_calls()); }

void disarm() {
  if (std::exchange(is_armed, false)) own_entry().sleeping.fetch_sub_ordered(1);
}

// [K2], when the last has stopped to look, or a thread has become free.
void arm() {
  if (is_armed || !is_wanted() || !has_actor()) return;
  is_armed = true;
  own_entry().sleeping.fetch_add_ordered(1);
  if (!has_calls()) return;
  disarm();
  lookers.fetch_add(1);
  main_is_called.store(true);
  wake_own_threads();
}

void stop_looking() {
  if (!std::exchange(looks, false)) return;
  lookers.fetch_sub(1);
  arm();
}

// Until there are calls, or none is wanted any more. Another waits already: false.
bool wait_as_the_only_one() {
  if (std::exchange(one_waits, true)) return false;
  will_look();
  flush_before_sleep();
  {
    const GilRelease released;
    (void)runtime::wait_for_work(session->domain, session->processors, kIdleSpinNs, platform::kForever,
                                 [] { return are_calls_refused() || has_calls(); });
  }
  one_waits = false;
  return true;
}

// The next call of this thread; null when it is free, or with a Python error.
Owned take_call(PyObject* owner) {
  for (;;) {
    Index task = std::exchange(next_call, shm::kNone);
    bool is_over = false;
    if (task == shm::kNone && !are_calls_refused() && has_actor()) {
      (void)take_cancels();  // calls that have not begun look for themselves, others are let finish
      (void)begin_calls(&task, 1, is_over);
    }
    if (task != shm::kNone) {
      Owned call(load_begun_call(task));
      if (call) set_begun_call_owner(call.get(), owner);
      if (call || PyErr_Occurred() != nullptr) return call;
    } else if (is_over) {
      nudge_main();  // it finds that the actor has ended
      return nullptr;
    } else if (are_calls_refused() || !has_actor() || !wait_as_the_only_one()) {
      return nullptr;
    }
  }
}

bool run_all(Owned call) {
  const Owned owner(Py_XNewRef(begun_call_owner(call.get())));
  while (call) {
    stop_looking();
    if (!run_begun_call(call.get(), take_themselves)) return false;
    call.reset();  // not kept until the next comes
    if (take_themselves) call = take_call(owner.get());
  }
  return PyErr_Occurred() == nullptr;
}

// _run_calls(call): runs it in this thread, and then what the thread takes itself, until there is none.
PyObject* run_calls(PyObject*, PyObject* call) {
  if (!is_begun_call(call)) return PyErr_Format(PyExc_TypeError, "not a BegunCall: %R", call);
  const bool is_done = run_all(Owned(Py_NewRef(call)));
  busy.fetch_sub(1);
  stop_looking();
  arm();
  if (are_calls_refused()) nudge_main();  // it waits for those that run
  if (!is_done) return nullptr;
  Py_RETURN_NONE;
}

// _run_in_threads(how many at most, whether they take calls themselves): by the main thread, which looks first.
PyObject* run_in_threads(PyObject*, PyObject* args) {
  Py_ssize_t most = 0;
  int take = 0;
  if (!PyArg_ParseTuple(args, "np", &most, &take)) return nullptr;
  limit = static_cast<std::size_t>(most);
  take_themselves = take != 0;
  runs_in_threads = true;
  will_look();
  Py_RETURN_NONE;
}

// _busy_threads(): how many run calls, look for them, or have been given one.
PyObject* busy_threads(PyObject*, PyObject*) { return PyLong_FromSize_t(busy.load()); }

// _stand_by(): until the main thread has to give out calls, or is nudged.
PyObject* stand_by(PyObject*, PyObject*) {
  if (!has_actor()) Py_RETURN_NONE;
  flush_before_sleep();
  Domain& domain = session->domain;
  if (!take_themselves) {
    const GilRelease released;
    (void)runtime::spin_until(domain, session->processors, kIdleSpinNs, runtime::SpinFor::kLease,
                              [] { return is_main_nudged() || has_calls(); });
  }
  stop_looking();
  bool is_interrupted = false;
  {
    const GilRelease released;
    while (!is_interrupted) {
      const std::uint32_t wake = own_entry().wake.load_ordered();
      if (domain.is_poisoned()) debug::tell_damage(domain.lock.damage());
      if (is_main_wanted()) break;
      is_interrupted =
          platform::wait_on_word(own_entry().wake.address(), wake, platform::kForever) == platform::WaitResult::kInterrupted;
    }
  }
  if (main_is_called.exchange(false)) {
    looks = true;
  } else {
    will_look();
  }
  if (is_interrupted && PyErr_CheckSignals() != 0) return nullptr;
  forget_nudge();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_run_calls", guarded<run_calls>, METH_O, nullptr},
    {"_run_in_threads", guarded<run_in_threads>, METH_VARARGS, nullptr},
    {"_busy_threads", guarded<busy_threads>, METH_NOARGS, nullptr},
    {"_stand_by", guarded<stand_by>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void will_look() {
  if (std::exchange(looks, true)) return;
  lookers.fetch_add(1);
  disarm();
}

void occupy_threads(std::size_t count) {
  if (runs_in_threads) busy.fetch_add(count);
}

bool add_call_thread_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
