# _runtime/worker_pools.py - how many workers each environment needs, as the supervisor sees it.
#
# Invariants  P1 there are as many workers as the pool is large, of the session's own environment ("home") unless others
#                were asked for; more where there are tasks for them. All pools together may be larger for a while:
#                idle workers leave (python/executor.cpp), also those of home.
#             P2 an environment whose set-up failed gets no worker unasked until one has come through; when processes
#                end in it, _QUICK_DEATHS in a row, the calls that wait for it fail with the reason.
"""Pools of workers, one for each environment."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime.worker_life import describe_end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miniray._runtime.worker_life import Worker

__all__ = ["SETUP_FAILED", "PoolNeed", "WorkerPools"]

SETUP_FAILED = 71
"""Exit status of a worker that could not enter its environment, and has told those who waited for it."""

_QUICK_DEATHS = 3


class PoolNeed(Record):
    """What one environment lacks.

    Attributes:
        environment: Its number.
        needed: Tasks that could run, had they a worker.
        starting: Workers that have not taken up work yet.
        missing: Workers to start.
    """

    environment: int
    needed: int
    starting: int
    missing: int


class WorkerPools:
    """What the supervisor knows of environments.

    Args:
        home: Environment of the session.
        size: Workers to keep.
    """

    def __init__(self, home: int, size: int) -> None:
        """Begin; see the class."""
        self._home = home
        self._size = size
        self._failures: Counter[int] = Counter()  # set-ups that failed, in a row

    def look(self, workers: Iterable[Worker]) -> list[PoolNeed]:
        """Return what is needed of which environment.

        Args:
            workers: All that the supervisor watches.
        """
        watched = Counter(
            worker.environment if worker.is_child else core._environment_of(worker.pid) for worker in workers
        )
        rows = core._workers_needed()
        total = watched.total() - sum(hosts for *_, hosts in rows)  # an actor's process belongs to it alone
        found = []
        for environment, needed, present, hosts in rows:
            if present > hosts:
                self._failures.pop(environment, None)
            starting = watched[environment] - present
            missing = max(needed - starting, 0)
            if environment == self._home and not self._failures[environment]:
                missing = max(missing, self._size - total)
            found.append(PoolNeed(environment, needed, starting, missing))
        if self._home and self._home not in {pool.environment for pool in found} and not self._failures[self._home]:
            starting = watched[self._home]
            found.append(PoolNeed(self._home, 0, starting, max(self._size - total, 0)))
        return found

    def setup_ended(self, worker: Worker, status: int) -> None:
        """Note that a worker ended before it was one.

        Args:
            worker: What was known of it.
            status: How it ended.
        """
        environment = worker.environment
        self._failures[environment] += 1
        if status != SETUP_FAILED and self._failures[environment] % _QUICK_DEATHS == 0:
            reason = (
                f"{_QUICK_DEATHS} workers in a row ended while they set it up (the last: pid {worker.pid}, "
                f"{worker.reason or describe_end(status)})"
            )
            core._fail_environment(environment, worker.pid, core._note_death(reason))
