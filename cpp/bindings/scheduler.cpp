// bindings/scheduler.cpp - see scheduler.hpp. Thin: arguments and errors; the work is in runtime/task_queue, scheduler/worker_registry.
#include "bindings/scheduler.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <string>

#include "bindings/shared_domain.hpp"
#include "bindings/task.hpp"
#include "python/session.hpp"
#include "runtime/task_queue.hpp"

namespace miniray::bindings {

namespace {

using runtime::SubmitResult;
using runtime::TaskQueue;
using scheduler::WorkerRegistry;
using shm::Transaction;

// A signal may arrive between the last look at it and the sleep; look again after this long.
constexpr std::int64_t kSignalSliceNs = 500'000'000;

// Counts a call that gives up the GIL: close() in another thread must not unmap under it.
class Inside {
 public:
  explicit Inside(int& calls) noexcept : calls_(calls) { ++calls_; }
  ~Inside() { --calls_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  int& calls_;
};

class Scheduler {
 public:
  Scheduler(bool create, const std::optional<std::string>& name, std::uint32_t max_tasks, std::uint32_t max_workers) {
    require_within("max_tasks", max_tasks, runtime::kMostRows);
    require_within("max_workers", max_workers, runtime::kMostRows);
    runtime::DomainConfig config;
    config.object_capacity = max_tasks;
    config.task_capacity = max_tasks;
    config.registered_worker_capacity = max_workers;
    config.heap_bytes = default_capacity_bytes();
    shared_ = SharedDomain::open(name.value_or(""), "scheduler", create, config, runtime::DomainUsage::kScheduler);
  }

  void submit_task(const Task& task) {
    TaskQueue queue(shared_->use());
    int system_error = 0;
    const runtime::TaskBytes function{task.function.data(), task.function.size()};
    const runtime::TaskBytes arguments{task.arguments.data(), task.arguments.size()};
    SubmitResult result{};
    {
      const Inside inside(calls_);
      const nb::gil_scoped_release released;
      result = queue.submit(task.return_id, function, arguments, system_error);
    }
    switch (result) {
      case SubmitResult::kDone:
        return;
      case SubmitResult::kFullTable:
        PyErr_Format(PyExc_MemoryError,
                     "the queue has %u tasks, its limit; let workers take some, or make it with a larger max_tasks",
                     shared_->domain().scheduler.tasks.capacity());
        break;
      case SubmitResult::kFullHeap:
        python::raise_store_full("full", function.size + arguments.size, shared_->domain().heap.used_bytes(),
                                 shared_->domain().heap.capacity_bytes(), 0);
        break;
      case SubmitResult::kSystem:
        python::set_system_error(system_error, "shared memory is full: no pages for a task");
        break;
    }
    nb::raise_python_error();
  }

  std::optional<Task> get_next_task(std::optional<double> timeout) {
    TaskQueue queue(shared_->use());
    runtime::TakenTask taken;
    std::int64_t deadline = 0;
    if (timeout) {
      if (std::isnan(*timeout) || *timeout < 0) {
        throw nb::value_error(("timeout must be None or a number of seconds >= 0, got " + std::to_string(*timeout)).c_str());
      }
      deadline = now() + static_cast<std::int64_t>(std::fmin(*timeout, 1e9) * 1e9);
    }
    for (;;) {
      const std::uint32_t arrivals = queue.arrivals();
      if (queue.take(taken)) return unpack(queue, taken);
      const std::int64_t left = timeout ? deadline - now() : 0;
      if (left <= 0) return std::nullopt;
      {
        const Inside inside(calls_);
        const nb::gil_scoped_release released;
        (void)queue.wait(arrivals, left < kSignalSliceNs ? left : kSignalSliceNs);
      }
      if (PyErr_CheckSignals() != 0) nb::raise_python_error();
      (void)shared_->use();  // closed by another thread meanwhile?
    }
  }

  void register_worker(std::int64_t id) {
    runtime::Domain& domain = shared_->use();
    Transaction transaction(domain.lock);
    const WorkerRegistry::AddResult result = domain.workers.add(transaction, static_cast<std::uint64_t>(id));
    transaction.close();
    if (result == WorkerRegistry::AddResult::kKnown)
      throw nb::value_error(("worker " + std::to_string(id) + " is registered already").c_str());
    if (result == WorkerRegistry::AddResult::kFull) {
      PyErr_Format(PyExc_MemoryError,
                   "%u workers are registered, the limit; unregister some, or make the scheduler with a larger max_workers",
                   domain.workers.capacity());
      nb::raise_python_error();
    }
  }
  void unregister_worker(std::int64_t id) {
    change_worker(id, [&](Transaction& transaction, WorkerRegistry& workers) {
      return workers.remove(transaction, static_cast<std::uint64_t>(id));
    });
  }
  void mark(std::int64_t id, bool is_idle) {
    change_worker(id, [&](Transaction& transaction, WorkerRegistry& workers) {
      return workers.set_idle(transaction, static_cast<std::uint64_t>(id), is_idle);
    });
  }

  std::uint32_t pending_count() { return shared_->use().scheduler.queued_count(); }
  std::uint32_t idle_count() { return shared_->use().workers.idle_count(); }
  const std::string& name() const { return shared_->file(); }
  nb::object validate() {
    const char* fault = shared_->use().validate();
    return fault == nullptr ? nb::none() : nb::object(nb::str(fault));
  }
  void close() {
    shared_->close();
    if (calls_ == 0) shared_->leave();  // else a thread is inside; the destructor does it
  }

 private:
  static std::int64_t now() noexcept { return static_cast<std::int64_t>(platform::monotonic_ns()); }

  template <class Change>
  void change_worker(std::int64_t id, Change change) {
    runtime::Domain& domain = shared_->use();
    bool known = false;
    {
      Transaction transaction(domain.lock);
      known = change(transaction, domain.workers);
    }
    if (known) return;
    PyErr_Format(PyExc_KeyError, "worker %lld is not registered; call register_worker first", static_cast<long long>(id));
    nb::raise_python_error();
  }

  static Task unpack(TaskQueue& queue, const runtime::TakenTask& taken) {
    const auto* data = reinterpret_cast<const char*>(taken.data);
    Task task{taken.tag, nb::bytes(data, taken.function_bytes), nb::bytes(data + taken.function_bytes, taken.argument_bytes)};
    queue.release(taken);
    return task;
  }

  std::shared_ptr<SharedDomain> shared_;
  int calls_ = 0;  // calls without the GIL that use the memory right now
};

}  // namespace

void add_scheduler(nb::module_& module) {
  nb::class_<Scheduler>(
      module, "Scheduler",
      "A queue of tasks in shared memory, first in, first out, and a list of workers, for all processes that open the\n"
      "same name. A task is received by one process, once. Safe to use from several threads and, after fork, in the child.")
      .def(nb::init<bool, std::optional<std::string>, std::uint32_t, std::uint32_t>(), nb::arg("create") = true,
           nb::arg("name") = nb::none(), nb::arg("max_tasks") = 1'000'000, nb::arg("max_workers") = 1024,
           "Make a scheduler (the main process), or open it (``create=False``).\n\n"
           "Args:\n"
           "    create: True makes the segment, which goes when this process closes it or ends; a dead program's is taken "
           "over.\n"
           "    name: None is ``miniray_scheduler`` in /dev/shm; another name gives ``miniray_<name>_scheduler``.\n"
           "    max_tasks: Queued tasks at most. Ignored when opening.\n"
           "    max_workers: Registered workers at most. Ignored when opening.\n\n"
           "Raises:\n"
           "    FileExistsError: A live process made a scheduler of that name; the text names it.\n"
           "    FileNotFoundError: Opened before it was made.\n"
           "    PermissionError: The segment is another user's, or readable by others.\n"
           "    RuntimeError: Another layout version, or a damaged segment.")
      .def("submit_task", &Scheduler::submit_task, nb::arg("task"),
           "Queue a task; wakes a process that waits for one. Copies its bytes, does not block.\n\n"
           "Raises:\n    MemoryError: The queue is full.\n    ObjectStoreFullError: No room for the task's bytes.")
      .def("get_next_task", &Scheduler::get_next_task, nb::arg("timeout") = nb::none(),
           "Take the oldest task, or return None when there is none.\n\n"
           "Args:\n    timeout: Seconds to wait for one, without the GIL; None does not wait.\n\n"
           "A process that dies after it took a task takes the task along.")
      .def("register_worker", &Scheduler::register_worker, nb::arg("worker_id"),
           "Add a worker, idle at first. It stays until it is unregistered, whoever ends.\n\n"
           "Args:\n    worker_id: An integer of your choice, for example the process number.\n\n"
           "Raises:\n    ValueError: Registered already.\n    MemoryError: max_workers are.")
      .def("unregister_worker", &Scheduler::unregister_worker, nb::arg("worker_id"),
           "Remove a worker.\n\nRaises:\n    KeyError: Not registered.")
      .def(
          "mark_worker_busy", [](Scheduler& self, std::int64_t id) { self.mark(id, false); }, nb::arg("worker_id"),
          "Say that a worker is busy; once or twice.\n\nRaises:\n    KeyError: Not registered.")
      .def(
          "mark_worker_idle", [](Scheduler& self, std::int64_t id) { self.mark(id, true); }, nb::arg("worker_id"),
          "Say that a worker is idle; once or twice.\n\nRaises:\n    KeyError: Not registered.")
      .def("get_pending_task_count", &Scheduler::pending_count, "Return how many tasks are queued.")
      .def("get_idle_worker_count", &Scheduler::idle_count, "Return how many registered workers are idle.")
      .def(
          "has_idle_worker", [](Scheduler& self) { return self.idle_count() != 0; },
          "Return whether a registered worker is idle.")
      .def_prop_ro("name", &Scheduler::name, "File in /dev/shm.")
      .def("close", &Scheduler::close, "Leave the scheduler; in the process that made it, remove it. Twice is harmless.")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __enter__(self) -> Scheduler"))
      .def(
          "__exit__", [](Scheduler& self, const nb::args&) { self.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"))
      .def("_validate", &Scheduler::validate, nb::sig("def _validate(self) -> str | None"));
}

}  // namespace miniray::bindings
