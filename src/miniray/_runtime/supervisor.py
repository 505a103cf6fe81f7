# _runtime/supervisor.py - the helper process: forks workers, sees deaths, puts right what the dead left.
#
# Invariants  V1 single-threaded for its whole life, so fork is safe; it never imports the user's __main__.
#             V2 it waits in one poll: the driver's pidfd and socket, the doorbell, pidfd and pipe of each worker. Three
#                timeouts: a second after memory came free (trimmer.py), a second after a worker could not be had, and
#                the refresh time of the memory monitor while a worker has a task.
#             V3 all it knows can be found again in shared memory or from the kernel: a new supervisor adopts the living
#                workers.
#             V4 workers that end while starting, _QUICK_DEATHS in a row, are not replaced but for a call that waits:
#                then one is tried at a time, and when it ends too, the calls that nobody can take fail with the reason.
#             V5 when all workers wait for others, and no more can be had for _STUCK_SECONDS (worker_capacity, a limit
#                of the system), the queued calls that need one fail with the reason: nobody waits for ever.
#             V6 when the session is found damaged, the workers are ended at once, whatever they run: no call can end
#                any more. The driver hears of it by its own calls, and closes the session.
# Crash       the driver's monitor starts another; driver and supervisor dead together: each worker's watchdog ends it.
"""Entry point of the supervisor process."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from miniray import _miniray_core as core
from miniray._runtime import huge_pages, limits, worker_main
from miniray._runtime.fault_points import enter_role, fault_point
from miniray._runtime.memory_monitor import MemoryMonitor
from miniray._runtime.memory_use import KernelKills
from miniray._runtime.trimmer import Trimmer
from miniray._runtime.worker_life import UNKNOWN_END, Worker, describe_end, lost_reason, reopen_life
from miniray._runtime.worker_pools import WorkerPools
from miniray.exceptions import SegmentCorruptedError

_KIND_WORKER = 3  # process_table.hpp ProcessKind
_NO_ROW, _NO_TASK = 0, 1  # what core._recover found of a process
_RETRY_SECONDS = 1.0
_STUCK_SECONDS = 5.0
_QUICK_DEATHS = 3  # workers that end before they took a row, in a row, until no more are started unasked
_IDLE_DEATHS = 20  # the same for workers that took none of the tasks that wait, while no task is finished


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
        self._workers: dict[int, Worker] = {}  # by process number
        self._by_fd: dict[int, Worker] = {}  # by pidfd and by pipe
        self._started = 0
        self._quick_deaths = 0  # in a row
        self._idle_deaths = (0, 0)  # in a row, and tasks finished until then
        self._last_quick = 0  # order of the last worker that ended while starting
        self._kernel_kills = KernelKills()
        self._pools = WorkerPools(config["environment"], config["pool_size"])
        self._memory = MemoryMonitor(config["memory"], self._pidfd_of)
        self._trimmer = Trimmer()
        self._retry_at: float | None = None  # when to try again to start a worker that the system refused
        self._refusal_told = False
        self._refused = ""  # why the system gives no more workers
        self._stuck = (-1, 0.0)  # tasks finished, and since when nothing went on
        for fd in (config["socket_fd"], config["doorbell_fd"], config["spill_fd"]):
            if fd >= 0:
                os.set_inheritable(fd, False)
        fault_point("supervisor.driver_pidfd")
        self._driver_fd = os.pidfd_open(config["driver_pid"])  # first: a driver that is gone is no other failure
        if config["waits"] and not self._is_told_to_begin():
            raise ProcessLookupError("the driver went before there was a session")
        segment_fds: list[int] | None = config["segment_fds"]
        if segment_fds is None:
            core._session_attach(config["name"], "supervisor")
        else:  # without names; the session keeps duplicates that no child program inherits
            control_fd, heap_fd = segment_fds
            core._session_attach_descriptors(config["name"], control_fd, heap_fd, "supervisor")
            for fd in segment_fds:
                os.close(fd)
        fault_point("supervisor.attached")
        if config["spill_fd"] >= 0:
            core._session_spill_file(config["spill_fd"])
        for fd in (self._driver_fd, self._doorbell_fd, self._socket.fileno()):
            self._poll.register(fd, select.POLLIN)

    def _is_told_to_begin(self) -> bool:
        waiter = select.poll()
        waiter.register(self._driver_fd, select.POLLIN)
        waiter.register(self._socket.fileno(), select.POLLIN)
        return all(fd != self._driver_fd for fd, _ in waiter.poll()) and self._hear_driver()

    def run(self) -> None:
        """Work until the driver ends or says so."""
        try:
            self._serve()
        except SegmentCorruptedError:
            self._wait_for_the_end()

    def _wait_for_the_end(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        poll = select.poll()
        for fd in (self._driver_fd, self._socket.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._driver_fd or not self._hear_driver():
                    return

    def _serve(self) -> None:
        core._sweep()
        for pid, kind, _, _ in core._processes():
            if kind == _KIND_WORKER:
                try:
                    self._adopt(pid, core._life_of(pid))
                except ProcessLookupError:  # it ended just now
                    core._recover(pid, UNKNOWN_END)
        fault_point("supervisor.ready")
        with contextlib.suppress(OSError):  # the driver is going: its pidfd tells next
            self._socket.send(b"ready")
        # A predecessor may have died after it heard the doorbell, and before it did what it was rung for; nobody rings
        # twice. Of places in the spill file a batch is given back between two looks at the rest.
        self._start_missing()
        self._memory.tend()
        discards_left = core._discard_places()
        self._trimmer.tend()
        while True:
            now = 0.0 if discards_left else None
            times = [
                time_s
                for time_s in (now, self._trimmer.look_at, self._retry_at, self._memory.look_at)
                if time_s is not None
            ]
            for fd, _ in self._poll.poll(max(0.0, min(times) - time.monotonic()) * 1000 if times else None):
                if fd == self._driver_fd or (fd == self._socket.fileno() and not self._hear_driver()):
                    return
                if fd == self._doorbell_fd:
                    with contextlib.suppress(BlockingIOError):  # the driver's monitor was faster
                        os.read(self._doorbell_fd, 8)
                elif (worker := self._by_fd.get(fd)) is not None:
                    if fd == worker.pidfd:
                        self._bury(worker)
                    else:
                        self._lose(worker)
            if self._retry_at is None or time.monotonic() >= self._retry_at:
                self._retry_at = None
                self._start_missing()
            discards_left = core._discard_places()
            self._memory.tend()
            core._relieve_lookout()
            self._trimmer.tend()

    def _hear_driver(self) -> bool:
        return bool(self._socket.recv(64))  # it says that the session is there, then only closes: the end

    def _pidfd_of(self, pid: int) -> int | None:
        worker = self._workers.get(pid)
        return None if worker is None else worker.pidfd

    def _adopt(self, pid: int, life_number: int) -> None:
        life_fd = reopen_life(pid, life_number) if life_number >= 0 else -1
        worker = self._watch(pid, life_fd, is_child=False)
        if life_number >= 0 and life_fd < 0:  # it lost its pipe while there was no supervisor
            self._lose(worker)

    def _watch(self, pid: int, life_fd: int, is_child: bool, environment: int = 0) -> Worker:
        self._started += 1
        try:
            fault_point("supervisor.pidfd")
            worker = Worker(pid, os.pidfd_open(pid), life_fd, is_child, self._started, environment)
        except OSError:
            if life_fd >= 0:
                os.close(life_fd)
            raise
        self._workers[pid] = worker
        for fd in (worker.pidfd, worker.life_fd):
            if fd >= 0:
                self._by_fd[fd] = worker
                self._poll.register(fd, select.POLLIN)
        return worker

    def _forget_life(self, worker: Worker) -> None:
        if worker.life_fd >= 0:
            self._poll.unregister(worker.life_fd)
            del self._by_fd[worker.life_fd]
            worker.close_life()

    def _lose(self, worker: Worker) -> None:
        """End a worker whose pipe is closed; does no harm to one that is ending."""
        self._forget_life(worker)
        worker.reason = worker.reason or lost_reason(worker.pid, self._config["name"])
        worker.kill()

    def _bury(self, worker: Worker) -> None:
        self._forget_life(worker)
        self._poll.unregister(worker.pidfd)
        os.close(worker.pidfd)
        del self._by_fd[worker.pidfd], self._workers[worker.pid]
        status = UNKNOWN_END
        if worker.is_child:
            with contextlib.suppress(ChildProcessError):
                status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        cause = note = 0
        if (ended := self._memory.take_end_of(worker.pid)) is not None:
            cause, note = ended.cause, ended.note
        elif worker.reason is not None:
            note = core._note_death(worker.reason)
        elif status == -signal.SIGKILL and self._kernel_kills.take():
            note = core._note_death(
                "the kernel killed it for memory (its counter of such kills has risen). Use less memory per task, run "
                "fewer at a time (num_cpus, or memory= in the decorator), or give the program more"
            )
        fault_point("supervisor.burying")
        found = core._recover(worker.pid, status, cause, note)
        fault_point("supervisor.buried")
        self._count_death(worker, status, found)

    def _count_death(self, worker: Worker, status: int, found: int) -> None:
        """See whether workers end one after the other without doing anything; ``found``: see ``_recover``."""
        if found == _NO_ROW and worker.environment:
            self._pools.setup_ended(worker, status)
            return
        if found == _NO_ROW and not worker.is_child:  # it had a row when it was adopted, so it left in good order
            return
        if found == _NO_ROW and status != 0:
            if self._began_since(self._last_quick):
                self._quick_deaths = 0
            self._quick_deaths += 1
            self._last_quick = worker.order
        elif found == _NO_TASK and status != 0:
            statistics = core._statistics()
            if statistics["queued"] == 0:  # somebody killed it: there was nothing that it could have taken
                return
            finished = statistics["finished"]
            deaths, finished_then = self._idle_deaths
            self._idle_deaths = (deaths + 1 if finished == finished_then else 1, finished)
            if self._idle_deaths[0] < _IDLE_DEATHS:
                return
            self._quick_deaths = max(_QUICK_DEATHS, self._quick_deaths + 1)
            self._last_quick = worker.order
        elif worker.order > self._last_quick:
            self._quick_deaths, self._idle_deaths = 0, (0, 0)
            return
        if self._quick_deaths >= _QUICK_DEATHS:
            self._give_up(worker.pid, status)

    def _began_since(self, order: int) -> bool:
        """Return whether one of the workers after that one lives and has come as far as to take a row."""
        later = {worker.pid for worker in self._workers.values() if worker.order > order}
        return bool(later) and any(kind == _KIND_WORKER and pid in later for pid, kind, _, _ in core._processes())

    def _give_up(self, pid: int, status: int) -> None:
        """Fail the calls that only a new worker could take."""
        end = describe_end(status)
        told = f"{_QUICK_DEATHS} workers in a row ended before they could take a task (the last: pid {pid}, {end})"
        if self._quick_deaths == _QUICK_DEATHS:
            _tell(f"{told}; another is started only for a call that waits. Their output above says why")
        core._fail_stranded(pid, status, core._note_death(f"no worker can be started: {told}"))
        if self._workers:  # they take what is left, or block, and a call waits for another: no storm meanwhile
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _start_missing(self) -> None:
        pools = self._pools.look(self._workers.values())
        room = self._config["worker_capacity"] - len(self._workers)
        limit = room
        if self._quick_deaths >= _QUICK_DEATHS:  # V4
            if self._began_since(self._last_quick):
                self._quick_deaths, self._idle_deaths = 0, (0, 0)
            else:
                limit = int(all(worker.order <= self._last_quick for worker in self._workers.values()))
                pools = [pool for pool in pools if pool.needed]
        self._refused, is_short = "", False
        for pool in pools:
            count = min(pool.missing, limit)
            self._start_workers(count, pool.environment)
            limit -= count
            if pool.needed > 0 and pool.starting <= 0 and (room <= 0 or self._refused):
                # Idle ones of other environments leave, whose ends lead back to here.
                is_short |= not core._give_way(pool.environment, pool.needed)
        if is_short:
            self._see_if_stuck()

    def _see_if_stuck(self) -> None:
        """Fail the calls that wait for a worker that cannot be had, when nobody goes on either (V5)."""
        now = time.monotonic()
        self._retry_at = now + _RETRY_SECONDS
        numbers = core._statistics()
        goes_on = numbers["running"] or numbers["idle_workers"]
        if goes_on or self._stuck[0] != numbers["finished"]:
            self._stuck = (-1 if goes_on else numbers["finished"], now)
        elif now - self._stuck[1] >= _STUCK_SECONDS:
            self._stuck = (-1, now)
            reason = self._refused or (
                f"there are {len(self._workers)} workers, as many as there may be, and each is an actor's or runs a "
                "task that waits for others in get() or wait(). Nest calls less deep, let actors go, or allow more: "
                "init(worker_capacity=...)"
            )
            core._fail_stranded(0, 0, core._note_death(f"no worker can be started: {reason}"))

    def _start_workers(self, count: int, environment: int) -> None:
        """Start workers; what the system refuses is told once and tried again later."""
        for _ in range(count):
            try:
                self._start_worker(environment)
            except OSError as error:
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                self._refused = str(limits.explain(error, "start another worker").strerror)
                if not self._refusal_told:
                    self._refusal_told = True
                    _tell(
                        f"{self._refused}. The session goes on with {len(self._workers)} workers and tries again "
                        "every second"
                    )
                return

    def _start_worker(self, environment: int) -> None:
        with contextlib.ExitStack() as opened:
            pipes = []
            for _ in range(3):
                fault_point("supervisor.pipe")
                read_fd, write_fd = os.pipe()
                pipes.append((read_fd, write_fd))
                opened.callback(os.close, read_fd)
                opened.callback(os.close, write_fd)
            (out_read, out_write), (err_read, err_write), (life_read, life_write) = pipes
            fault_point("supervisor.fork")
            supervisor_pid = os.getpid()
            pid = os.fork()
            if pid == 0:
                for fd in (out_read, err_read, life_read, self._driver_fd, *self._by_fd):
                    os.close(fd)
                self._socket.close()
                worker_main.main(self._config, supervisor_pid, out_write, err_write, life_write, environment)
            fault_point("supervisor.forked")
            try:
                self._watch(pid, os.dup(life_read), is_child=True, environment=environment)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                core._recover(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                raise
            with contextlib.suppress(OSError):  # the driver is going: its pidfd tells next
                fault_point("supervisor.send_output")
                socket.send_fds(self._socket, [str(pid).encode()], [out_read, err_read])

    def end(self) -> None:
        """Kill the workers, wait for their ends, remove the segments."""
        fault_point("supervisor.ending")
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.wait()
            if worker.is_child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(worker.pid, 0)
        fault_point("supervisor.unlinking")
        core._session_unlink(self._config["name"])
        if os.path.isdir(self._config["folder"]):
            from miniray._runtime.packages import remove_folder  # few sessions unpack archives

            remove_folder(self._config["folder"])


def _tell(text: str) -> None:
    """Print a line for the user; the driver shows it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"miniray: {text}.\n")
        sys.stderr.flush()


def main(config: dict[str, Any]) -> None:
    """Run the supervisor with what the driver sent."""
    enter_role("supervisor")
    fault_point("supervisor.born")
    huge_pages.restore_environment(config["tunables"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a program that ignores it would hide how workers end
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the driver's monitor thread blocks all, and may have started this
    try:
        supervisor = Supervisor(config)
    except ProcessLookupError:  # the driver is gone already
        core._session_unlink(config["name"])
        os._exit(1)
    except (OSError, RuntimeError) as error:
        _tell(f"the supervisor cannot start: {error}")
        os._exit(1)
    import cloudpickle  # noqa: F401  # once, for all workers: what __main__ defines travels by it

    if config["preload"]:
        from miniray._runtime.preload import preload  # few programs do

        preload(config["preload"], _tell)
    gc.freeze()  # what is imported stays; the collector was off until now (monitor.py)
    gc.enable()
    try:
        supervisor.run()
    finally:
        supervisor.end()
    os._exit(0)
