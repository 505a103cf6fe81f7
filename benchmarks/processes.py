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


def send(number: signal.Signals, known: dict[int, str]) -> None:
    """Send a signal to those processes of ``identities`` that are still there."""
    for pid, started in identities(known).items():
        if started == known[pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _kilobytes(pid: int) -> dict[str, int]:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {line.split()[0]: int(line.split()[1]) for line in file.readlines()[1:]}


def own_bytes(pid: int) -> int:
    """Return the memory that only this process has."""
    sizes = _kilobytes(pid)
    return (sizes["Private_Dirty:"] + sizes["Private_Clean:"]) << 10


def processor_seconds(pids: Iterable[int]) -> float:
    """Return how long processes, and those of their children that have ended, have run on processors."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            total += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def switches(pid: int) -> int:
    """Return how often threads of a process have begun to wait, or were interrupted."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total


def tree_bytes(root: int) -> int:
    """Return the memory of a process and its descendants, what they share counted once."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += _kilobytes(pid)["Pss:"] << 10
    return total


def shared_bytes(pid: int) -> int:
    """Return the shared memory, files of /dev/shm, that a process has touched, its share of it by those who have."""
    return _kilobytes(pid)["Pss_Shmem:"] << 10
