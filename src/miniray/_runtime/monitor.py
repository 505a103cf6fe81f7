# _runtime/monitor.py - the driver's one helper thread: forwards worker output, restarts a dead supervisor.
#
# Invariants  O1 a Monitor that could not be made leaves no process, thread or descriptor.
#             O2 a supervisor that cannot start, three times in a row, is told and not tried again.
"""The driver's monitor thread."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from miniray import _miniray_core as core
from miniray._runtime import limits
from miniray._runtime.output import OutputSource

_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from miniray._runtime.supervisor import main; main(sys.argv[1])"
)

_GRACE_SECONDS = 5.0  # for the supervisor to end the workers and itself
_KIND_WORKER = 3  # process_table.hpp ProcessKind
_QUICK_DEATHS = 3  # supervisors that end before they are ready, in a row, until no more are started


def _kill_workers() -> None:
    """Do what a supervisor that died could not: kill the workers and wait for their ends."""
    for pid, kind, _, _ in core._processes():
        if kind != _KIND_WORKER:
            continue
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            waiter = select.poll()
            waiter.register(fd, select.POLLIN)
            waiter.poll()
            os.close(fd)


class Monitor:
    """Starts the supervisor and stays with it.

    Args:
        config: Session name and sizes, as JSON values.
        doorbell_fd: Eventfd that any process of the session rings.
        spill_fd: The session's spill file, or -1.
        log_to_driver: Whether to print what workers print.
    """

    def __init__(self, config: dict[str, Any], doorbell_fd: int, spill_fd: int, log_to_driver: bool) -> None:
        """Start the supervisor and the thread; see the class.

        Raises:
            OSError: There are no descriptors, processes or threads for them.
        """
        self._config = config
        self._doorbell_fd = doorbell_fd
        self._spill_fd = spill_fd
        self._log_to_driver = log_to_driver
        self._poll = select.poll()
        self._sources: dict[int, OutputSource] = {}
        self._stop_read, self._stop_write = os.pipe()
        self._stopping = False
        self._lock = threading.Lock()  # between stop() and the start of another supervisor
        self._poll.register(self._stop_read, select.POLLIN)
        self._quick_deaths = 0
        self._thread = threading.Thread(target=self._run, name="miniray-monitor", daemon=True)
        try:
            self._start_supervisor()
            try:
                self._thread.start()
            except RuntimeError as error:
                self._socket.close()
                self._wait_for_supervisor()
                raise OSError(errno.EAGAIN, str(error)) from error
        except BaseException:
            os.close(self._stop_read)
            os.close(self._stop_write)
            raise

    @property
    def supervisor_pid(self) -> int:
        """Process number of the supervisor."""
        return self._supervisor.pid

    def _start_supervisor(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inherited = {"socket_fd": theirs.fileno(), "doorbell_fd": self._doorbell_fd, "spill_fd": self._spill_fd}
        fds = [*inherited.values(), *(self._config["segment_fds"] or ())]
        try:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, json.dumps({**self._config, **inherited})],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd for fd in fds if fd >= 0],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self._poll.register(ours.fileno(), select.POLLIN)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._stop_read:
                    self._drain()
                    return
                if fd == self._socket.fileno():
                    self._hear_supervisor()
                elif (source := self._sources.get(fd)) is not None and not source.read():
                    self._poll.unregister(fd)
                    del self._sources[fd]

    def _hear_supervisor(self) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(self._socket, 64, 2)
        except OSError:
            message, fds = b"", []
        if len(fds) == 2:
            for fd, target in zip(fds, ("stdout", "stderr"), strict=True):
                os.set_inheritable(fd, False)
                source = OutputSource(fd, int(message), target, self._log_to_driver)
                self._sources[fd] = source
                self._poll.register(fd, select.POLLIN)
        elif message == b"ready":
            self._quick_deaths = 0
        elif message:  # the kernel drops what has no room in the table of open files
            for fd in fds:
                os.close(fd)
            lost = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            told = limits.explain(lost, f"show the output of worker {message.decode()}")
            sys.stderr.write(f"miniray: {told.strerror}.\n")
        else:
            self._poll.unregister(self._socket.fileno())
            self._socket.close()
            status = self._supervisor.wait()
            self._quick_deaths += status > 0  # it says why itself; a signal is somebody else's
            with self._lock:
                if not self._stopping:
                    self._restart_supervisor(status)

    def _restart_supervisor(self, status: int) -> None:
        problem = f"the last one ended with status {status}, its output above says why"
        while self._quick_deaths < _QUICK_DEATHS:
            try:
                self._start_supervisor()
            except OSError as error:
                self._quick_deaths += 1
                problem = str(limits.explain(error, "start another").strerror)
            else:
                return
        sys.stderr.write(
            f"miniray: no supervisor can be started, so the workers that end are not replaced: {problem}. Call "
            "miniray.shutdown() and miniray.init().\n"
        )

    def _drain(self) -> None:
        for source in list(self._sources.values()):
            source.read()

    def _wait_for_supervisor(self) -> None:
        """Wait for the end of a supervisor that was told to, and of its workers."""
        try:
            self._supervisor.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # stopped, or starved
            self._supervisor.kill()
        if self._supervisor.wait() != 0:
            _kill_workers()

    def stop(self) -> None:
        """End the supervisor and with it the session's processes; print what they still had to say."""
        with self._lock:
            self._stopping = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._wait_for_supervisor()
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._stop_read)
        os.close(self._stop_write)
