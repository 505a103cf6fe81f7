// python/supervision.cpp - see supervision.hpp. Thin: each function checks its arguments and calls the core.
#include "python/supervision.hpp"

#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include "python/guard.hpp"
#include "python/session_functions.hpp"
#include "recovery/dead_process.hpp"
#include "runtime/lookout.hpp"

namespace miniray::python {

namespace {

using scheduler::DeathCause;
using scheduler::ProcessEnd;

// _workers_needed(): [(environment, how many workers to start less those that are starting, how many processes of it have taken up
// work, how many of these host an actor or leave)]; clears the doorbell flag first, so that a later need rings again.
PyObject* workers_needed(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  Domain& domain = session->domain;
  domain.header().scheduler.doorbell_rung.store_ordered(0);
  const auto pools = std::make_unique<scheduler::Scheduler::Pool[]>(scheduler::kEnvironmentCapacity);
  {
    Transaction transaction(domain.lock);
    domain.scheduler.describe_pools(pools.get());
  }
  Owned rows(PyList_New(0));
  for (std::uint32_t i = 0; rows && i < scheduler::kEnvironmentCapacity; ++i) {
    const auto& pool = pools[i];
    if (i != 0 && pool.needed == 0 && pool.present == 0) continue;
    const Owned row(Py_BuildValue("(IIII)", i, pool.needed, pool.present, pool.hosts));
    if (!row || PyList_Append(rows.get(), row.get()) != 0) return nullptr;
  }
  return rows.release();
}

// _recover(pid, status, cause=0, note=0): puts right what a dead process left. 0: it had no row, or was still entering its environment;
// 1: it had no task; 2: it had one.
PyObject* recover(PyObject*, PyObject* args) {
  int pid = 0;
  int status = 0;
  unsigned char cause = 0;
  unsigned note = 0;
  if (!PyArg_ParseTuple(args, "ii|bI", &pid, &status, &cause, &note)) return nullptr;
  if (cause > static_cast<unsigned char>(DeathCause::kMemoryForGood))
    return PyErr_Format(PyExc_ValueError, "%u is no cause of a death", cause);
  if (!require_session()) return nullptr;
  Domain& domain = session->domain;
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    const auto identity = domain.processes.identity(slot);
    if (identity.state == process::ProcessState::kFree || identity.number != pid || !domain.processes.is_dead(slot)) continue;
    // One that is killed while it enters its environment has not come as far as a worker without one that was never idle.
    const process::ProcessEntry& entry = domain.processes[slot];
    const bool was_worker = entry.worker_state.get() != static_cast<std::uint32_t>(process::WorkerState::kNoWorker) ||
                            entry.environment.load_ordered() == 0;
    const bool had_task = was_worker && domain.processes[slot].lease.get() != shm::kNone;
    const ProcessEnd end{pid, status, static_cast<DeathCause>(cause), note};
    if (!recovery::recover_process(domain, {slot, identity.generation}, end)) continue;
    return PyLong_FromLong(had_task ? 2 : (was_worker ? 1 : 0));
  }
  // It had none, as one that left in order; or damage gave its row another number, by which it is as dead.
  if (status != 0) (void)recovery::sweep(domain);
  return PyLong_FromLong(0);
}

// _sweep(): recovers every dead process; how many. Of a poisoned session none can be: the next call says so, and closing it goes on.
PyObject* sweep(PyObject*, PyObject*) {
  if (!require_attached()) return nullptr;
  std::uint32_t recovered = 0;
  (void)guard_quietly([&] { recovered = recovery::sweep(session->domain); });
  return PyLong_FromUnsignedLong(recovered);
}

// _note_death(text): number of a note that errors can name.
PyObject* note_death(PyObject*, PyObject* text) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr || !require_session()) return nullptr;
  std::uint64_t number = 0;
  {
    Transaction transaction(session->domain.lock);
    number = session->domain.header().scheduler.death_notes.write(transaction, {bytes, static_cast<std::size_t>(size)});
  }
  return PyLong_FromUnsignedLongLong(number);
}

// _fail_stranded(pid, status, note, later calls too=False): fails the tasks that only a new worker could take; how many. A call that
// comes meanwhile may find the cause mended, and stays.
PyObject* fail_stranded(PyObject*, PyObject* args) {
  ProcessEnd end{0, 0, DeathCause::kNoWorker, 0};
  int later_too = 0;
  if (!PyArg_ParseTuple(args, "iiI|p", &end.pid, &end.status, &end.note, &later_too)) return nullptr;
  if (!require_session()) return nullptr;
  Domain& domain = session->domain;
  unsigned long count = 0;
  (void)domain.heap.ensure_rows(4096);
  std::uint64_t last_sequence = ~0ULL;
  if (later_too == 0) {
    const Transaction transaction(domain.lock);
    last_sequence = domain.header().scheduler.next_sequence.get();
  }
  for (bool more = true; more; count += more ? 1 : 0) {
    scheduler::Wakes wakes;
    Transaction transaction(domain.lock);
    more = domain.scheduler.fail_stranded_task(transaction, end, last_sequence, wakes);
    transaction.close();
    domain.perform(wakes);
  }
  domain.reclaim();
  return PyLong_FromUnsignedLong(count);
}

// _running_tasks(): [(pid, name, number of the call, whether it is tried again when it is ended for memory)] of the leases.
PyObject* running_tasks(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  Domain& domain = session->domain;
  Owned rows(PyList_New(0));
  if (!rows) return nullptr;
  for (Index slot = 1; slot < domain.processes.high_water(); ++slot) {
    char name[96];
    std::size_t name_bytes = 0;
    std::uint64_t sequence = 0;
    bool may_repeat = false;
    int pid = 0;
    {
      Transaction transaction(domain.lock);
      const auto identity = domain.processes.identity(slot);
      const Index task = domain.processes[slot].lease.get();
      if (identity.state != process::ProcessState::kLive || task == shm::kNone) continue;
      const scheduler::TaskEntry& entry = domain.scheduler.tasks[task];
      if (entry.state.get() != static_cast<std::uint32_t>(scheduler::TaskState::kLeased)) continue;
      pid = identity.number;
      name_bytes = domain.scheduler.copy_name(task, name, sizeof(name));
      sequence = entry.sequence.get();
      may_repeat = domain.scheduler.may_repeat_for_memory(entry);
    }
    Owned text(PyUnicode_DecodeUTF8(name, static_cast<Py_ssize_t>(name_bytes), "replace"));
    Owned row(!text ? nullptr
                    : Py_BuildValue("(iOKO)", pid, text.get(), static_cast<unsigned long long>(sequence),
                                    may_repeat ? Py_True : Py_False));
    if (!row || PyList_Append(rows.get(), row.get()) != 0) return nullptr;
  }
  return rows.release();
}

// _let_memory_watch_sleep(): True when no worker holds a lease; the next lease rings the doorbell then.
PyObject* let_memory_watch_sleep(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  bool sleeps = false;
  {
    Transaction transaction(session->domain.lock);
    sleeps = session->domain.scheduler.let_memory_watch_sleep(transaction);
  }
  return PyBool_FromLong(sleeps);
}

// _relieve_lookout(): if the idle worker that is to start more tasks is stopped, starts them. To be called again and again.
PyObject* relieve_lookout(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  static runtime::LookoutRelief relief;
  relief.look(session->domain);
  Py_RETURN_NONE;
}

// _set_memory_retries(count): how often a task may be ended for memory and tried again; None: without a limit.
PyObject* set_memory_retries(PyObject*, PyObject* count) {
  unsigned long value = scheduler::kRetryForever;
  if (count != Py_None) {
    value = PyLong_AsUnsignedLong(count);
    if (PyErr_Occurred() != nullptr) return nullptr;
    if (value > scheduler::kRetryForever) value = scheduler::kRetryForever;
  }
  if (!require_session()) return nullptr;
  {
    Transaction transaction(session->domain.lock);
    transaction.set(session->domain.header().scheduler.memory_retries, static_cast<std::uint32_t>(value));
  }
  Py_RETURN_NONE;
}

// _set_life(descriptor): a worker says by which descriptor it holds the pipe that tells of its exec.
PyObject* set_life(PyObject*, PyObject* descriptor) {
  const long value = PyLong_AsLong(descriptor);
  if ((value == -1 && PyErr_Occurred() != nullptr) || !require_attached()) return nullptr;
  session->domain.own_entry().life.store_ordered(static_cast<std::uint32_t>(value + 1));
  Py_RETURN_NONE;
}

// _life_of(pid): what that worker said; -1 when it has not.
PyObject* life_of(PyObject*, PyObject* number) {
  const long pid = PyLong_AsLong(number);
  if ((pid == -1 && PyErr_Occurred() != nullptr) || !require_attached()) return nullptr;
  const process::ProcessTable& processes = session->domain.processes;
  for (Index slot = 1; slot < processes.high_water(); ++slot) {
    const auto identity = processes.identity(slot);
    if (identity.state == process::ProcessState::kLive && identity.number == pid)
      return PyLong_FromLong(static_cast<long>(processes[slot].life.load_ordered()) - 1);
  }
  return PyLong_FromLong(-1);
}

constexpr const char* kMainThreadEnded =
    "\nminiray: the main thread of this worker ended while other threads ran on (pthread_exit, or the exit system call), "
    "so the worker was ended\n";

// _watch_process(pid, name): a native thread that ends this process and unlinks the session when that process has ended; and one that
// ends this process when this thread does, on which all tasks run.
PyObject* watch_process(PyObject*, PyObject* args) {
  int pid = 0;
  const char* name = nullptr;
  if (!PyArg_ParseTuple(args, "is", &pid, &name)) return nullptr;
  const std::uint64_t start_time = session == nullptr ? 0 : session->domain.header().creator_start_time.load_acquire();
  const platform::Descriptor process = platform::open_process(pid);
  if (platform::process_is_dead(pid, start_time)) {  // gone already, perhaps with the supervisor: nobody else clears up
    Domain::unlink(control_name(name).c_str(), heap_name(name).c_str());
    platform::exit_immediately(1);
  }
  if (process < 0) platform::exit_immediately(1);
  try {
    std::thread([process, control = control_name(name), heap = heap_name(name)] {
      platform::block_all_signals();
      // A descriptor that user code closed says nothing about the driver: the session stays.
      if (platform::wait_for_process_end(process)) Domain::unlink(control.c_str(), heap.c_str());
      platform::exit_immediately(1);
    }).detach();
    if (platform::announce_thread()) {
      std::thread([] {
        platform::block_all_signals();
        platform::wait_for_announced_thread();
        platform::tell_user(kMainThreadEnded);
        platform::exit_immediately(1);
      }).detach();
    }
  } catch (const std::system_error& error) {
    return PyErr_Format(PyExc_OSError,
                        "cannot start the threads that watch the driver and this worker: %s (RLIMIT_NPROC, pids.max)",
                        error.what());
  }
  Py_RETURN_NONE;
}

// _set_stop_limit(milliseconds): how long a stopped worker may keep others waiting for the lock; 0 for ever.
PyObject* set_stop_limit(PyObject*, PyObject* count) {
  const unsigned long value = PyLong_AsUnsignedLong(count);
  if (PyErr_Occurred() != nullptr || !require_session()) return nullptr;
  session->domain.lock.block().stop_limit_ms.store_relaxed(static_cast<std::uint32_t>(value));
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"_watch_process", guarded<watch_process>, METH_VARARGS, nullptr},
    {"_set_life", guarded<set_life>, METH_O, nullptr},
    {"_life_of", guarded<life_of>, METH_O, nullptr},
    {"_workers_needed", guarded<workers_needed>, METH_NOARGS, nullptr},
    {"_recover", guarded<recover>, METH_VARARGS, nullptr},
    {"_sweep", guarded<sweep>, METH_NOARGS, nullptr},
    {"_note_death", guarded<note_death>, METH_O, nullptr},
    {"_fail_stranded", guarded<fail_stranded>, METH_VARARGS, nullptr},
    {"_running_tasks", guarded<running_tasks>, METH_NOARGS, nullptr},
    {"_let_memory_watch_sleep", guarded<let_memory_watch_sleep>, METH_NOARGS, nullptr},
    {"_relieve_lookout", guarded<relieve_lookout>, METH_NOARGS, nullptr},
    {"_set_memory_retries", guarded<set_memory_retries>, METH_O, nullptr},
    {"_set_stop_limit", guarded<set_stop_limit>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_supervision_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
