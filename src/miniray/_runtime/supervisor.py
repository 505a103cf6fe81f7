# _runtime/supervisor.py - the helper process: forks workers, sees deaths, puts right what the dead left.
#
# Invariants  V1 single-threaded for its whole life, so fork is safe; it never imports the user's __main__.
#             V2 it waits in one poll: the driver's pidfd and socket, the doorbell, a pidfd of each worker. Two
#                timeouts: a second after tables emptied, a second after a worker could not be started.
#             V3 all it knows can be found again in shared memory: a new supervisor adopts the living workers.
# Crash       the driver's monitor starts another; driver and supervisor dead together: each worker's watchdog ends it.
"""Entry point of the supervisor process."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from miniray import _miniray_core as core
from miniray._runtime import limits, worker_main

_KIND_WORKER = 3  # process_table.hpp ProcessKind
_UNKNOWN_END = 0x7FFFFFFF
_TRIM_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_QUICK_DEATHS = 3  # workers that die before they took a row, in a row, until no more are started


class Supervisor:
    """State of the supervisor.

    Args:
        config: What the driver sent: session name, process numbers, descriptors, sizes.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Attach to the session; see the class."""
        self._config = config
        self._socket = socket.socket(fileno=config["socket_fd"])
        self._doorbell_fd: int = config["doorbell_fd"]
        self._poll = select.poll()
        self._workers: dict[int, tuple[int, bool]] = {}  # pidfd -> (pid, our child)
        self._quick_deaths = 0
        self._retry_at: float | None = None  # when to try again to start a worker that the system refused
        self._refusal_told = False
        for fd in (config["socket_fd"], config["doorbell_fd"], config["spill_fd"]):
            if fd >= 0:
                os.set_inheritable(fd, False)
        self._driver_fd = os.pidfd_open(config["driver_pid"])  # first: a driver that is gone is no other failure
        segment_fds: list[int] | None = config["segment_fds"]
        if segment_fds is None:
            core._session_attach(config["name"], "supervisor")
        else:  # without names; the session keeps duplicates that no child program inherits
            control_fd, heap_fd = segment_fds
            core._session_attach_descriptors(config["name"], control_fd, heap_fd, "supervisor")
            for fd in segment_fds:
                os.close(fd)
        if config["spill_fd"] >= 0:
            core._session_spill_file(config["spill_fd"])
        for fd in (self._driver_fd, self._doorbell_fd, self._socket.fileno()):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the driver ends or says so."""
        core._sweep()
        for pid, kind, _, _ in core._processes():
            if kind == _KIND_WORKER:
                with contextlib.suppress(ProcessLookupError):
                    self._watch(pid, is_child=False)
        with contextlib.suppress(OSError):  # the driver is going: its pidfd tells next
            self._socket.send(b"ready")
        self._start_workers(self._config["pool_size"] - len(self._workers))
        # A predecessor may have died after it heard that something is to be given back: nobody tells twice. Of places
        # in the spill file a batch goes between two looks at the rest.
        discards_left = core._discard_places()
        # when to give memory back that came free, unless it is used again by then
        trim_at: float | None = time.monotonic() + _TRIM_SECONDS if core._trim_wanted() else None
        while True:
            now = 0.0 if discards_left else None
            times = [time_s for time_s in (now, trim_at, self._retry_at) if time_s is not None]
            for fd, _ in self._poll.poll(max(0.0, min(times) - time.monotonic()) * 1000 if times else None):
                if fd == self._driver_fd or (fd == self._socket.fileno() and not self._hear_driver()):
                    return
                if fd == self._doorbell_fd:
                    os.read(self._doorbell_fd, 8)
                elif fd in self._workers:
                    self._bury(fd)
            if self._retry_at is None or time.monotonic() >= self._retry_at:
                self._retry_at = None
                self._start_missing()
            discards_left = core._discard_places()
            if trim_at is None:
                trim_at = time.monotonic() + _TRIM_SECONDS if core._trim_wanted() else None
            elif time.monotonic() >= trim_at:
                core._trim()
                trim_at = None

    def _hear_driver(self) -> bool:
        return bool(self._socket.recv(64))  # it only ever closes: the end

    def _watch(self, pid: int, is_child: bool) -> None:
        fd = os.pidfd_open(pid)
        self._workers[fd] = (pid, is_child)
        self._poll.register(fd, select.POLLIN)

    def _bury(self, fd: int) -> None:
        pid, is_child = self._workers.pop(fd)
        self._poll.unregister(fd)
        os.close(fd)
        status = _UNKNOWN_END
        if is_child:
            with contextlib.suppress(ChildProcessError):
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if core._recover(pid, status):
            self._quick_deaths = 0
        elif status != 0:
            self._quick_deaths += 1
            if self._quick_deaths == _QUICK_DEATHS:
                sys.stderr.write(
                    f"miniray: {_QUICK_DEATHS} workers in a row ended while starting (last: pid {pid}, status "
                    f"{status}); no more are started. Their output above says why.\n"
                )

    def _start_missing(self) -> None:
        needed, registered = core._workers_needed()
        starting = len(self._workers) - registered
        missing = max(needed - starting, self._config["pool_size"] - len(self._workers))
        room = self._config["worker_capacity"] - len(self._workers)
        if self._quick_deaths < _QUICK_DEATHS:
            self._start_workers(min(missing, room))

    def _start_workers(self, count: int) -> None:
        """Start workers; what the system refuses is told once and tried again later."""
        for _ in range(count):
            try:
                self._start_worker()
            except OSError as error:
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                if not self._refusal_told:
                    self._refusal_told = True
                    refused = limits.explain(error, "start another worker")
                    sys.stderr.write(
                        f"miniray: {refused.strerror}. The session goes on with {len(self._workers)} workers and tries "
                        "again every second.\n"
                    )
                return

    def _start_worker(self) -> None:
        with contextlib.ExitStack() as opened:
            pipes = []
            for _ in range(2):
                read_fd, write_fd = os.pipe()
                pipes.append((read_fd, write_fd))
                opened.callback(os.close, read_fd)
                opened.callback(os.close, write_fd)
            (out_read, out_write), (err_read, err_write) = pipes
            pid = os.fork()
            if pid == 0:
                for fd in (out_read, err_read, self._driver_fd, *self._workers):
                    os.close(fd)
                self._socket.close()
                worker_main.main(self._config, out_write, err_write)
            try:
                self._watch(pid, is_child=True)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                core._recover(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                raise
            with contextlib.suppress(OSError):  # the driver is going: its pidfd tells next
                socket.send_fds(self._socket, [str(pid).encode()], [out_read, err_read])

    def end(self) -> None:
        """Kill the workers, wait for their ends, remove the segments."""
        for fd in self._workers:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        for fd, (pid, is_child) in self._workers.items():
            waiter = select.poll()
            waiter.register(fd, select.POLLIN)
            waiter.poll()
            if is_child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        core._session_unlink(self._config["name"])


def main(argument: str) -> None:
    """Run the supervisor with the configuration in ``argument`` (JSON)."""
    config = json.loads(argument)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        supervisor = Supervisor(config)
    except ProcessLookupError:  # the driver is gone already
        core._session_unlink(config["name"])
        os._exit(1)
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"miniray: the supervisor cannot start: {error}\n")
        os._exit(1)
    gc.collect()
    gc.freeze()
    try:
        supervisor.run()
    finally:
        supervisor.end()
    os._exit(0)
