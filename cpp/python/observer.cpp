// python/observer.cpp - see observer.hpp. Reads with runtime/observation.hpp, without the GIL, and makes Python values of it.
#include "python/observer.hpp"

#include <algorithm>
#include <string>

#include "python/domain_errors.hpp"
#include "python/guard.hpp"
#include "python/object_ref.hpp"
#include "python/session_functions.hpp"
#include "runtime/observation.hpp"

namespace miniray::python {

namespace {

using runtime::Observation;
using runtime::PayloadPlace;

const char* state_name(std::uint32_t state) noexcept {
  switch (static_cast<store::ObjectState>(state)) {
    case store::ObjectState::kFree:
      return "free";
    case store::ObjectState::kPending:
      return "pending";
    case store::ObjectState::kWriting:
      return "writing";
    case store::ObjectState::kSealed:
      return "sealed";
    case store::ObjectState::kError:
      return "error";
    case store::ObjectState::kReclaiming:
      return "reclaiming";
    case store::ObjectState::kOrphaned:
      return "orphaned";
  }
  return "unknown";
}

const char* place_name(PayloadPlace place) noexcept {
  switch (place) {
    case PayloadPlace::kNone:
      return "none";
    case PayloadPlace::kInline:
      return "inline";
    case PayloadPlace::kHeap:
      return "heap";
    case PayloadPlace::kSpilled:
      return "spilled";
  }
  return "unknown";
}

const char* kind_name(process::ProcessKind kind) noexcept {
  switch (kind) {
    case process::ProcessKind::kNobody:
      return "nobody";
    case process::ProcessKind::kDriver:
      return "driver";
    case process::ProcessKind::kSupervisor:
      return "supervisor";
    case process::ProcessKind::kWorker:
      return "worker";
    case process::ProcessKind::kObserver:
      return "observer";
    case process::ProcessKind::kClient:
      return "client";
  }
  return "unknown";
}

const char* worker_state_name(std::uint32_t state) noexcept {
  switch (static_cast<process::WorkerState>(state)) {
    case process::WorkerState::kNoWorker:
      return "";
    case process::WorkerState::kIdle:
      return "idle";
    case process::WorkerState::kRunning:
      return "running";
    case process::WorkerState::kBlocked:
      return "blocked";
    case process::WorkerState::kHost:
      return "actor";
    case process::WorkerState::kExiting:
      return "exiting";
  }
  return "unknown";
}

bool append(PyObject* list, PyObject* item) {
  const Owned owned(item);
  return item != nullptr && PyList_Append(list, item) == 0;
}

// The files of a session: its own ones when it was opened by name, else those of the session this process is attached to, which stays
// while a SessionUse exists.
class Look {
 public:
  Look() = default;
  ~Look() {
    if (!opened_) return;
    platform::close_descriptor(files_.control);
    platform::close_descriptor(files_.heap);
  }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

  // False with a Python error.
  bool open(PyObject* args) {
    const char* name = nullptr;
    if (!PyArg_ParseTuple(args, "z", &name)) return false;
    if (name == nullptr) {
      if (session == nullptr || session->ends.load()) {
        PyErr_SetString(PyExc_RuntimeError, "this process has no session: call miniray.init(), or name a session");
        return false;
      }
      use_ = std::make_unique<SessionUse>();
      files_ = session->domain.files();
      name_ = session->name;
      return true;
    }
    const std::string control = control_name(name);
    const std::string heap = heap_name(name);
    runtime::DomainFailure failure;
    {
      const GilRelease released;
      failure = Domain::open_to_look(control.c_str(), heap.c_str(), runtime::DomainUsage::kSession, files_);
    }
    if (failure) {
      (void)raise_domain_failure(failure, control.c_str());
      return false;
    }
    opened_ = true;
    name_ = name;
    return true;
  }
  [[nodiscard]] runtime::DomainFiles files() const noexcept { return files_; }
  [[nodiscard]] const char* name() const noexcept { return name_.c_str(); }

 private:
  runtime::DomainFiles files_;
  std::string name_;
  bool opened_ = false;
  std::unique_ptr<SessionUse> use_;
};

PyObject* raise_look_failure(int error) {
  if (error == -ENODATA) {
    PyErr_SetString(PyExc_FileNotFoundError, "the session ended while it was looked at");
    return nullptr;
  }
  errno = -error;
  return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject* object_row(const runtime::ObservedObject& object) {
  Owned holders(PyList_New(0));
  if (!holders) return nullptr;
  for (const runtime::ObservedHolder& holder : object.holders) {
    PyObject* row = Py_BuildValue("(iss)", holder.number, kind_name(holder.kind), holder.is_view ? "view" : "ref");
    if (!append(holders.get(), row)) return nullptr;
  }
  Owned site(object.call_site.empty()
                 ? Py_NewRef(Py_None)
                 : PyUnicode_DecodeUTF8(object.call_site.data(), static_cast<Py_ssize_t>(object.call_site.size()), "replace"));
  if (!site) return nullptr;
  return Py_BuildValue("(ssIsKIIOIIO)", object_id_hex(object.id).c_str(), state_name(object.state), object.flags,
                       place_name(runtime::payload_place(object.flags, object.offset, object.size_bytes)),
                       static_cast<unsigned long long>(object.size_bytes), object.references, object.pins, holders.get(),
                       object.task_count, object.container_count, site.get());
}

// _observe_objects(session name, or None for this process's)
PyObject* observe_objects(PyObject*, PyObject* args) {
  try {
    Look look;
    if (!look.open(args)) return nullptr;
    std::vector<runtime::ObservedObject> objects;
    int error = 0;
    {
      const GilRelease released;
      Observation observation;
      error = observation.begin(look.files());
      if (error == 0) objects = observation.objects();
    }
    if (error != 0) return raise_look_failure(error);
    Owned rows(PyList_New(0));
    if (!rows) return nullptr;
    for (const runtime::ObservedObject& object : objects) {
      if (!append(rows.get(), object_row(object))) return nullptr;
    }
    return rows.release();
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

// A resource's name as Python text; it was read from memory that somebody may have damaged.
PyObject* resource_name(const scheduler::Resource& resource) {
  const char* end = std::find(std::begin(resource.name), std::end(resource.name), '\0');
  return PyUnicode_DecodeUTF8(resource.name, end - resource.name, "replace");
}

// {name: (total, available)}, in units of 1/10,000.
PyObject* resource_amounts(const scheduler::ResourcesHeader& header) {
  Owned amounts(PyDict_New());
  for (const scheduler::Resource& resource : header.resources) {
    if (resource.name[0] == '\0') continue;
    const Owned name(resource_name(resource));
    const Owned pair(
        Py_BuildValue("(LL)", static_cast<long long>(resource.total.get()), static_cast<long long>(resource.available.get())));
    if (!amounts || !name || !pair || PyDict_SetItem(amounts.get(), name.get(), pair.get()) != 0) return nullptr;
  }
  return amounts.release();
}

// [(queued tasks, {name: units})] of the demands that tasks are queued with.
PyObject* queued_demands(const scheduler::ResourcesHeader& header) {
  Owned queued(PyList_New(0));
  if (!queued) return nullptr;
  const Index count = std::min(header.shape_count.get(), scheduler::kShapeCapacity);
  for (Index index = 1; index < count; ++index) {
    const scheduler::Shape& shape = header.shapes[index];
    if (shape.queued_count.get() == 0) continue;
    Owned demands(PyDict_New());
    const std::uint32_t demand_count = std::min(shape.demand_count.get(), scheduler::kShapeDemands);
    for (std::uint32_t i = 0; i < demand_count; ++i) {
      const scheduler::Demand& demand = shape.demands[i];
      if (demand.resource >= scheduler::kResourceCapacity) continue;
      const Owned name(resource_name(header.resources[demand.resource]));
      const Owned units(PyLong_FromLongLong(demand.amount));
      if (!demands || !name || !units || PyDict_SetItem(demands.get(), name.get(), units.get()) != 0) return nullptr;
    }
    if (!append(queued.get(), Py_BuildValue("(IO)", shape.queued_count.get(), demands.get()))) return nullptr;
  }
  return queued.release();
}

PyObject* process_list(const std::vector<runtime::ObservedProcess>& processes) {
  Owned rows(PyList_New(0));
  if (!rows) return nullptr;
  for (const runtime::ObservedProcess& row : processes) {
    PyObject* item = Py_BuildValue("(issK)", row.number, kind_name(row.kind), worker_state_name(row.worker_state),
                                   static_cast<unsigned long long>(row.tasks_run));
    if (!append(rows.get(), item)) return nullptr;
  }
  return rows.release();
}

// _observe_session(session name, or None for this process's)
PyObject* observe_session(PyObject*, PyObject* args) {
  try {
    Look look;
    if (!look.open(args)) return nullptr;
    Observation observation;
    runtime::ObservedCounts counts;
    std::vector<runtime::ObservedProcess> processes;
    int error = 0;
    {
      const GilRelease released;
      error = observation.begin(look.files());
      if (error == 0) {
        counts = observation.counts();
        processes = observation.processes();
      }
    }
    if (error != 0) return raise_look_failure(error);
    const runtime::ControlHeader& header = observation.header();
    const Owned resources(resource_amounts(header.scheduler.resources));
    const Owned demands(queued_demands(header.scheduler.resources));
    const Owned rows(process_list(processes));
    if (!resources || !demands || !rows) return nullptr;
    const auto bytes = [](std::uint64_t size) { return static_cast<unsigned long long>(size); };
    return Py_BuildValue(
        "{s:s,s:I,s:i,s:K,s:K,s:K,s:K,s:O,s:K,s:O,s:I,s:I,s:I,s:I,s:I,s:I,s:K,s:O,s:O,s:O}", "name", look.name(),
        "layout_version", header.version.load_acquire(), "driver_pid", header.creator.load_acquire(), "driver_start_ticks",
        bytes(header.creator_start_time.load_acquire()), "used_bytes", bytes(header.heap.used_bytes.get()), "capacity_bytes",
        bytes(header.heap.page_count == 0 ? 0 : (header.heap.page_count - 1) * platform::kPageBytes), "resident_bytes",
        bytes(observation.heap_resident_bytes()), "capacity_was_given",
        header.config.heap_size_was_given != 0 ? Py_True : Py_False, "control_resident_bytes",
        bytes(observation.control_resident_bytes()), "records_call_sites",
        header.objects.call_sites_offset != 0 ? Py_True : Py_False, "objects", counts.objects, "object_capacity",
        header.config.object_capacity, "tasks", counts.tasks, "task_capacity", header.config.task_capacity, "queued",
        header.scheduler.resources.queued_count.get() - header.scheduler.listed_placements.get(), "running",
        header.scheduler.running_count.get(), "finished", bytes(header.scheduler.finished_count.get()), "resources",
        resources.get(), "queued_demands", demands.get(), "processes", rows.get());
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyMethodDef functions[] = {
    {"_observe_objects", guarded<observe_objects>, METH_VARARGS, nullptr},
    {"_observe_session", guarded<observe_session>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_observer_functions(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace miniray::python
