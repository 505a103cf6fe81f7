# _runtime/memory_use.py - how much memory is in use of what this program may have, by whom, and whom the kernel killed.
#
# Invariants  Y1 nothing here fails: what cannot be read limits nothing, and counts as nothing.
#             Y2 what the kernel can drop at once (pages of files) is not in use; shared memory is.
# Source      Linux kernel documentation, admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst; proc(5).
"""Memory in use, and the counters of the kernel's out-of-memory killer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from miniray._record import Record
from miniray._runtime.machine import cgroup_folders, read_integer, read_text

if TYPE_CHECKING:
    from miniray._runtime.machine import Folder

__all__ = ["KernelKills", "MemoryUse", "memory_use", "own_bytes"]

_ROOT = "/"
_UNLIMITED_FROM = 1 << 60  # version 1 writes "no limit" as a number near 2^63


class MemoryUse(Record):
    """Memory in use below one limit.

    Attributes:
        used_bytes: In use by everybody below that limit, not only by this program.
        limit_bytes: How much there may be.
        place: What has the limit: ``"this machine"`` or the folder of a control group.
    """

    used_bytes: int
    limit_bytes: int
    place: str

    @property
    def fraction(self) -> float:
        """Used share, 1.0 at the limit."""
        return self.used_bytes / self.limit_bytes


def memory_use(root: Folder = _ROOT) -> MemoryUse | None:
    """Return the use below the limit that is nearest, None when nothing can be read.

    Args:
        root: Folder that stands for ``/``; tests give their own.
    """
    found = []
    facts = _fields(os.path.join(root, "proc/meminfo"))
    total, available = facts.get("MemTotal:", 0), facts.get("MemAvailable:")
    if total > 0 and available is not None:
        found.append(MemoryUse((total - available) * 1024, total * 1024, "this machine"))
    for folder in cgroup_folders(root, "memory"):
        for limit_name, use_name, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit, used = read_integer(f"{folder}/{limit_name}"), read_integer(f"{folder}/{use_name}")
            if limit is None or used is None or not 0 < limit < _UNLIMITED_FROM:
                continue
            parts = _fields(f"{folder}/memory.stat")
            droppable = parts.get(f"{prefix}active_file", 0) + parts.get(f"{prefix}inactive_file", 0)
            found.append(MemoryUse(max(used - droppable, 0), limit, f"control group {folder}"))
    return max(found, key=lambda use: use.fraction, default=None)


def own_bytes(pid: int, root: Folder = _ROOT) -> int:
    """Return the memory that would come free if a process ended: resident and not shared, in bytes."""
    words = read_text(os.path.join(root, f"proc/{pid}/statm")).split()
    if len(words) < 3:
        return 0
    return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")


class KernelKills:
    """Tells whether a death by SIGKILL coincides with a kill for memory; counts from now on.

    Args:
        root: Folder that stands for ``/``; tests give their own.
    """

    def __init__(self, root: Folder = _ROOT) -> None:
        """Read the counter; see the class."""
        self._path, self._key = os.path.join(root, "proc/vmstat"), "oom_kill"
        for folder in cgroup_folders(root, "memory"):
            name = next(
                (name for name in ("memory.events", "memory.oom_control") if os.path.exists(f"{folder}/{name}")), None
            )
            if name is not None and "oom_kill" in _fields(f"{folder}/{name}"):
                self._path = f"{folder}/{name}"
                break
        self._seen = self._count()

    def take(self) -> bool:
        """Return whether there was a kill that no call has told of yet."""
        if self._count() <= self._seen:
            return False
        self._seen += 1
        return True

    def _count(self) -> int:
        return _fields(self._path).get(self._key, 0)


def _fields(path: str) -> dict[str, int]:
    """Return the numbers of a file of lines ``name number ...``."""
    found = {}
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found
