// python/executor.cpp - see executor.hpp.
#include "python/executor.hpp"

#include "python/actor_calls.hpp"
#include "python/after_task.hpp"
#include "python/guard.hpp"
#include "python/task_run.hpp"

namespace miniray::python {

namespace {

constexpr std::uint64_t kSurplusIdleNs = 2'000'000'000;

std::uint32_t pool_size = 0;  // workers beyond this many leave when idle for long

// Runs the calls of this process's actor until it has ended. False with a Python error.
bool host_actor() {
  Domain& domain = session->domain;
  const scheduler::ActorEntry& actor = domain.scheduler.actors[domain.own_entry().actor.get()];
  if (actor.has(scheduler::kUnorderedCalls)) {
    const Owned none(PyObject_CallNoArgs(worker_hooks.serve.get()));
    return static_cast<bool>(none);
  }
  for (bool leave = false; !leave;) {
    if (next_call == shm::kNone) {
      flush_before_sleep();
      bool is_over = false;
      (void)begin_calls(&next_call, 1, is_over);
      if (is_over) return true;
    }
    if (next_call == shm::kNone) {
      runtime::WaitOutcome outcome = runtime::WaitOutcome::kReady;
      {
        const GilRelease released;
        outcome = runtime::wait_for_call(domain, session->processors, kIdleSpinNs, actor);
      }
      if (outcome == runtime::WaitOutcome::kInterrupted && PyErr_CheckSignals() != 0) return false;
      continue;
    }
    const Index task = next_call;
    next_call = shm::kNone;
    if (!run_task(task, leave)) return false;
  }
  return true;
}

// _run_worker(load_function, on_error, before_task, after_task, unread_error, serve, pool_size): returns when the worker is to end.
PyObject* run_worker(PyObject*, PyObject* args) {
  PyObject *load_function = nullptr, *on_error = nullptr, *before_task = nullptr, *after_task = nullptr,
           *unread_error = nullptr, *serve = nullptr;
  if (!PyArg_ParseTuple(args, "OOOOOOI", &load_function, &on_error, &before_task, &after_task, &unread_error, &serve,
                        &pool_size))
    return nullptr;
  worker_hooks = {Owned(Py_NewRef(load_function)), Owned(Py_NewRef(on_error)),     Owned(Py_NewRef(before_task)),
                  Owned(Py_NewRef(after_task)),    Owned(Py_NewRef(unread_error)), Owned(Py_NewRef(serve))};
  if (!note_own_streams()) return nullptr;
  Domain& domain = session->domain;
  session->is_worker = true;
  session->main_thread = PyThread_get_thread_ident();
  {
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    domain.scheduler.add_worker(transaction, domain.self(), wakes);
    if (domain.header().scheduler.worker_count.get() > pool_size)
      domain.scheduler.tell_others(domain.own_entry().environment.load_relaxed(), wakes);
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
      flush_before_sleep();
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
      if (domain.own_entry().lease.get() == shm::kNone) Py_RETURN_NONE;  // it gave way
    }
    if (!run_task(domain.own_entry().lease.get(), leave)) return nullptr;
    const std::uint32_t state = domain.own_entry().worker_state.get();
    if (state == static_cast<std::uint32_t>(process::WorkerState::kHost) && !host_actor()) return nullptr;
    // An actor's process belongs to it alone, and goes with it.
    if (domain.own_entry().worker_state.get() == static_cast<std::uint32_t>(process::WorkerState::kExiting)) Py_RETURN_NONE;
  }
}

// _forget_functions(): drops what was loaded, such as bound methods, which keep an actor's instance.
PyObject* drop_functions(PyObject*, PyObject*) {
  forget_functions();
  Py_RETURN_NONE;
}

PyObject* current_task_name(PyObject*, PyObject*) {
  if (session == nullptr || session->current_task == shm::kNone) Py_RETURN_NONE;
  return task_name(session->domain.scheduler.tasks[session->current_task]);
}

PyMethodDef methods[] = {
    {"_run_worker", guarded<run_worker>, METH_VARARGS, nullptr},
    {"_forget_functions", guarded<drop_functions>, METH_NOARGS, nullptr},
    {"_current_task_name", guarded<current_task_name>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_executor_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
