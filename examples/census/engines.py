"""The same work in three ways: miniray, a process pool, and a plain loop in this process.

All cut it into the same pieces and merge the results in groups of `FAN_IN`, so that their times compare like with like.
"""

from __future__ import annotations

import concurrent.futures
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeAlias

import miniray as ray
from census.analysis import Census, census_of_files, merge_censuses
from census.text import TextStatistics, merge_statistics, statistics_of_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from census.analysis import SourceFile
    from census.progress import Progress

FAN_IN = 16
"""How many results one merge takes."""

_POLL_SECONDS = 0.1

Batches: TypeAlias = "Sequence[Sequence[SourceFile]]"
Slices: TypeAlias = "Sequence[tuple[int, int]]"


class Engine(ABC):
    """One way of running the work."""

    name: str

    def start(self, num_cpus: int) -> None:  # noqa: B027  # a plain loop has nothing to start
        """Start the workers."""

    def stop(self) -> None:  # noqa: B027
        """End them."""

    @abstractmethod
    def take_census(self, batches: Batches, progress: Progress) -> Census:
        """Return the census of all batches."""

    @abstractmethod
    def read_text(self, text: np.ndarray, slices: Slices, progress: Progress) -> TextStatistics:
        """Return the statistics of all slices of the text."""


class Miniray(Engine):
    """Tasks and a tree of tasks; the text is put once and every task gets a view of it."""

    name = "miniray"

    def start(self, num_cpus: int) -> None:
        ray.init(num_cpus=num_cpus)
        self._census_of_files = ray.remote(census_of_files)
        self._merge_censuses = ray.remote(merge_censuses)
        self._statistics_of_text = ray.remote(statistics_of_text)

    def stop(self) -> None:
        ray.shutdown()

    def take_census(self, batches: Batches, progress: Progress) -> Census:
        level = [self._census_of_files.remote(batch) for batch in batches]
        tasks = list(level)
        while True:  # the whole tree is submitted at once: a merge starts when its own inputs are there
            level = [self._merge_censuses.remote(*group) for group in in_groups(level)]
            tasks += level
            if len(level) == 1:
                break
        self._follow(tasks, progress)
        return ray.get(level[0])

    def read_text(self, text: np.ndarray, slices: Slices, progress: Progress) -> TextStatistics:
        shared_text = ray.put(text)
        tasks = [self._statistics_of_text.remote(shared_text, start, stop) for start, stop in slices]
        self._follow(tasks, progress)
        return merge_statistics(*ray.get(tasks))

    def _follow(self, tasks: list[ray.ObjectRef], progress: Progress) -> None:
        total = len(tasks)
        while tasks:
            _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=_POLL_SECONDS)
            progress.update(total - len(tasks), total)


class ProcessPool(Engine):
    """Each level of results comes back before the next is sent; slices are copied to the workers."""

    name = "ProcessPoolExecutor"

    def start(self, num_cpus: int) -> None:
        self._pool = concurrent.futures.ProcessPoolExecutor(num_cpus)

    def stop(self) -> None:
        self._pool.shutdown()

    def take_census(self, batches: Batches, progress: Progress) -> Census:
        total = len(batches) + merges_of(len(batches))
        level = [self._pool.submit(census_of_files, batch) for batch in batches]
        done = self._follow(level, progress, 0, total)
        while True:
            groups = in_groups([future.result() for future in level])
            level = [self._pool.submit(merge_censuses, *group) for group in groups]
            done = self._follow(level, progress, done, total)
            if len(level) == 1:
                return level[0].result()

    def read_text(self, text: np.ndarray, slices: Slices, progress: Progress) -> TextStatistics:
        futures = [self._pool.submit(statistics_of_text, text[start:stop], 0, stop - start) for start, stop in slices]
        self._follow(futures, progress, 0, len(futures))
        return merge_statistics(*[future.result() for future in futures])

    def _follow(self, futures: list[concurrent.futures.Future], progress: Progress, done: int, total: int) -> int:
        pending = set(futures)
        while pending:
            _, pending = concurrent.futures.wait(pending, _POLL_SECONDS)
            progress.update(done + len(futures) - len(pending), total)
        return done + len(futures)


class Serial(Engine):
    """A loop."""

    name = "serial"

    def take_census(self, batches: Batches, progress: Progress) -> Census:
        level = []
        for batch in batches:
            level.append(census_of_files(batch))
            progress.update(len(level), len(batches) + 1)
        while True:
            level = [merge_censuses(*group) for group in in_groups(level)]
            if len(level) == 1:
                progress.update(len(batches), len(batches))
                return level[0]

    def read_text(self, text: np.ndarray, slices: Slices, progress: Progress) -> TextStatistics:
        parts = []
        for start, stop in slices:
            parts.append(statistics_of_text(text, start, stop))
            progress.update(len(parts), len(slices))
        return merge_statistics(*parts)


def in_groups(items: list) -> list[list]:
    """Cut a list into groups of `FAN_IN`."""
    return [items[i : i + FAN_IN] for i in range(0, len(items), FAN_IN)]


def merges_of(count: int) -> int:
    """Return how many merges reduce `count` results to one; a single result is merged too."""
    merges = 0
    while True:
        count = -(-count // FAN_IN)
        merges += count
        if count == 1:
            return merges
