# stress/chaos.py - the process that kills and stops what a session consists of.
#
# Invariants  C1 only processes of this session get a signal: by pidfd, opened before the command line is read, which names
#                the session. So a number that is used again hurts no stranger.
#             C2 a kill counts once for each process, and only when that was not ending already.
#             C3 a stopped process goes on, or is killed, a moment later. A process of its own sees to that: threads of the
#                driver stand still while one of them waits for the lock of a stopped process.
#             C4 work goes on in between: after a number of kills without a finished task it waits for one. Blocked workers
#                call their nested tasks again when they are retried, so a long queue is left to get shorter. A newborn is killed
#                only when another has become a worker since: after three in a row calls fail, as they should (supervisor.py V4).
# To add      an action: a method, and a line in ACTIONS.
"""Random kills and stops: ``python chaos.py SESSION SEED RATE COUNTS``; ends with its standard input."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import mmap
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from miniray import _miniray_core as core

COUNTED = ("kills", "stops", "kills_of_all", "kills_of_stopped", "newborn_kills", "supervisor_kills", "left_out")
_PERIOD_SECONDS = 4.0  # a storm, then a calm
_STORM, _STORM_FACTOR, _CALM_FACTOR = 0.25, 2.8, 0.4  # share of the period; factors of the rate: their mean is 1
_CROWD = 40  # tasks that wait
_KILLS_FOR_A_TASK, _KILLS_IN_A_CROWD = 10, 1  # at most, until one more is finished


class SharedCounts:
    """Counts in a file that both processes map; one writes.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: str) -> None:
        with open(path, "a+b") as file:
            file.truncate(8 * len(COUNTED))
            self._words = mmap.mmap(file.fileno(), 8 * len(COUNTED))

    def __getitem__(self, name: str) -> int:
        return struct.unpack_from("<q", self._words, 8 * COUNTED.index(name))[0]

    def note(self, **numbers: int) -> None:
        """Add to some counts."""
        for name, number in numbers.items():
            struct.pack_into("<q", self._words, 8 * COUNTED.index(name), self[name] + number)

    def close(self) -> None:
        """Unmap it."""
        self._words.close()


class ChaosProcess:
    """The process, as the driver sees it.

    Args:
        session: Name of the session.
        seed: See ``Chaos``.
        rate: See ``Chaos``.
        folder: For the counts.
    """

    def __init__(self, session: str, seed: str, rate: float, folder: str) -> None:
        self.counts = SharedCounts(f"{folder}/chaos")
        self._process = subprocess.Popen(
            [sys.executable, __file__, session, seed, str(rate), f"{folder}/chaos"], stdin=subprocess.PIPE
        )

    def stop(self) -> None:
        """End it; what it stopped goes on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait() != 0:
            raise AssertionError(f"the process that kills ended with {self._process.returncode}")


def has_ended(pidfd: int) -> bool:
    """Return whether the process is proved dead."""
    waiter = select.poll()
    waiter.register(pidfd, select.POLLIN)
    return bool(waiter.poll(0))


class Chaos:
    """Kills and stops.

    Args:
        seed: What is done, in which order, follows from it; whom it hits, from who is there.
        session: Name of the session, which the command lines of its processes hold.
        rate: Actions a second, as a mean; five of six are kills.
        counts: Where to count.
    """

    def __init__(self, seed: str, session: str, rate: float, counts: SharedCounts) -> None:
        self.random = random.Random(seed)
        self.session = session
        self.rate = rate
        self.counts = counts
        self.facts: dict[str, Any] = {}
        self.killed: dict[int, int] = {}  # pid -> pidfd, until it has ended
        self.stopped: list[tuple[float, int, int, int, bool]] = []  # when it goes on, tie-breaker, pid, pidfd, dies
        self.finished = 0, 0  # tasks, and kills until then
        self.order = itertools.count()
        self.at_newborn: set[int] = set()  # the workers when a newborn was killed last

    def run(self) -> None:
        """Act at times that the rate gives, late ones at once, until standard input ends."""
        started = due = time.monotonic()
        actions, weights = [action for _, action in self.ACTIONS], [weight for weight, _ in self.ACTIONS]
        end = select.poll()
        end.register(sys.stdin, select.POLLIN | select.POLLHUP)
        while not end.poll(max(0.0, min([due, *(when for when, *_ in self.stopped[:1])]) - time.monotonic()) * 1000):
            now = time.monotonic()
            while self.stopped and self.stopped[0][0] <= now:
                self._go_on()
            if now < due:
                continue
            in_storm = (now - started) % _PERIOD_SECONDS < _STORM * _PERIOD_SECONDS
            due = max(due, now - 1) + self.random.expovariate(self.rate * (_STORM_FACTOR if in_storm else _CALM_FACTOR))
            self._forget_the_dead()
            self.facts = core._observe_session(self.session)
            if self._work_stands_still():
                self.counts.note(left_out=1)
                continue
            self.random.choices(actions, weights)[0](self)
        self.close()

    def close(self) -> None:
        """Let all stopped processes go on and close what is open."""
        while self.stopped:
            self._go_on()
        while self.killed:
            os.close(self.killed.popitem()[1])

    def _work_stands_still(self) -> bool:
        """Return whether tasks need time to finish."""
        kills = self.counts["kills"]
        if self.facts["tasks"] == 0 or self.facts["finished"] != self.finished[0]:
            self.finished = self.facts["finished"], kills
        return kills - self.finished[1] >= (_KILLS_IN_A_CROWD if self.facts["queued"] > _CROWD else _KILLS_FOR_A_TASK)

    def _open(self, pid: int) -> int | None:
        """Return a pidfd of a process of this session that nobody here has killed."""
        if pid in self.killed:
            return None
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        try:
            is_ours = self.session.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            is_ours = False
        if not is_ours or has_ended(pidfd):
            os.close(pidfd)
            return None
        return pidfd

    def kill(self, pid: int, **counted: int) -> None:
        """Kill a process of the session, unless it is ending already."""
        if (pidfd := self._open(pid)) is None:
            return
        self.killed[pid] = pidfd
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            self.counts.note(kills=1, **counted)

    def _forget_the_dead(self) -> None:
        for pid, pidfd in list(self.killed.items()):
            if has_ended(pidfd):
                os.close(pidfd)
                del self.killed[pid]

    def _pause(self, pid: int, longest: float) -> None:
        duration, kills = self.random.uniform(0.001, longest), self.random.random() < 0.2
        if (pidfd := self._open(pid)) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            self.counts.note(stops=1)
        heapq.heappush(self.stopped, (time.monotonic() + duration, next(self.order), pid, pidfd, kills))

    def _go_on(self) -> None:
        _, _, pid, pidfd, dies = heapq.heappop(self.stopped)
        if dies:
            self.kill(pid, kills_of_stopped=1)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)

    def _pids(self, kind: str, state: str | None = None) -> list[int]:
        rows = self.facts["processes"]
        return sorted(pid for pid, found, its_state, _ in rows if found == kind and state in (None, its_state))

    def _one_of(self, kind: str, prefers_running: bool = False) -> int | None:
        draw = self.random.random()
        pids = (self._pids(kind, "running") if prefers_running else []) or self._pids(kind)
        return pids[int(draw * len(pids))] if pids else None

    # Each method below is one action.

    def kill_worker(self) -> None:
        """Kill a worker, most often one that computes."""
        if (pid := self._one_of("worker", self.random.random() < 0.8)) is not None:
            self.kill(pid)

    def kill_all_workers(self) -> None:
        """Kill all workers at once."""
        for pid in self._pids("worker"):
            self.kill(pid)
        self.counts.note(kills_of_all=1)

    def kill_newborn(self) -> None:
        """Kill a worker that has no row yet."""
        workers = set(self._pids("worker"))
        if workers <= self.at_newborn:
            return
        for supervisor in self._pids("supervisor"):
            try:
                children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            except OSError:
                continue
            for pid in map(int, children[-1:]):
                if pid not in workers:  # when it was looked
                    self.at_newborn = workers
                    self.kill(pid, newborn_kills=1)

    def kill_supervisor(self) -> None:
        """Kill the supervisor."""
        if (pid := self._one_of("supervisor")) is not None:
            self.kill(pid, supervisor_kills=1)

    def stop_worker(self) -> None:
        """Stop a worker for a moment."""
        if (pid := self._one_of("worker")) is not None:
            self._pause(pid, 0.3)

    def stop_supervisor(self) -> None:
        """Stop the supervisor for a moment."""
        if (pid := self._one_of("supervisor")) is not None:
            self._pause(pid, 0.1)

    ACTIONS = (
        (80, kill_worker),
        (1, kill_all_workers),
        (3, kill_newborn),
        (2, kill_supervisor),
        (10, stop_worker),
        (2, stop_supervisor),
    )


if __name__ == "__main__":
    Chaos(sys.argv[2], sys.argv[1], float(sys.argv[3]), SharedCounts(sys.argv[4])).run()
