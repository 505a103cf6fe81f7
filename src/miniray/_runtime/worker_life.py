# _runtime/worker_life.py - a worker as its supervisor sees it: has it ended or become something else, and why.
#
# Invariants  W1 a worker holds the write end of a pipe that nobody else keeps, closed at exec: its end is readable
#                when the process ends, calls exec, or closes its descriptors. Only the pidfd proves the end.
#             W2 a worker that lives without that pipe cannot go on: it is killed, with the reason kept for its error.
#             W3 a process that is ending anyway is told from one that lost the pipe by the kernel's flag PF_EXITING,
#                which is set before descriptors are closed.
# Source      Linux: proc(5) (stat, maps, fd), include/linux/sched.h (PF_EXITING).
"""Watching one worker process."""

from __future__ import annotations

import contextlib
import os
import select
import signal

__all__ = [
    "MEMORY_CAUSE",
    "MEMORY_CAUSE_FOR_GOOD",
    "UNKNOWN_END",
    "Worker",
    "describe_end",
    "lost_reason",
    "reopen_life",
    "signal_name",
]

UNKNOWN_END = 0x7FFFFFFF
"""Status of a process that nobody could reap: scheduler.hpp kUnknownEnd."""

MEMORY_CAUSE, MEMORY_CAUSE_FOR_GOOD = 2, 3  # scheduler.hpp DeathCause
"""Why the memory monitor ended a worker, and whether its task is tried again."""

_PF_EXITING = 0x4


def signal_name(number: int) -> str:
    """Return what people call a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_end(status: int) -> str:
    """Return how a process ended, in words; ``status`` is an exit code or minus the signal."""
    if status == UNKNOWN_END:
        return "nobody could see how"
    return f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"


class Worker:
    """A watched worker.

    Args:
        pid: The process.
        pidfd: Readable when it has ended.
        life_fd: Read end of its pipe; -1 when it is closed, or was never known.
        is_child: Whether this process can reap it.
        order: Counts the workers of this supervisor.
        environment: That it is started for; of one that is no child the shared table tells.

    Attributes:
        reason: Why it was killed, if it was.
    """

    __slots__ = ("environment", "is_child", "life_fd", "order", "pid", "pidfd", "reason")

    def __init__(self, pid: int, pidfd: int, life_fd: int, is_child: bool, order: int, environment: int = 0) -> None:
        """Keep them; see the class."""
        self.pid = pid
        self.pidfd = pidfd
        self.life_fd = life_fd
        self.is_child = is_child
        self.order = order
        self.environment = environment
        self.reason: str | None = None

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self) -> None:
        """Block until it has ended."""
        waiter = select.poll()
        waiter.register(self.pidfd, select.POLLIN)
        waiter.poll()

    def close_life(self) -> None:
        """Close the read end of its pipe."""
        if self.life_fd >= 0:
            os.close(self.life_fd)
            self.life_fd = -1


def lost_reason(pid: int, session_name: str) -> str | None:
    """Return why a worker has no pipe any more, None when it is ending.

    Args:
        pid: The worker, whose pipe is closed.
        session_name: What its mappings of shared memory are named by.
    """
    try:
        fields = _read(f"/proc/{pid}/stat").decode("ascii", "replace").rpartition(")")[2].split()
        if fields[0] in "ZX" or int(fields[6]) & _PF_EXITING:
            return None
        maps = _read(f"/proc/{pid}/maps").decode("utf-8", "replace")
        if f"miniray_{session_name}_" in maps:
            return (
                "it closed the descriptors that it needs (os.closerange, or a daemon library), and was ended. Close "
                "only descriptors that the task opened"
            )
        command = _read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0")
    except (OSError, IndexError, ValueError):
        return None
    program = b" ".join(command).decode("utf-8", "replace")[:200]
    return (
        f"it called exec, so that the worker was replaced by another program ({program}), which was ended. Start "
        "programs with subprocess"
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def reopen_life(pid: int, number: int) -> int:
    """Return a read end of the pipe whose write end is that descriptor of a worker; -1 when it is closed there."""
    try:
        if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("pipe:"):
            return -1
        return os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
