"""What is there now: segments, processes, descriptors; and waiting for it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing.resource_tracker
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# A state that does not come is a failure after this many seconds: a watchdog, not a bound on speed.
LOST_SECONDS = 60

_SHARED_MEMORY = Path("/dev/shm")


def segments() -> set[str]:
    """Return the names of all segments of miniray in /dev/shm."""
    return {path.name for path in _SHARED_MEMORY.glob("miniray_*")}


def sessions_of_ours() -> set[str]:
    """Return sessions in /dev/shm that this process or its children have, or nobody alive: not those of other programs."""
    from miniray import _miniray_core as core

    found = set()
    for name in segments():
        session = name.removeprefix("miniray_").removesuffix("_scheduler")
        if name.endswith("_scheduler") and session and name.isprintable():  # others call files what they like
            owner = core._session_inspect(session)
            if owner == 0 or (owner > 0 and is_descendant(owner)):
                found.add(session)
    return found


def is_descendant(pid: int) -> bool:
    """Return whether a process is this one or comes from it."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def children() -> set[int]:
    """Return this process's children, zombies included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def descriptors() -> set[str]:
    """Return what this process's file descriptors point to, by number."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{entry.name} -> {os.readlink(entry)}")
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll a condition; fail when it does not come true."""
    end = time.monotonic() + LOST_SECONDS
    while not condition():
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.005)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Fail when what runs inside leaves a segment, a child process or a file descriptor behind."""
    gc.collect()
    before = sessions_of_ours(), children(), descriptors()
    yield
    gc.collect()
    multiprocessing.resource_tracker._resource_tracker._stop()  # what a test with "spawn" started
    # What another program leaves goes with its own clean-up: wait, do not fail at once.
    wait_until(lambda: sessions_of_ours() <= before[0], "no session is left")
    assert children() <= before[1]
    assert descriptors() <= before[2]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_stopped(pid: int) -> bool:
    """Return whether all threads of a process stand still, by SIGSTOP or a terminal."""
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(state == "T" for state in states)
