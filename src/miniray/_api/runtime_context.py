# _api/runtime_context.py - get_runtime_context.
#
# Invariants  R1 an object of the class holds nothing: what it tells is of the task that runs when it is asked.
#             R2 ids are hex digits: of a task those of ids.task_id(), of an actor those of its handles.
"""What a task or an actor may know of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._api import accelerators, environments
from miniray._api.actor_handle import ActorHandle
from miniray._api.ids import PlacementGroupID
from miniray._api.option_table import RESOURCE_UNIT
from miniray._runtime import actor_host, function_names, ids, namespace
from miniray._runtime.temp_folder import temp_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.runtime_env import RuntimeEnv


class RuntimeContext:
    """What the program that asks runs in; by :func:`get_runtime_context`."""

    def get(self) -> dict[str, Any]:
        """Return the ids by name; deprecated, as in Ray."""
        import warnings

        warnings.warn("Use get_xxx_id() methods to get relevant ids instead", DeprecationWarning, stacklevel=2)
        found: dict[str, Any] = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "namespace": self.namespace,
        }
        if self.get_task_id() is not None:
            found["task_id"] = self.get_task_id()
        if self.get_actor_id() is not None:
            found["actor_id"] = self.get_actor_id()
        return found

    def get_job_id(self) -> str:
        """Return the id of the program, the same for all."""
        return ids.JOB_ID

    def get_node_id(self) -> str:
        """Return the id of this machine in this session."""
        return ids.node_id()

    def get_worker_id(self) -> str:
        """Return the id of this process in this session."""
        return ids.worker_id()

    def get_session_name(self) -> str:
        """Return the name of the session."""
        return core._session_name()

    def get_temp_dir(self) -> str:
        """Return the folder for temporary files."""
        return temp_folder()

    def get_task_id(self) -> str | None:
        """Return the id of the task or call that runs; None in the driver."""
        return ids.task_id()

    def get_task_name(self) -> str | None:
        """Return the name of the task that runs, of its function or given by ``options``; None in the driver."""
        running = ids.running()
        return None if running is None else running[1]

    def get_task_function_name(self) -> str | None:
        """Return module and name of the function or the method that runs; None in the driver."""
        running = ids.running()
        return None if running is None else function_names.full_name(running[4])

    def get_actor_id(self) -> str | None:
        """Return the id of the actor of this process, that of its handles; None without one."""
        return ids.actor_id()

    def get_actor_name(self) -> str | None:
        """Return the name of the actor of this process, empty for one without; None where there is no actor."""
        made_by = actor_host.own_actor()
        return None if made_by is None else made_by.name

    @property
    def current_actor(self) -> ActorHandle:
        """A handle of the actor of this process, which does not keep it.

        Raises:
            RuntimeError: This is no actor.
        """
        own, made_by = core._own_actor(), actor_host.own_actor()
        if own is None or made_by is None:
            raise RuntimeError("This method is only available in an actor.")
        return ActorHandle(own, made_by.packed_info)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor of this process has been started again.

        Raises:
            RuntimeError: This is no actor.
        """
        own = core._own_actor()
        if own is None:
            raise RuntimeError("This method is only available in an actor.")
        facts = core._actor_facts(own)
        return facts is not None and facts[2] > 0

    @property
    def namespace(self) -> str:
        """The namespace of named actors."""
        return namespace.current()

    def get_assigned_resources(self) -> Mapping[str, float]:
        """Return what the running task, or its actor, holds; by name, without what is 0.

        Raises:
            AssertionError: In the driver, as in Ray.
        """
        running = ids.running()
        if running is None:
            raise AssertionError("This method is only available when the process is a worker.")
        return {name: units / RESOURCE_UNIT for name, units in running[2].items() if units}

    def is_canceled(self) -> bool:
        """Return whether the task or call that runs has been cancelled.

        Raises:
            RuntimeError: In the driver, and in async actors, whose calls get CancelledError.
        """
        running = ids.running()
        if running is None:
            raise RuntimeError("This method is only available when the process is a worker.")
        if actor_host.is_async():
            raise RuntimeError("This method is not supported in an async actor.")
        return running[3]

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Return the accelerators that the running task or actor holds, by family, as their drivers name them."""
        return accelerators.accelerator_ids()

    def get_resource_ids(self) -> dict[str, list[str]]:
        """Return the same: its old name."""
        return self.get_accelerator_ids()

    def get_placement_group_id(self) -> str | None:
        """Return the id of the placement group that the running task or actor is in; None without one."""
        current = core._current_placement()
        return None if current is None else current[0].hex()

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """The id of the placement group that the running task or actor is in; nil without one."""
        current = core._current_placement()
        return PlacementGroupID.nil() if current is None else PlacementGroupID(current[0])

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the running task or actor makes belongs to its placement group."""
        current = core._current_placement()
        return current is not None and current[1]

    def get_runtime_env_string(self) -> str:
        """Return the runtime environment of this process as JSON."""
        import json

        return json.dumps(environments.current(), sort_keys=True)

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment of this process, which what it starts inherits."""
        return environments.current()

    def get_node_labels(self) -> dict[str, str]:
        """Return the labels of this machine."""
        return {"ray.io/node-id": ids.node_id()}

    @property
    def gcs_address(self) -> str:
        """Where the cluster's control service listens: there is none."""
        return ""

    @property
    def job_id(self) -> str:
        """The same as get_job_id(), which is to be used."""
        return self.get_job_id()

    @property
    def node_id(self) -> str:
        """The same as get_node_id(), which is to be used."""
        return self.get_node_id()

    @property
    def task_id(self) -> str:
        """The same as get_task_id(), which is to be used.

        Raises:
            AssertionError: In the driver, as in Ray.
        """
        found = self.get_task_id()
        if found is None:
            raise AssertionError("This method is only available when the process is a worker.")
        return found

    @property
    def actor_id(self) -> str | None:
        """The same as get_actor_id(), which is to be used.

        Raises:
            AssertionError: In the driver, as in Ray.
        """
        if ids.running() is None:
            raise AssertionError("This method is only available when the process is a worker.")
        return self.get_actor_id()


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Return what tells a program about the task, the actor and the session that it runs in; starts a session."""
    core._require_session()
    return _context
