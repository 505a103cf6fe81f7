"""Waiting for the end of a process that is not a child of this one."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator

# A process that does not end is a failure after this many seconds: a watchdog, not a bound on speed.
_LOST_SECONDS = 60


class Ending:
    """A process that is to end; made while it runs, so that its number is not used again."""

    def __init__(self, pidfd: int) -> None:
        """Watch the process that a pidfd names."""
        self._pidfd = pidfd

    def wait(self) -> None:
        """Block until the process has ended."""
        assert select.select([self._pidfd], [], [], _LOST_SECONDS)[0], f"it still runs after {_LOST_SECONDS} s"


@contextlib.contextmanager
def watch(pid: int) -> Iterator[Ending]:
    """Give the process to wait for. ProcessLookupError when it has gone already."""
    pidfd = os.pidfd_open(pid)
    try:
        yield Ending(pidfd)
    finally:
        os.close(pidfd)
