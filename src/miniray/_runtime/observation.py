# _runtime/observation.py - the core's view of a session, as Python values: one row per object, one per session.
#
# Invariants  B1 looking changes nothing: no lock, no row in the session's tables; a program pays nothing for it.
#             B2 each row is consistent in itself. Two rows, or a row and the counts of its session, may belong to
#                moments that differ by as long as the look took.
#             B3 only sessions of this user are seen.
"""What sessions hold, seen from this process or from outside."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX, _SUFFIX = "miniray_", "_scheduler"
_UNIT = 10_000  # resources.hpp kResourceUnit
_OUTSIDE_ID = 2  # object_table.hpp kOutsideId: an exported function


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that keeps an object.

    Attributes:
        pid: Its number.
        process: ``"driver"``, ``"worker"``, ...
        kind: ``"ref"`` for ObjectRefs, ``"view"`` for arrays and other values that use the object's memory.
    """

    pid: int
    process: str
    kind: str


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object.

    Attributes:
        object_id: 32 hexadecimal digits, as ``ObjectRef.hex()``.
        state: ``"pending"`` (its task has not ended), ``"writing"``, ``"sealed"``, ``"error"``, ``"reclaiming"``,
            ``"orphaned"`` (no ref is left, but somebody still uses its memory).
        location: ``"heap"`` (the store), ``"inline"`` (small, in the object's row), ``"spilled"``, ``"none"`` (no value
            yet).
        size_bytes: Of the value as stored; 0 while there is none.
        references: What keeps it, all together: processes, tasks and objects.
        pins: Processes that pin its memory.
        holders: The processes among them; one may stand here twice, with both kinds.
        task_count: Unfinished tasks that take it as an argument or as their function.
        container_count: Objects that hold a reference to it.
        call_site: ``file:line function`` that made it, its last 60 bytes; None unless the session records it.
        flags: Bits of the core, for bug reports.
    """

    object_id: str
    state: str
    location: str
    size_bytes: int
    references: int
    pins: int
    holders: tuple[Holder, ...]
    task_count: int
    container_count: int
    call_site: str | None
    flags: int

    @property
    def is_function(self) -> bool:
        """Whether this is an exported function, not a value of the user."""
        return bool(self.flags & _OUTSIDE_ID)

    @property
    def holder_kinds(self) -> tuple[str, ...]:
        """What keeps it: of ``"ref"``, ``"view"``, ``"task"``, ``"object"``; ``("none",)`` when nothing was seen."""
        kinds = [kind for kind in ("ref", "view") if any(holder.kind == kind for holder in self.holders)]
        kinds += ["task"] * bool(self.task_count) + ["object"] * bool(self.container_count)
        return tuple(kinds) or ("none",)


@dataclass(frozen=True, slots=True)
class QueuedDemand:
    """Tasks that wait for resources.

    Attributes:
        task_count: How many.
        resources: What each of them asks for.
        can_ever_run: False when the session has less than that in all; such tasks wait for ever.
    """

    task_count: int
    resources: Mapping[str, float]
    can_ever_run: bool


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process of a session.

    Attributes:
        pid: Its number.
        kind: ``"driver"``, ``"supervisor"``, ``"worker"``.
        state: Of a worker: ``"idle"``, ``"running"``, ``"blocked"`` (inside ``get`` or ``wait``), ``"exiting"``; empty
            while it starts, and for the others.
        tasks_run: How many tasks it has run.
    """

    pid: int
    kind: str
    state: str
    tasks_run: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session.

    Attributes:
        name: As in ``/dev/shm/miniray_<name>_scheduler``.
        driver_pid: The program that called ``init``.
        driver_is_alive: False for a session that is ending, or left by a program that was killed.
        uptime_seconds: Age of the driver's process.
        used_bytes: Of the store, by blocks in use.
        capacity_bytes: Size of the store.
        capacity_was_given: Whether the user gave it; else it follows from the machine.
        resident_bytes: Memory that the store's file takes; blocks freed are kept for the next object.
        control_resident_bytes: Memory that the tables take.
        objects: Objects that exist.
        object_capacity: Most objects.
        tasks: Tasks that have not ended: running, queued, or waiting for arguments.
        task_capacity: Most tasks.
        queued: Tasks that could start but for resources or workers.
        running: Tasks that run, those blocked in ``get`` and ``wait`` left out.
        finished: Tasks that have ended.
        resources: Total and available amount by name.
        queued_demands: What queued tasks ask for.
        processes: All processes of the session.
        records_call_sites: Whether objects remember the line that made them.
        layout_version: Of the shared memory.
    """

    name: str
    driver_pid: int
    driver_is_alive: bool
    uptime_seconds: float
    used_bytes: int
    capacity_bytes: int
    capacity_was_given: bool
    resident_bytes: int
    control_resident_bytes: int
    objects: int
    object_capacity: int
    tasks: int
    task_capacity: int
    queued: int
    running: int
    finished: int
    resources: Mapping[str, tuple[float, float]]
    queued_demands: tuple[QueuedDemand, ...]
    processes: tuple[ProcessRow, ...]
    records_call_sites: bool
    layout_version: int

    @property
    def workers(self) -> dict[str, int]:
        """Number of workers by state."""
        counts: dict[str, int] = {}
        for process in self.processes:
            if process.kind == "worker":
                counts[process.state or "starting"] = counts.get(process.state or "starting", 0) + 1
        return counts


def observe_objects(session: str | None) -> list[ObjectRow]:
    """Return one row per object of a session, in no order.

    Takes some microseconds per object, half of that without the GIL.

    Args:
        session: Its name, None for the session of this process.

    Raises:
        FileNotFoundError: There is no such session, or it ended meanwhile.
        PermissionError: It belongs to another user.
        RuntimeError: It was made by another version of miniray, or this process has none.
    """
    return [
        ObjectRow(
            object_id, state, location, size, references, pins,
            tuple(Holder(*holder) for holder in holders), tasks, containers, call_site, flags,
        )
        for object_id, state, flags, location, size, references, pins, holders, tasks, containers, call_site
        in core._observe_objects(session)
    ]  # fmt: skip


def observe_session(session: str | None) -> SessionRow:
    """Return the counts of a session; arguments and errors as :func:`observe_objects`."""
    facts: dict[str, Any] = core._observe_session(session)
    start_ticks: int = facts.pop("driver_start_ticks")
    resources = facts.pop("resources")
    demands = facts.pop("queued_demands")
    processes = facts.pop("processes")
    return SessionRow(
        **facts,
        driver_is_alive=_start_ticks(facts["driver_pid"]) == start_ticks,
        uptime_seconds=_age_seconds(start_ticks),
        resources={name: (total / _UNIT, available / _UNIT) for name, (total, available) in resources.items()},
        queued_demands=tuple(
            QueuedDemand(
                task_count=count,
                resources={name: amount / _UNIT for name, amount in demand.items()},
                can_ever_run=all(amount <= resources.get(name, (0, 0))[0] for name, amount in demand.items()),
            )
            for count, demand in demands
        ),
        processes=tuple(ProcessRow(*process) for process in processes),
    )


def is_attached() -> bool:
    """Return whether this process has a session."""
    return core._is_attached()


def session_names() -> list[str]:
    """Return the names of all sessions in shared memory, live or not, whoever has them."""
    try:
        files = sorted(path.name for path in _SHARED_MEMORY.glob(f"{_PREFIX}*{_SUFFIX}"))
    except OSError:
        return []
    names = [file[len(_PREFIX) : -len(_SUFFIX)] for file in files]
    return [name for name in names if name and name.isprintable()]  # others may call their files what they like


def observe_sessions() -> list[SessionRow]:
    """Return the sessions of this user that this version of miniray can read, by name; dead ones too."""
    rows = []
    for name in session_names():
        # Another user's, another version's, being made or just ended.
        with contextlib.suppress(OSError, RuntimeError):
            rows.append(observe_session(name))
    return rows


def _start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if words[0] in "ZX" else int(words[19])
    except (OSError, IndexError, ValueError):
        return 0


def _age_seconds(start_ticks: int) -> float:
    """Return how long ago that was."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK"))
