# _runtime/limits.py - limits on open files and processes: checked before a session starts, named when they strike.
#
# Invariants  L1 a limit that cannot be read, or that does not bind this user, refuses nothing.
#             L2 only a certain shortage is refused beforehand; all others become the error of the call that meets them.
# Source      Linux man-pages: getrlimit(2), fork(2), proc(5).
"""Limits of open files and processes, and what to do about them."""

from __future__ import annotations

import errno
import os
import resource
import signal

__all__ = ["check", "explain"]

_DRIVER_DESCRIPTORS = 12
"""Open files of a driver without workers: segments, doorbell, pipe, socket, and those for the start of a process."""

_WORKER_DESCRIPTORS = 2
"""Open files of a driver for each worker: its standard output and error."""

_COUNTED_PROCESSES = 10_000
"""With a higher limit than this the user's processes are not counted: it would take longer than the answer is worth."""


def check(pool_size: int) -> None:
    """Refuse a session whose workers this process cannot have.

    Args:
        pool_size: How many workers it starts with.

    Raises:
        OSError: The limit of open files or of processes is too low, or the system lacks what sees processes end; the
            text says which and what to do.
    """
    _check_process_descriptors()
    allowed = _soft_limit(resource.RLIMIT_NOFILE)
    needed = _open_descriptors() + _DRIVER_DESCRIPTORS + _WORKER_DESCRIPTORS * pool_size
    if allowed is not None and needed > allowed:
        raise OSError(
            errno.EMFILE,
            f"{pool_size} workers need about {needed} open files in this process, but it may have {allowed} "
            f"(RLIMIT_NOFILE). Raise that limit (ulimit -n {max(1024, 2 * needed)}), or start fewer workers "
            "(init(num_cpus=...))",
        )
    allowed = _soft_limit(resource.RLIMIT_NPROC)
    if allowed is None or allowed > _COUNTED_PROCESSES or 0 in (os.getuid(), os.geteuid()):  # root is exempt
        return
    present = _own_threads()
    needed = 2 + 3 * pool_size  # the monitor's thread, the supervisor; each worker has two threads that only watch
    if present + needed > allowed:
        raise OSError(
            errno.EAGAIN,
            f"{pool_size} workers need {needed} processes and threads, but this user may have {allowed} and has "
            f"{present} (RLIMIT_NPROC). Raise that limit (ulimit -u {max(4096, 2 * (present + needed))}), end other "
            "programs, or start fewer workers (init(num_cpus=...))",
        )


def explain(error: OSError | RuntimeError, what: str) -> OSError:
    """Return an error that names the limit behind a failed start of something.

    Args:
        error: What the system said.
        what: What could not be done: ``"start a worker"``.
    """
    number = error.errno if isinstance(error, OSError) else errno.EAGAIN  # "can't start new thread" has none
    if number == errno.EMFILE:
        hint = (
            f"this process has all the {_soft_limit(resource.RLIMIT_NOFILE)} open files it may have (RLIMIT_NOFILE). "
            "Raise that limit (ulimit -n), or close files"
        )
    elif number == errno.ENFILE:
        hint = "the whole system has all the open files it may have (fs.file-max). End programs, or raise that"
    elif number == errno.EAGAIN:
        hint = (
            "this user, container or control group has all the processes and threads it may have (RLIMIT_NPROC: "
            f"{_soft_limit(resource.RLIMIT_NPROC) or 'no limit'}; pids.max). Raise that limit (ulimit -u; in a "
            "container: --pids-limit), end other programs, or start fewer workers (init(num_cpus=...))"
        )
    elif number == errno.ENOMEM:
        hint = (
            f"the system gives no memory for it (RLIMIT_AS: {_soft_limit(resource.RLIMIT_AS) or 'no limit'}; "
            "vm.overcommit_memory). Raise the limit (ulimit -v), end other programs, or start fewer workers "
            "(init(num_cpus=...))"
        )
    elif number in (errno.EPERM, errno.ENOSYS):
        hint = (
            "a sandbox or container forbids a call that miniray needs, or the kernel is too old (before Linux 5.3): "
            "pidfd_open, eventfd, epoll_create, socketpair, pipe, fork. Allow them in its seccomp profile"
        )
    else:
        return OSError(number or errno.EIO, f"cannot {what}: {error}")
    said = error.strerror if isinstance(error, OSError) else str(error)
    return OSError(number, f"cannot {what}: {said}: {hint}")


def _check_process_descriptors() -> None:
    """Refuse a system on which nobody would see that a process ends."""
    fd = -1
    call = "pidfd_open"
    try:
        fd = os.pidfd_open(os.getpid())
        call = "pidfd_send_signal"
        signal.pidfd_send_signal(fd, 0)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            return  # L2: the call that meets it says so
        raise OSError(
            error.errno,
            f"the system call {call} is refused here ({os.strerror(error.errno)}), by which miniray sees its processes "
            "end. It needs Linux 5.3 or later; in a sandbox or container, allow that call in its seccomp profile",
        ) from error
    finally:
        if fd >= 0:
            os.close(fd)


def _soft_limit(which: int) -> int | None:
    """Return a limit of this process, None for none."""
    try:
        soft, _ = resource.getrlimit(which)
    except (OSError, ValueError):
        return None
    return None if soft == resource.RLIM_INFINITY else soft


def _open_descriptors() -> int:
    """Return how many files this process has open; 3 when the system does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 3


def _own_threads() -> int:
    """Return how many threads the processes of this user have, as far as they can be seen."""
    user, count = os.getuid(), 0
    for process in os.listdir("/proc"):
        try:
            if process[0].isdigit() and os.stat(f"/proc/{process}").st_uid == user:
                count += os.stat(f"/proc/{process}/task").st_nlink - 2
        except OSError:
            continue
    return count
