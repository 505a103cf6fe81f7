# _api/session.py - init, shutdown, is_initialized, and the start of a session by the first call that needs one.
#
# Invariants  S1 what only a process that starts a session needs is imported in init(): workers import this module.
"""Starting and ending a session, as Ray spells it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._api import ids
from miniray._api.options import RESOURCE_UNIT
from miniray._runtime import hooks, log
from miniray.exceptions import RaySystemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from miniray._api.logging_config import LoggingConfig
    from miniray._runtime.structured_log import LogSettings

_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that the forked child has not may hold the parent's


os.register_at_fork(after_in_child=_renew_lock)


class RayContext:
    """What ``init`` returns: facts of the session, and a context manager that ends it.

    Attributes:
        dashboard_url: Empty; this release has no dashboard.
        address_info: Names of the session and its segments, by Ray's keys.
    """

    dashboard_url: str = ""

    def __init__(self, address_info: Mapping[str, Any]) -> None:
        """Keep the facts; see the class."""
        self.address_info = address_info

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def keys(self) -> Any:
        """Return the keys of ``address_info``."""
        return self.address_info.keys()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """End the session."""
        shutdown()

    def __repr__(self) -> str:
        return f"RayContext(session={self.address_info.get('session_name')!r})"


def init(address: str | None = None, **kwargs: Any) -> RayContext:
    """Start a session on this machine: an object store in shared memory and worker processes.

    Takes every parameter of Ray's ``init``; what only a cluster has is checked and ignored. Blocks for some
    milliseconds; workers start in the background.

    Args:
        address: None or ``"local"``.
        **kwargs: ``num_cpus`` (also spelled ``num_workers``; default: the processors this process may use),
            ``num_gpus``, ``resources``, ``object_store_memory`` (bytes; default: 30% of memory),
            ``object_spilling_directory`` (where objects go when the store is full; default: the folder for temporary
            files), ``namespace``, ``log_to_driver``, ``ignore_reinit_error`` and more as in Ray; ``object_capacity``,
            ``task_capacity``, ``worker_capacity`` and ``object_spilling_limit`` (bytes on disk; default: 90% of what
            is free there, 0: never spill) are miniray's own limits. ``preload`` (miniray's own: names of modules) has
            workers begin with these imported; numeric libraries among them have one thread in workers.

    Returns:
        A context manager that ends the session when left.

    Raises:
        RuntimeError: A session is open already (unless ``ignore_reinit_error``), or a keyword is unknown.
        TypeError, ValueError: A keyword has a value that cannot be; the text names both.
        ConnectionError: ``address`` names a cluster.
        ObjectStoreFullError: Shared memory is full.
        OSError: A limit of the system is too low: open files, processes, address space. The text names it.
    """
    with _lock:
        if core._is_attached():
            if kwargs.get("ignore_reinit_error"):
                return _context()
            raise RuntimeError(
                "Maybe you called ray.init twice by accident? This error can be suppressed by passing in "
                "'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to 'ray.init()'."
            )
        from miniray._api.init_options import resolve_init_options
        from miniray._runtime import runtime

        options = resolve_init_options(address, **kwargs)
        totals = {
            "CPU": options.num_cpus * RESOURCE_UNIT,
            "GPU": options.num_gpus * RESOURCE_UNIT,
            "memory": options.memory_bytes * RESOURCE_UNIT,
            **{name: quantity * RESOURCE_UNIT for name, quantity in options.resources.items()},
        }
        log.debug(options.store.reason)
        if options.store.warning is not None:
            log.warn(options.store.warning)
        runtime.start(
            runtime.SessionConfig(
                pool_size=max(options.num_cpus, 1),
                processors=options.processors,
                totals=totals,
                store=options.store,
                spill_folder=options.spill_folder,
                spill_bytes=options.spill_bytes,
                spill_required=options.spill_required,
                object_capacity=options.object_capacity,
                task_capacity=options.task_capacity,
                worker_capacity=options.worker_capacity,
                log_to_driver=options.log_to_driver,
                namespace=options.namespace,
                store_was_given=options.object_store_was_given,
                record_call_sites=options.record_call_sites,
                memory_threshold=options.memory.threshold,
                memory_refresh_s=options.memory.refresh_s,
                stop_limit_s=options.stop_limit_s,
                memory_retries=options.memory.retries,
                logging=_log_settings(options.logging_config),
                environment=options.environment,
                files_parent=options.temp_folder,
                preload=options.preload,
            )
        )
        _install_sigterm_handler()
        return _context()


def _log_settings(config: LoggingConfig | None) -> LogSettings | None:
    if config is None:
        return None
    from miniray._runtime.structured_log import LogSettings

    return LogSettings(config.encoding, config.log_level, tuple(config.additional_log_standard_attrs))


def _context() -> RayContext:
    from miniray._runtime import runtime

    current = runtime.current()
    name = current.name if current else ""
    return RayContext(
        MappingProxyType(
            {
                "node_ip_address": "127.0.0.1",
                "address": "local",
                "node_id": name,
                "session_name": name,
                "object_store_address": current.store_address if current else "",
                "webui_url": None,
            }
        )
    )


def _install_sigterm_handler() -> None:
    """End the program by ``sys.exit`` on SIGTERM, so that the session ends in order; a handler of the user stays."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(number)

    signal.signal(signal.SIGTERM, leave)


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End the session: its processes are killed, its memory is returned. Does nothing without a session.

    Refs of the session give ValueError from now on; arrays that were read from it stay valid.

    Args:
        wait_for_processes: Accepted as in Ray; miniray always waits.
        _exiting_interpreter: Accepted as in Ray.
    """
    with _lock:
        if (runtime := sys.modules.get("miniray._runtime.runtime")) is not None:  # else nothing was started
            runtime.stop()


def is_initialized() -> bool:
    """Return whether a session is open in this process; also true in workers."""
    return core._is_attached()


def _auto_init() -> None:
    with _lock:
        if core._is_attached():
            return
        if sys.is_finalizing():
            raise RaySystemError("The interpreter is ending: no session can be started any more.")
        from miniray._api.init_options import auto_connect_enabled

        if not auto_connect_enabled():
            raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
        init(os.environ.get("RAY_ADDRESS"))


hooks.install(_auto_init, ids.task_id)
