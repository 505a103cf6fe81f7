# util/multiprocessing/results.py - the standard library's results of a pool, for whom waiting is working.
#
# Invariants  R1 who waits for a result works for the pool meanwhile (crew.py W2).
#             R2 imap takes from its iterable, in the thread that asks, one chunk per process more than was consumed;
#                where calls are short, up to _MOST_AHEAD, so that processes need not wait for who consumes.
# Source      multiprocessing/pool.py of the standard library, for what is overridden.
"""Results of ``Pool``."""

from __future__ import annotations

import functools
import itertools
import multiprocessing.pool
import time
from typing import TYPE_CHECKING, Any

from miniray.util.multiprocessing.crew import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from miniray.util.multiprocessing.pool import Pool

__all__ = ["CallResult", "IMapIterator", "MapResult", "OrderedIMapIterator", "UnorderedIMapIterator"]

_SHORT_SECONDS = 0.005
_MOST_AHEAD = 64

_ApplyResult: Any = multiprocessing.pool.ApplyResult
_MapResult: Any = multiprocessing.pool.MapResult
_IMapIterator: Any = multiprocessing.pool.IMapIterator
_IMapUnorderedIterator: Any = multiprocessing.pool.IMapUnorderedIterator


class CallResult(_ApplyResult):  # type: ignore[misc]
    """What a call will give."""

    def __init__(self, pool: Pool, *arguments: Any) -> None:
        super().__init__(pool, *arguments)
        self._crew = pool._crew

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there.

        Args:
            timeout: Seconds at most; None: for ever.
        """
        self._crew.work_until(self._event.is_set, timeout)


class MapResult(_MapResult, CallResult):  # type: ignore[misc]
    """What the calls of ``map`` will give."""

    def __init__(self, pool: Pool, *arguments: Any) -> None:
        _MapResult.__init__(self, pool, *arguments)
        self._crew = pool._crew


class IMapIterator(_IMapIterator):  # type: ignore[misc]
    """Results of ``imap``, in the order of their arguments. A call that failed gives a PoolTaskError, not an error.

    Args:
        pool: The pool.
        func: What to call.
        iterable: Arguments.
        chunksize: How many calls go to a process at a time.
    """

    def __init__(self, pool: Pool, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int) -> None:
        """Start on the first chunks; see the class."""
        super().__init__(pool)
        self._crew = pool._crew
        self._func = func
        self._items_left = iter(iterable)
        self._chunksize = chunksize
        self._submitted = 0  # items
        self._taken = 0
        self._is_exhausted = False
        self._processes = self._ahead = pool._processes  # chunks that are submitted and not consumed
        self._submit_chunks()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result; blocks until it is there.

        Args:
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            StopIteration: There are no more.
            multiprocessing.TimeoutError: Not there in time.
        """
        if not self._has_next():
            started = time.monotonic()
            self._crew.work_until(self._has_next, timeout)
            is_short = time.monotonic() - started < _SHORT_SECONDS
            self._ahead = min(2 * self._ahead, _MOST_AHEAD) if is_short else self._processes
        value = super().next(0)
        self._taken += 1
        self._submit_chunks()
        return value

    def __next__(self) -> Any:
        return self.next()

    def _has_next(self) -> bool:
        return bool(self._items) or self._index == self._length

    def _submit_chunks(self) -> None:
        """Submit what may be ahead, when half of it has been consumed."""
        ahead = (self._submitted - self._taken + self._chunksize - 1) // self._chunksize
        if self._is_exhausted or (ahead >= self._processes and ahead > self._ahead // 2):
            return
        chunks = []
        for _ in range(max(self._ahead, self._processes) - ahead):
            items = list(itertools.islice(self._items_left, self._chunksize))
            start = self._submitted
            self._submitted += len(items)
            if items:
                finish = functools.partial(self._take_outcomes, start, len(items))
                chunks.append(Chunk("each", self._func, (items,), finish))
            if len(items) < self._chunksize:
                self._is_exhausted = True
                break
        self._crew.submit(chunks)
        if self._is_exhausted:
            self._set_length(self._submitted)

    def _take_outcomes(self, start: int, count: int, outcomes: list[Any] | None, error: Exception | None) -> None:
        for index, value in enumerate([error] * count if outcomes is None else outcomes, start):
            self._set(index, (True, value))


class OrderedIMapIterator(IMapIterator):
    """Results of ``imap``, in the order of their arguments."""


class UnorderedIMapIterator(IMapIterator, _IMapUnorderedIterator):  # type: ignore[misc]
    """Results of ``imap_unordered``, as they become ready."""

    _set = _IMapUnorderedIterator._set
