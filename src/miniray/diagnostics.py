# diagnostics.py - public: what sessions hold and who holds it, as data; the command line prints the same.
"""Who holds what: objects, memory, workers and waiting tasks of a session, as data.

Everything here only looks: the program that is looked at takes no lock, wakes no process and is not slowed down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from miniray._runtime import observation
from miniray._runtime.observation import Holder, ObjectRow, ProcessRow, QueuedDemand, SessionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Group",
    "Holder",
    "MemoryReport",
    "ObjectRow",
    "ProcessRow",
    "QueuedDemand",
    "SessionRow",
    "Total",
    "memory",
    "sessions",
    "statistics",
]

_Key = TypeVar("_Key")
SortKey = Literal["size", "pid", "callsite"]
GroupKey = Literal["callsite", "pid"]


@dataclass(frozen=True, slots=True)
class Total:
    """Objects that have something in common.

    Attributes:
        objects: How many.
        size_bytes: Of their values together.
    """

    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Group:
    """Objects made at one place, or held by one process.

    Attributes:
        key: The place, or the process number as text; None where it is not known, or nobody holds them.
        total: Their number and size.
    """

    key: str | None
    total: Total


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Objects of a session.

    Attributes:
        session: The session.
        rows: Its objects in the order asked for, no more than the limit.
        total: All its objects, those beyond the limit included; so are the following.
        by_state: Totals by :attr:`ObjectRow.state`.
        by_location: Totals by :attr:`ObjectRow.location`.
        by_holder: Totals by what keeps an object: ``"ref"``, ``"view"``, ``"task"``, ``"object"``, ``"none"``. One that
            several keep counts in each.
    """

    session: SessionRow
    rows: tuple[ObjectRow, ...]
    total: Total
    by_state: Mapping[str, Total]
    by_location: Mapping[str, Total]
    by_holder: Mapping[str, Total]

    def grouped(self, by: GroupKey) -> list[Group]:
        """Return the rows' totals by call site or by process, largest first.

        Args:
            by: ``"callsite"``, or ``"pid"``: then an object that several processes hold counts for each of them.
        """
        totals = _totals(self.rows, lambda row: (row.call_site,) if by == "callsite" else _pids(row))
        groups = [Group(key, total) for key, total in totals.items()]
        return sorted(groups, key=lambda group: (-group.total.size_bytes, -group.total.objects, group.key or ""))


def memory(session: str | None = None, *, sort_by: SortKey = "size", limit: int | None = None) -> MemoryReport:
    """Return the objects of a session with their holders.

    Does not block the session, and takes some microseconds per object. A row is consistent in itself; objects that came
    or went during the look may be missing, and totals of rows may differ a little from the counts of the session.

    Args:
        session: Its name; None for the session of this process, else the only one of this user.
        sort_by: ``"size"`` (largest first), ``"pid"`` (of the first holder) or ``"callsite"``; then by size.
        limit: Most rows; None for all.

    Raises:
        LookupError: No session runs, or several do and none was named.
        FileNotFoundError: There is no session of that name, or it ended meanwhile.
        PermissionError: It belongs to another user.
        RuntimeError: It was made by another version of miniray.
        ValueError: ``sort_by`` is none of the above, or ``limit`` is negative.

    >>> import miniray
    >>> from miniray import diagnostics
    >>> with miniray.init(num_cpus=1):
    ...     ref = miniray.put(bytes(1_000_000))
    ...     diagnostics.memory(limit=1).rows[0].location
    'heap'
    """
    if sort_by not in _SORT_KEYS:
        raise ValueError(f"sort_by must be one of {', '.join(map(repr, _SORT_KEYS))}, not {sort_by!r}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be None or at least 0, not {limit}")
    name = _choose(session)
    facts = observation.observe_session(name)
    rows = observation.observe_objects(name)
    rows.sort(key=_SORT_KEYS[sort_by])
    return MemoryReport(
        session=facts,
        rows=tuple(rows if limit is None else rows[:limit]),
        total=Total(len(rows), sum(row.size_bytes for row in rows)),
        by_state=_totals(rows, lambda row: (row.state,)),
        by_location=_totals(rows, lambda row: (row.location,)),
        by_holder=_totals(rows, lambda row: row.holder_kinds),
    )


def sessions() -> list[SessionRow]:
    """Return the sessions of this user on this machine, by name.

    Those whose driver is dead are among them (``driver_is_alive``): they are ending, or were left by a program that was
    killed with all its processes; ``miniray clean`` removes these. Sessions of other users and of versions with another
    memory layout are left out. Does not block.
    """
    return observation.observe_sessions()


def statistics() -> SessionRow:
    """Return the counts of the session of this process: store, tables, tasks, workers, resources. Does not block.

    Raises:
        RuntimeError: This process has no session.
    """
    return observation.observe_session(None)


def _choose(session: str | None) -> str | None:
    """Return the name to look at, None for the session of this process."""
    if session is not None or observation.is_attached():
        return session
    names = [row.name for row in sessions() if row.driver_is_alive]
    if not names:
        raise LookupError("no session of miniray runs on this machine, or none of this user")
    if len(names) > 1:
        raise LookupError(f"several sessions run; name one of them: {', '.join(names)}")
    return names[0]


def _by_size(row: ObjectRow) -> tuple[int, str]:
    return -row.size_bytes, row.object_id


def _by_pid(row: ObjectRow) -> tuple[int, int, str]:
    return min((holder.pid for holder in row.holders), default=1 << 32), *_by_size(row)


def _by_call_site(row: ObjectRow) -> tuple[bool, str, int, str]:
    return row.call_site is None, row.call_site or "", *_by_size(row)


_SORT_KEYS: Mapping[str, Callable[[ObjectRow], tuple[object, ...]]] = {
    "size": _by_size,
    "pid": _by_pid,
    "callsite": _by_call_site,
}


def _pids(row: ObjectRow) -> tuple[str | None, ...]:
    return tuple(sorted({str(holder.pid) for holder in row.holders})) or (None,)


def _totals(rows: Iterable[ObjectRow], keys_of: Callable[[ObjectRow], tuple[_Key, ...]]) -> dict[_Key, Total]:
    """Return number and size of rows by key, largest first."""
    counts: dict[_Key, list[int]] = {}
    for row in rows:
        for key in keys_of(row):
            count = counts.setdefault(key, [0, 0])
            count[0] += 1
            count[1] += row.size_bytes
    return {key: Total(*count) for key, count in sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0]))}
