# _runtime/monitor.py - the driver's one helper thread: forwards worker output, restarts a dead supervisor.
#
# Invariants  O1 a Monitor that could not be made leaves no process, thread or descriptor.
#             O2 supervisors that end before they are ready, some in a row, are told; then a deputy stands in
#                (deputy.py), and another is tried only for a call that needs a new worker.
#             O3 what the supervisor sends is read by this thread, or by one that makes an error and wants the last
#                output of a worker; under _hear_lock. The end of the socket is for this thread alone.
#             O4 a session that is found damaged needs no supervisor any more: it is only to be closed.
"""The driver's monitor thread."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from miniray import _miniray_core as core
from miniray._runtime import huge_pages, limits, output
from miniray._runtime.deputy import Deputy
from miniray._runtime.fault_points import fault_point
from miniray._runtime.output import OutputSource
from miniray._runtime.worker_life import describe_end
from miniray.exceptions import SegmentCorruptedError

_COMMAND = (
    "import gc; gc.disable(); import pickle, sys; "
    "config = pickle.loads(bytes.fromhex(sys.argv[1])); sys.path[:] = config['path']; "
    "from miniray._runtime.supervisor import main; main(config)"
)

_GRACE_SECONDS = 5.0  # for the supervisor to end the workers and itself
_KIND_WORKER = 3  # process_table.hpp ProcessKind
_FAILED_STARTS = 3  # supervisors that end before they are ready, in a row, until a deputy stands in
_KILLED_STARTS = 9  # the same for those that somebody killed: it says little about the next one


def _wait_for_end(pidfd: int, seconds: float | None = None) -> bool:
    """Wait until a process has ended: at once, without the pauses of ``Popen.wait(timeout)``; close the descriptor."""
    waiter = select.poll()
    waiter.register(pidfd, select.POLLIN)
    ended = bool(waiter.poll(None if seconds is None else seconds * 1000))
    os.close(pidfd)
    return ended


def _kill_workers() -> None:
    """Do what a supervisor that died could not: kill the workers and wait for their ends."""
    core._sweep()  # whose process has ended: its number may be a stranger's by now
    for pid, kind, _, _ in core._processes():
        if kind != _KIND_WORKER:
            continue
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            _wait_for_end(fd)


class Monitor:
    """Starts the supervisor and stays with it.

    Args:
        config: Session name and sizes: plain values.
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
        self._poll = select.epoll()  # other threads add descriptors while one waits
        self._sources: dict[int, OutputSource] = {}
        self._sources_lock = threading.Lock()
        self._hear_lock = threading.Lock()
        self._deputy: Deputy | None = None
        self._stop_read, self._stop_write = os.pipe()
        self._stopping = False
        self._begins = threading.Event()  # the session is there, or will not be
        self._lock = threading.Lock()  # between stop() and the start of another supervisor
        self._poll.register(self._stop_read, select.EPOLLIN)
        self._ready = False  # whether the present supervisor has come that far
        self._failed_starts = 0.0  # in a row
        self._thread = threading.Thread(target=self._run, name="miniray-monitor", daemon=True)
        try:
            self._start_supervisor()
            try:
                self._thread.start()
            except RuntimeError as error:
                self._socket.close()
                self._supervisor.kill()
                self._supervisor.wait()
                raise OSError(errno.EAGAIN, str(error)) from error
        except BaseException:
            os.close(self._stop_read)
            os.close(self._stop_write)
            self._poll.close()
            output.forget_all()
            raise
        output.set_take_in(self._take_in)

    def let_begin(self) -> None:
        """Tell the first supervisor that the session is there."""
        with contextlib.suppress(OSError):  # it has ended: the next one does not wait
            self._socket.send(b"begin")
        self._begins.set()

    @property
    def supervisor_pid(self) -> int:
        """Process number of the supervisor."""
        return self._supervisor.pid

    def _start_supervisor(self) -> None:
        fault_point("monitor.pipe")
        error_read, error_write = os.pipe()
        try:
            fault_point("monitor.socketpair")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            os.close(error_read)
            os.close(error_write)
            raise
        environment, tunables = huge_pages.supervisor_environment()
        waits = not self._begins.is_set()
        inherited = {"socket_fd": theirs.fileno(), "doorbell_fd": self._doorbell_fd, "spill_fd": self._spill_fd}
        fds = [*inherited.values(), *(self._config["segment_fds"] or ())]
        try:
            fault_point("monitor.spawn")
            self._supervisor = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _COMMAND,
                    pickle.dumps({**self._config, **inherited, "tunables": tunables, "waits": waits}).hex(),
                    f"miniray_{self._config['name']}",  # for who reads a list of processes: of the workers as well
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=error_write,
                pass_fds=[fd for fd in fds if fd >= 0],
                start_new_session=True,
            )
            fault_point("monitor.spawned")
        except OSError:
            ours.close()
            os.close(error_read)
            raise
        finally:
            theirs.close()
            os.close(error_write)
        ours.setblocking(False)  # two threads may read it: who comes second finds nothing
        self._socket = ours
        self._ready = False
        self._poll.register(ours.fileno(), select.EPOLLIN)
        self._add_source(OutputSource(error_read, self._supervisor.pid, "stderr", True, is_worker=False))

    def _add_source(self, source: OutputSource) -> None:
        with self._sources_lock:
            self._sources[source.fd] = source
        self._poll.register(source.fd, select.EPOLLIN)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            wait_s = output.print_due()
            for fd, _ in self._poll.poll(-1 if wait_s is None else wait_s):
                if fd == self._stop_read:
                    self._drain()
                    return
                with contextlib.suppress(SegmentCorruptedError):  # O4
                    self._serve(fd)

    def _serve(self, fd: int) -> None:
        if fd == self._socket.fileno():
            self._hear_supervisor()
        elif (source := self._sources.get(fd)) is not None:
            self._read(fd, source)
        elif self._deputy is not None and self._deputy.handle(fd):
            self._try_supervisor()

    def _read(self, fd: int, source: OutputSource) -> None:
        if source.read():
            return
        with self._sources_lock:  # its descriptor is closed; the number may be another's already
            if self._sources.get(fd) is source:
                del self._sources[fd]

    def _take_in(self) -> None:
        """Read what the supervisor has sent, in any thread."""
        while self._hear():
            pass

    def _hear(self) -> bool | None:
        """Take one message of the supervisor: True; False: there is none now; None: there will be none."""
        with self._hear_lock:
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, 64, 2)
            except BlockingIOError:
                return False
            except OSError:
                return None
            if not message:
                return None
            if message == b"ready":
                self._ready = True
                self._failed_starts = 0.0
                return True
            pid = message.decode()
            if len(fds) == 2:
                for fd, target in zip(fds, ("stdout", "stderr"), strict=True):
                    os.set_inheritable(fd, False)
                    self._add_source(OutputSource(fd, int(pid), target, self._log_to_driver))
                return True
        for fd in fds:  # the kernel drops what has no room in the table of open files
            os.close(fd)
        lost = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        _tell(str(limits.explain(lost, f"show the output of worker {pid}").strerror))
        return True

    def _hear_supervisor(self) -> None:
        if self._hear() is not None:
            if self._ready and self._deputy is not None:
                self._deputy.close()
                self._deputy = None
            return
        self._poll.unregister(self._socket.fileno())
        self._begins.wait()
        self._socket.close()
        status = self._supervisor.wait()
        output.tail_of(self._supervisor.pid)  # what it said comes before what is said about it
        if not self._ready:
            self._failed_starts += 1 if status != -signal.SIGKILL else _FAILED_STARTS / _KILLED_STARTS
        with self._lock:
            if not self._stopping and not core._is_poisoned():
                self._restart_supervisor(status)

    def _restart_supervisor(self, status: int) -> None:
        pid = self._supervisor.pid
        problem = f"the last one ended with {describe_end(status)}, its output above says why"
        while self._failed_starts < _FAILED_STARTS - 0.01:
            try:
                self._start_supervisor()
            except OSError as error:
                self._failed_starts += 1
                problem = str(limits.explain(error, "start another").strerror)
            else:
                return
        self._stand_in(pid, status, problem)

    def _try_supervisor(self) -> None:
        """Start a supervisor for a call that waits; the deputy goes on until it is ready."""
        with self._lock:
            if self._stopping or self._deputy is None:
                return
            self._deputy.listen(False)
            try:
                self._start_supervisor()
            except OSError as error:
                problem = str(limits.explain(error, "start another").strerror)
                self._stand_in(0, 0, problem)

    def _stand_in(self, pid: int, status: int, problem: str) -> None:
        reason = f"no supervisor can be started, so the workers that end are not replaced: {problem}"
        if not self._segments_exist():
            reason += (
                f". The session's shared memory (/dev/shm/miniray_{self._config['name']}_*) was removed while it was "
                "in use: by another program, or by a clean-up of /dev/shm"
            )
        if self._deputy is None:
            _tell(f"{reason}. Call miniray.shutdown() and miniray.init()")
            self._deputy = Deputy(self._poll, self._doorbell_fd)
        self._deputy.fail(pid, status, reason)

    def _segments_exist(self) -> bool:
        if self._config["segment_fds"] is not None:
            return True
        names = (f"/dev/shm/miniray_{self._config['name']}_{part}" for part in ("scheduler", "objectstore"))
        return all(map(os.path.exists, names))

    def _drain(self) -> None:
        for source in list(self._sources.values()):
            source.read()
        output.print_counted()

    def _wait_for_supervisor(self) -> None:
        """Wait for the end of a supervisor that was told to, and of its workers."""
        if self._supervisor.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # a program may reap all its children
                if not _wait_for_end(os.pidfd_open(self._supervisor.pid), _GRACE_SECONDS):
                    self._supervisor.kill()  # it is stopped, or starved
        self._supervisor.wait()
        _kill_workers()  # whom it left; its status may have been taken by a program that reaps all its children

    def stop(self) -> None:
        """End the supervisor and with it the session's processes; print what they still had to say."""
        self._end_supervision()
        self._wait_for_supervisor()
        self._close()

    def abandon(self) -> None:
        """End a supervisor that waits for a session that cannot be made."""
        self._end_supervision()
        self._supervisor.kill()
        self._supervisor.wait()
        self._close()

    def _end_supervision(self) -> None:
        with self._lock:
            self._stopping = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._begins.set()

    def _close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        output.set_take_in(None)
        if self._deputy is not None:
            self._deputy.close()
        self._socket.close()
        self._poll.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


def _tell(text: str) -> None:
    """Print a line for the user, if the program has a stream for errors."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"miniray: {text}.\n")
        sys.stderr.flush()
