"""What Linux tells of processes: who descends from whom, and how much memory they have."""

import contextlib
import os
import signal
from collections.abc import Iterable


def _parents() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    return parents


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents = _parents()
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def identities(pids: Iterable[int]) -> dict[int, str]:
    """Return when each process started, so that a later one with the same number is not taken for it."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            found[pid] = file.read().rpartition(")")[2].split()[19]
    return found


def kill(known: dict[int, str]) -> None:
    """Kill those processes of ``identities`` that are still there."""
    for pid in identities(known):
        if identities([pid]).get(pid) == known[pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _kilobytes(pid: int) -> dict[str, int]:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {line.split()[0]: int(line.split()[1]) for line in file.readlines()[1:]}


def own_bytes(pid: int) -> int:
    """Return the memory that only this process has."""
    sizes = _kilobytes(pid)
    return (sizes["Private_Dirty:"] + sizes["Private_Clean:"]) << 10


def tree_bytes(root: int) -> int:
    """Return the memory of a process and its descendants, what they share counted once."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += _kilobytes(pid)["Pss:"] << 10
    return total
