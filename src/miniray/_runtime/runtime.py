# _runtime/runtime.py - this driver's session: started once, ended once, whatever happens in between.
#
# Invariants  U1 either everything of a session exists (segments, supervisor, monitor), or nothing of it is left.
#                Segments without a name go with the last process that has them; the driver hands their descriptors on.
#             U2 a forked child of the driver never touches the session of its parent.
#             U3 segments with names are made when there is a supervisor already, which waits to be told to begin:
#                whenever the driver is killed, there is somebody who removes them.
"""Starting and ending the local session."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime import environment, limits, log, namespace, output, packages
from miniray._runtime.environment import Description
from miniray._runtime.fault_points import fault_point
from miniray._runtime.log_dedup import DedupSettings
from miniray._runtime.monitor import Monitor
from miniray._runtime.spill_file import open_spill_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from miniray._runtime.machine import StorePlan
    from miniray._runtime.structured_log import LogSettings

_T = TypeVar("_T")

_SHARED_MEMORY_FOLDER = "/dev/shm"
_CONTROL_SUFFIX = "_scheduler"


class SessionConfig(Record):
    """Sizes of a session.

    Args:
        pool_size: Workers that are kept, at least 1.
        processors: Tasks that begin at once, where more workers are there; and processes that wait awake.
        totals: Resources in steps of 1/10000, by name.
        store: Size and place of the object store.
        spill_folder: Folder on the disk that objects go to when the store is full.
        spill_bytes: How much may go there; 0: nothing.
        spill_required: Whether a folder that cannot be used is an error; else objects stay in memory, with a warning.
        object_capacity: Objects at most.
        task_capacity: Queued and running tasks at most.
        worker_capacity: Worker processes at most.
        log_to_driver: Whether to print what workers print.
        namespace: Where named actors live.
        store_was_given: Whether the user gave the size of the store; for people who ask why it has that size.
        record_call_sites: Whether each object remembers the line of the user's code that made it.
        memory_threshold: Share of the memory from which on workers are ended.
        memory_refresh_s: Seconds between two looks at the memory while tasks run; 0: never.
        memory_retries: How often a task that was ended for memory is tried again; None: without a limit.
        stop_limit_s: Seconds that a stopped worker may keep others waiting for the lock; 0: for ever.
        logging: How driver and workers log; None: as they do.
        environment: What tasks find around them unless they say otherwise.
        files_parent: Folder for temporary files; None: the system's.
        preload: Modules that workers find imported.
    """

    pool_size: int
    processors: int
    totals: Mapping[str, int]
    store: StorePlan
    spill_folder: str
    spill_bytes: int
    spill_required: bool
    object_capacity: int
    task_capacity: int
    worker_capacity: int
    log_to_driver: bool
    namespace: str
    store_was_given: bool = False
    record_call_sites: bool = False
    memory_threshold: float = 0.95
    memory_refresh_s: float = 0.25
    stop_limit_s: float = 30.0
    memory_retries: int | None = None
    logging: LogSettings | None = None
    environment: Description = Description()
    files_parent: str | None = None
    preload: tuple[str, ...] = ()


class Leftover(Record):
    """What a dead program had left in shared memory.

    Attributes:
        name: The session, or the file of the low-level module.
        size_bytes: Memory that it took.
    """

    name: str
    size_bytes: int


class Runtime:
    """A running session of this driver."""

    def __init__(self, config: SessionConfig) -> None:
        """Create the segments and start the supervisor.

        Raises:
            ObjectStoreFullError: The shared memory file system is full.
            OSError: Another resource of the system is short; the text names the limit.
        """
        self.config = config
        limits.check(config.pool_size)
        remove_stale_sessions()
        packages.remove_stale_folders()
        self.name = os.urandom(6).hex()
        output.set_up_dedup(DedupSettings.of_environment())
        self._folder = packages.session_folder(self.name, config.files_parent)
        processes = config.worker_capacity + 16
        store = config.store
        spill_fd = _open_spill_file(config)
        spill_bytes = config.spill_bytes if spill_fd >= 0 else 0
        self._doorbell_fd = -1
        monitor: Monitor | None = None
        is_created = False

        def create() -> None:
            nonlocal is_created
            core._session_create(
                self.name,
                store.size_bytes,
                spill_bytes,
                config.object_capacity,
                config.task_capacity,
                processes,
                store.anonymous,
                config.store_was_given,
                config.record_call_sites,
                config.processors,
            )
            is_created = True
            fault_point("session.created")
            if spill_fd >= 0:
                core._session_spill_file(spill_fd)  # which closes it
            namespace.enter(config.namespace)
            if config.logging is not None:
                from miniray._runtime import structured_log  # few ask for it, and it imports much

                structured_log.apply(config.logging)
            core._set_resources(dict(config.totals))
            core._set_memory_retries(config.memory_retries)
            core._set_stop_limit(round(config.stop_limit_s * 1000))
            core._set_doorbell(self._doorbell_fd)
            environment.start(config.environment)

        try:
            fault_point("session.doorbell")
            self._doorbell_fd = _explained(lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            if store.anonymous:
                create()
            self._monitor = monitor = _explained(
                lambda: Monitor(
                    {
                        "name": self.name,
                        "driver_pid": os.getpid(),
                        "pool_size": config.pool_size,
                        "worker_capacity": config.worker_capacity,
                        "namespace": config.namespace,
                        "environment": int(config.environment != Description()),  # the first of the session
                        "folder": self._folder,
                        "logging": None if config.logging is None else vars(config.logging),
                        "path": _search_path(),
                        "preload": config.preload,
                        "program": sys.argv[0] if sys.argv else "",
                        "memory": {"threshold": config.memory_threshold, "refresh_s": config.memory_refresh_s},
                        "segment_fds": core._session_descriptors() if store.anonymous else None,
                    },
                    self._doorbell_fd,
                    spill_fd,
                    config.log_to_driver,
                )
            )
            if not store.anonymous:
                create()  # U3
            monitor.let_begin()
        except BaseException:
            if monitor is not None:
                monitor.abandon()
            if is_created:
                core._session_close()
                core._session_unlink(self.name)
            elif spill_fd >= 0:
                os.close(spill_fd)
            if self._doorbell_fd >= 0:
                os.close(self._doorbell_fd)
            raise
        fault_point("session.started")

    @property
    def store_address(self) -> str:
        """Where the object store is, for people."""
        file = f"miniray_{self.name}_objectstore"
        return f"memfd:{file}" if self.config.store.anonymous else f"{_SHARED_MEMORY_FOLDER}/{file}"

    @property
    def supervisor_pid(self) -> int:
        """Process number of the supervisor."""
        return self._monitor.supervisor_pid

    def stop(self) -> None:
        """End all processes of the session and remove its segments; blocks until they are gone."""
        fault_point("session.stopping")
        with contextlib.ExitStack() as last:  # whatever one of these raises, the others are done
            last.callback(output.forget_all)
            last.callback(packages.remove_folder, self._folder)
            last.callback(os.close, self._doorbell_fd)
            last.callback(core._session_unlink, self.name)
            last.callback(lambda: fault_point("session.closed"))
            last.callback(core._session_close)
            last.callback(lambda: fault_point("session.processes_ended"))
            last.callback(self._monitor.stop)
            core._end_awaiting()  # who awaits hears that the session ends, not that its worker did


def _explained(start: Callable[[], _T]) -> _T:
    """Call what needs descriptors, processes or threads; an error names the limit."""
    try:
        return start()
    except OSError as error:
        raise limits.explain(error, "start the session") from error


def _search_path() -> list[str]:
    """Return where this program finds modules; an empty entry means the working folder, if it still exists."""
    try:
        here = [os.getcwd()]
    except OSError:
        here = []
    return [folder for entry in sys.path for folder in ([entry] if entry else here)]


def _open_spill_file(config: SessionConfig) -> int:
    """Return the descriptor of the spill file, -1 for none."""
    if not config.spill_bytes:
        if config.spill_required:
            raise ValueError(
                f"objects cannot be spilled to {config.spill_folder!r}: there is no space for files. Name another "
                "folder in init(object_spilling_directory=...), or turn spilling off: init(object_spilling_limit=0)."
            )
        return -1
    try:
        return open_spill_file(config.spill_folder, config.spill_bytes)
    except OSError as error:
        problem = f"objects cannot be spilled to {config.spill_folder!r}: {error.strerror or error}"
        if config.spill_required:
            raise ValueError(
                f"{problem}. Name a folder that this user may write to in init(object_spilling_directory=...)."
            ) from error
        log.warn(f"{problem}. A full store is an error in this session.")
        return -1


_current: Runtime | None = None
_hooks_installed = False


def current() -> Runtime | None:
    """Return this driver's running session."""
    return _current


def explain_store() -> str | None:
    """Return how the size and the place of this session's object store came about, None without a session."""
    return _current.config.store.reason if _current is not None else None


def start(config: SessionConfig) -> Runtime:
    """Start the session of this process."""
    global _current
    if _current is not None:
        raise RuntimeError("a session is running already")
    _install_process_hooks()
    _current = Runtime(config)
    return _current


def stop() -> None:
    """End the session of this process, if there is one."""
    global _current
    runtime, _current = _current, None
    if runtime is not None:
        runtime.stop()


def remove_stale_sessions() -> list[Leftover]:
    """Remove the segments of sessions whose processes are all dead, never a live session's; return what they were."""
    removed = []
    with contextlib.suppress(OSError):
        for file in sorted(os.listdir(_SHARED_MEMORY_FOLDER)):
            if not file.startswith("miniray_") or not file.isprintable():  # no name of ours; not even text, perhaps
                continue
            name = file[len("miniray_") : -len(_CONTROL_SUFFIX)] if file.endswith(_CONTROL_SUFFIX) else ""
            with contextlib.suppress(OSError, RuntimeError):
                if name and core._session_inspect(name) == 0:
                    size = _memory_of(file) + _memory_of(f"miniray_{name}_objectstore")
                    core._session_unlink(name)
                    removed.append(Leftover(name, size))
                    continue
                size = _memory_of(file)
                if core._unlink_if_dead(file):  # a segment of the low-level module
                    removed.append(Leftover(file, size))
    return removed


def _memory_of(file: str) -> int:
    """Return how much memory a file of shared memory takes, in bytes; 0 when it is gone."""
    try:
        return os.stat(f"{_SHARED_MEMORY_FOLDER}/{file}").st_blocks * 512
    except OSError:
        return 0


def _forget_in_child() -> None:
    global _current
    _current = None
    output.forget_in_child()
    core._session_forget()


def _install_process_hooks() -> None:
    """End the session at exit, and leave it alone in forked children; once per process."""
    global _hooks_installed
    if _hooks_installed:
        return
    _hooks_installed = True
    atexit.register(stop)
    os.register_at_fork(after_in_child=_forget_in_child)
