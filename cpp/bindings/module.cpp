// bindings/module.cpp - the extension module; nothing but registration happens here.
#include <nanobind/nanobind.h>

#include "bindings/object_id.hpp"
#include "bindings/object_store.hpp"
#include "bindings/scheduler.hpp"
#include "bindings/shared_domain.hpp"
#include "bindings/task.hpp"
#include "python/actor_calls.hpp"
#include "python/actors.hpp"
#include "python/after_task.hpp"
#include "python/awaits.hpp"
#include "python/begun_call.hpp"
#include "python/call_group.hpp"
#include "python/call_threads.hpp"
#include "python/caller.hpp"
#include "python/cancellation.hpp"
#include "python/codec.hpp"
#include "python/context.hpp"
#include "python/demands.hpp"
#include "python/environments.hpp"
#include "python/executor.hpp"
#include "python/fault_functions.hpp"
#include "python/object_ref.hpp"
#include "python/objects.hpp"
#include "python/observer.hpp"
#include "python/placement_groups.hpp"
#include "python/session_functions.hpp"
#include "python/store_memory.hpp"
#include "python/stream_reader.hpp"
#include "python/streams.hpp"
#include "python/supervision.hpp"
#include "python/table_functions.hpp"
#include "python/waiting.hpp"

NB_MODULE(_miniray_core, module) {
  // The session, its hooks and the types are the process's; a value of another interpreter must not meet them.
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    throw nanobind::import_error("miniray works in the main interpreter only, not in a subinterpreter: make its calls there");
  }
  module.doc() = "Shared-memory core of miniray.";
  module.attr("__version__") = MINIRAY_VERSION;
  nanobind::set_leak_warnings(false);  // types live until the interpreter ends, and atexit keeps a function
  namespace python = miniray::python;
  for (const auto add :
       {python::add_object_ref_type,        python::add_store_memory,          python::add_caller_type,
        python::add_object_functions,       python::add_executor_functions,    python::add_session_functions,
        python::add_demand_functions,       python::add_supervision_functions, python::add_observer_functions,
        python::add_actor_functions,        python::add_await_functions,       python::add_actor_call_functions,
        python::add_cancellation_functions, python::add_context_functions,     python::add_placement_group_functions,
        python::add_table_functions,        python::add_stream_functions,      python::add_stream_reader_type,
        python::add_environment_functions,  python::add_after_task_functions,  python::add_begun_call_type,
        python::add_call_group_type,        python::add_waiting_functions,     python::add_call_thread_functions,
        python::add_fault_functions}) {
    if (!add(module.ptr())) throw nanobind::python_error();
  }
  namespace bindings = miniray::bindings;
  bindings::add_object_id(module);
  bindings::add_task(module);
  bindings::add_object_store(module);
  bindings::add_scheduler(module);
  bindings::add_shared_domain_functions(module);
}
