// python/cancellation.cpp - see cancellation.hpp.
//
// Invariants  X1 one task per section. Its children are looked for while it is known to run: one that has ended has none to be cancelled.
//             X2 who is interrupted looks by itself whether its own task is cancelled: an interruption that comes late does nothing.
//             X3 an interruption comes again until the interpreter has looked: its handler only notes it, and a system call that begins
//                then would sleep on.
#include "python/cancellation.hpp"

#include "python/guard.hpp"
#include "python/object_ref.hpp"

namespace miniray::python {

namespace {

constexpr Index kRowsPerSection = 4096;

struct Target {
  Index task;
  std::uint64_t sequence;
};

// What a task has started and is not finished, in sections of so many rows.
void find_children(std::uint64_t parent, std::vector<Target>& found) {
  Domain& domain = session->domain;
  const auto& tasks = domain.scheduler.tasks;
  for (Index begin = 1; begin <= tasks.capacity(); begin += kRowsPerSection) {
    const std::size_t known = found.size();
    found.reserve(known + kRowsPerSection);  // nothing allocates inside the section
    const Transaction transaction(domain.lock);
    if (!tasks.is_valid_index(begin)) continue;  // rows are used from the start of their chunk
    for (Index task = begin; task < begin + kRowsPerSection && tasks.is_valid_index(task); ++task) {
      if (domain.scheduler.is_child(task, parent)) found.push_back({task, tasks[task].sequence.get()});
    }
  }
}

// False: force of a call of an actor. `error` becomes -errno when who runs the task could not be told.
bool cancel_task(Target target, bool force, std::vector<Target>* children, int& error) {
  Domain& domain = session->domain;
  const auto& tasks = domain.scheduler.tasks;
  bool runs = false;
  {
    const Transaction transaction(domain.lock);
    if (!tasks.is_valid_index(target.task) || tasks[target.task].is_free() ||
        tasks[target.task].sequence.get() != target.sequence)
      return true;
    runs = tasks[target.task].state.get() == static_cast<std::uint32_t>(scheduler::TaskState::kLeased);
  }
  if (runs && children != nullptr) find_children(target.sequence, *children);
  scheduler::Wakes wakes;
  Transaction transaction(domain.lock);
  if (tasks[target.task].is_free() || tasks[target.task].sequence.get() != target.sequence) return true;
  const auto [step, worker] = domain.scheduler.cancel(transaction, target.task, force, wakes);
  using Step = scheduler::Scheduler::CancelStep;
  int sent = 0;
  if (step == Step::kKill) sent = domain.processes.end(worker);  // under the lock: it cannot have begun another task
  transaction.close();
  domain.perform(wakes);
  if (step == Step::kInterrupt) sent = domain.processes.interrupt(worker);
  if (sent != 0) error = sent;
  return step != Step::kRefused;
}

// _cancel(ref, force, recursive)
PyObject* cancel(PyObject*, PyObject* args) {
  PyObject* ref = nullptr;
  int force = 0;
  int recursive = 0;
  if (!PyArg_ParseTuple(args, "Opp", &ref, &force, &recursive)) return nullptr;
  if (!is_object_ref(ref)) return PyErr_Format(PyExc_TypeError, "not an ObjectRef: %R", ref);
  if (!require_session() || !check_object_ref(ref)) return nullptr;
  const SessionUse use;
  Domain& domain = session->domain;
  std::vector<Target> targets;
  {
    const ObjectKey key = key_of(ref);
    const Transaction transaction(domain.lock);
    if (!domain.objects.is_current(key) || domain.objects[key.slot].current_state() != store::ObjectState::kPending)
      Py_RETURN_NONE;
    const Index task = domain.objects[key.slot].producer.get();
    if (task == shm::kNone) Py_RETURN_NONE;
    targets.push_back({task, domain.scheduler.tasks[task].sequence.get()});
  }
  int error = 0;
  if (!cancel_task(targets.front(), force != 0, recursive != 0 ? &targets : nullptr, error))
    return PyErr_Format(PyExc_ValueError, "force=True is not supported for actor tasks.");
  for (std::size_t i = 1; i < targets.size(); ++i) (void)cancel_task(targets[i], false, &targets, error);
  if (error != 0) {
    (void)set_system_error(error, "its worker could not be told of the cancellation; cancel it again");
    return nullptr;
  }
  Py_RETURN_NONE;
}

// _is_cancel_due(): whether the task that the main thread runs is cancelled; for the handler of _cancel_signal().
PyObject* is_cancel_due(PyObject*, PyObject*) {
  platform::settle_interrupt();
  if (session == nullptr || !session->runs_user_code || session->current_task == shm::kNone) Py_RETURN_FALSE;
  return PyBool_FromLong(session->domain.scheduler.tasks[session->current_task].has(scheduler::kCancelled));
}

// _repeat_cancel_signal(): once its handler is set, by the main thread: it is called until it has asked _is_cancel_due().
PyObject* repeat_cancel_signal(PyObject*, PyObject*) {
  if (!platform::repeat_interrupts()) return PyErr_SetFromErrno(PyExc_OSError);
  Py_RETURN_NONE;
}

PyObject* cancel_signal(PyObject*, PyObject*) { return PyLong_FromLong(platform::interrupt_signal()); }

PyMethodDef methods[] = {
    {"_cancel", guarded<cancel>, METH_VARARGS, nullptr},
    {"_is_cancel_due", guarded<is_cancel_due>, METH_NOARGS, nullptr},
    {"_cancel_signal", guarded<cancel_signal>, METH_NOARGS, nullptr},
    {"_repeat_cancel_signal", guarded<repeat_cancel_signal>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_cancellation_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
