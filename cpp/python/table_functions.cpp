// python/table_functions.cpp - see table_functions.hpp.
#include "python/table_functions.hpp"

#include "python/guard.hpp"

namespace miniray::python {

namespace {

// _statistics(): counters of the session, for tests and tools.
PyObject* statistics(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  flush_releases_now();
  Domain& domain = session->domain;
  scheduler::SchedulerHeader& shared = domain.header().scheduler;
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  return Py_BuildValue("{s:I,s:I,s:I,s:I,s:I,s:I,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}",     //
                       "objects", domain.objects.slots.used_count(),                        //
                       "tasks", domain.scheduler.tasks.used_count(),                        //
                       "queued", domain.scheduler.queued_count(),                           //
                       "workers", shared.worker_count.get(),                                //
                       "idle_workers", shared.idle_count.get(),                             //
                       "running", shared.running_count.get(),                               //
                       "finished", number(shared.finished_count.get()),                     //
                       "used_bytes", number(domain.heap.used_bytes()),                      //
                       "capacity_bytes", number(domain.heap.capacity_bytes()),              //
                       "backed_bytes", number(domain.heap.backed_bytes()),                  //
                       "spilled_bytes", number(domain.spill.used_bytes()),                  //
                       "spill_capacity_bytes", number(domain.spill.capacity_bytes()),       //
                       "control_resident_bytes", number(domain.control_resident_bytes()),   //
                       "repairs", number(domain.lock.block().repair_count.load_relaxed()),  //
                       "contended", number(domain.lock.block().contended_count.load_relaxed()));
}

// _layout(): {table: (offset in the control file, bytes)} of what a test may want to damage.
PyObject* layout(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  const runtime::ControlHeader& header = session->domain.header();
  Owned places(PyDict_New());
  const auto add = [&](const char* name, std::uint64_t offset, std::uint64_t size_bytes) {
    const Owned place(
        Py_BuildValue("(KK)", static_cast<unsigned long long>(offset), static_cast<unsigned long long>(size_bytes)));
    return places && place && PyDict_SetItemString(places.get(), name, place.get()) == 0;
  };
  const auto add_table = [&](const char* name, const char* chunks, const shm::SlotTableHeader& table, std::uint64_t record) {
    return add(name, table.offset, table.capacity * record) &&
           add(chunks, table.chunks_offset, table.chunk_count * sizeof(shm::SlotChunk));
  };
  constexpr std::uint64_t kScheduler = offsetof(runtime::ControlHeader, scheduler);
  constexpr std::uint64_t kResources = kScheduler + offsetof(scheduler::SchedulerHeader, resources);
  const bool done =
      add("lock", header.lock_offset, offsetof(shm::LockBlock, journal)) &&
      add("processes", header.processes.offset, std::uint64_t{header.processes.capacity} * sizeof(process::ProcessEntry)) &&
      add("shapes", kResources + offsetof(scheduler::ResourcesHeader, shapes), sizeof(scheduler::ResourcesHeader::shapes)) &&
      add("queued_count", kResources + offsetof(scheduler::ResourcesHeader, queued_count), 4) &&
      add("heap", offsetof(runtime::ControlHeader, heap), sizeof(store::PageHeapHeader)) &&
      add("pages", header.heap.rows_offset, header.heap.page_count * sizeof(store::PageRow)) &&
      add_table("objects", "object_chunks", header.objects.slots, sizeof(store::ObjectEntry)) &&
      add_table("tasks", "task_chunks", header.scheduler.tasks, sizeof(scheduler::TaskEntry)) &&
      add_table("wait_nodes", "wait_node_chunks", header.waits.nodes, sizeof(scheduler::WaitNode)) &&
      add_table("wait_groups", "wait_group_chunks", header.waits.groups, sizeof(scheduler::WaitGroup));
  return done ? places.release() : nullptr;
}

// _validate(): None, or what is wrong. Holds the lock while it looks.
PyObject* validate(PyObject*, PyObject*) {
  if (!require_session()) return nullptr;
  const char* fault = session->domain.validate();
  if (fault == nullptr) Py_RETURN_NONE;
  return PyUnicode_FromString(fault);
}

PyMethodDef methods[] = {
    {"_statistics", guarded<statistics>, METH_NOARGS, nullptr},
    {"_layout", guarded<layout>, METH_NOARGS, nullptr},
    {"_validate", guarded<validate>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_table_functions(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace miniray::python
