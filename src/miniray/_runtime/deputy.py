# _runtime/deputy.py - what the driver's monitor does while no supervisor can be started.
#
# Invariants  D1 calls never wait for ever: dead workers are recovered, living ones go on taking calls, and what only a
#                new worker could take fails with the reason.
#             D2 it never forks. A call that needs a worker is a reason to try another supervisor (monitor.py does).
#             D3 it belongs to the monitor thread; close() leaves no descriptor.
"""Stands in for a supervisor that cannot be started."""

from __future__ import annotations

import contextlib
import os
import select

from miniray import _miniray_core as core
from miniray._runtime.worker_life import UNKNOWN_END

__all__ = ["Deputy"]

_KIND_WORKER = 3  # process_table.hpp ProcessKind


class Deputy:
    """Buries workers and fails calls that nobody can take.

    Args:
        poll: Of the monitor thread.
        doorbell_fd: What calls ring that need a worker.
    """

    def __init__(self, poll: select.epoll, doorbell_fd: int) -> None:
        """Watch the workers; see the class."""
        self._poll = poll
        self._doorbell_fd = doorbell_fd
        self._listens = False
        self._workers: dict[int, int] = {}  # pidfd -> pid
        core._sweep()
        for pid, kind, _, _ in core._processes():
            if kind != _KIND_WORKER:
                continue
            try:
                fd = os.pidfd_open(pid)
            except OSError:  # ended just now; or no descriptors: a sweep finds it later
                core._recover(pid, UNKNOWN_END)
                continue
            self._workers[fd] = pid
            poll.register(fd, select.EPOLLIN)

    def fail(self, pid: int, status: int, reason: str) -> None:
        """Fail the calls that only a new worker could take, and listen for more of them."""
        core._workers_needed()  # whose doorbell a dead supervisor may have heard: from now on calls ring again
        core._fail_stranded(pid, status, core._note_death(reason), bool(self._workers))
        self.listen(True)
        if not self._workers and _is_worker_needed():  # of a call that came meanwhile, and did not ring
            os.eventfd_write(self._doorbell_fd, 1)

    def listen(self, listens: bool) -> None:
        """Hear the doorbell, or leave it to a supervisor that is just being tried."""
        if listens != self._listens:
            self._listens = listens
            if listens:
                self._poll.register(self._doorbell_fd, select.EPOLLIN)
            else:
                self._poll.unregister(self._doorbell_fd)

    def handle(self, fd: int) -> bool:
        """Do what a descriptor asks for, if it is one of the deputy's; True when another supervisor should be tried."""
        if fd == self._doorbell_fd and self._listens:
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 8)
            return _is_worker_needed()
        pid = self._workers.pop(fd, None)
        if pid is not None:
            self._poll.unregister(fd)
            os.close(fd)
            core._recover(pid, UNKNOWN_END)  # which rings when calls are left over
        return False

    def close(self) -> None:
        """Stop; a supervisor is there again, or the session ends."""
        self.listen(False)
        for fd in self._workers:
            self._poll.unregister(fd)
            os.close(fd)
        self._workers.clear()


def _is_worker_needed() -> bool:
    return any(needed for _, needed, _, _ in core._workers_needed())
