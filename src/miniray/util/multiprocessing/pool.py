# util/multiprocessing/pool.py - the interface of multiprocessing.Pool, with the results of the standard library.
#
# Invariants  P1 results are the standard library's own classes (results.py); here they are only fed, chunk by chunk.
#             P2 a result that is awaited keeps the pool; a pool that nobody has ends its processes.
# Source      multiprocessing/pool.py of the standard library, for the interface and chunk sizes; Ray 2.60.0,
#             python/ray/util/multiprocessing/pool.py, for parameters, and for errors as values of imap.
"""``Pool``: a process pool on actors."""

from __future__ import annotations

import functools
import logging
import multiprocessing.pool
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import miniray
from miniray._api.warn_once import warn_once
from miniray._runtime.observation import observe_session
from miniray.util.multiprocessing.crew import Chunk, Crew
from miniray.util.multiprocessing.pool_actor import PoolTaskError
from miniray.util.multiprocessing.results import (
    CallResult,
    IMapIterator,
    MapResult,
    OrderedIMapIterator,
    UnorderedIMapIterator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

__all__ = ["AsyncResult", "IMapIterator", "OrderedIMapIterator", "Pool", "PoolTaskError", "UnorderedIMapIterator"]

AsyncResult = multiprocessing.pool.AsyncResult


class Pool:
    """Processes that run calls, with the interface of ``multiprocessing.Pool``.

    A process that dies fails the call it ran, with ActorDiedError; another takes its place. Blocks until the processes
    are there.

    Args:
        processes: How many; None: the CPUs of the session. Without a session one with so many CPUs is started.
        initializer: Called first in each process.
        initargs: Its arguments.
        maxtasksperchild: Chunks that a process runs before another takes its place.
        context: Accepted as in ``multiprocessing``, and ignored.
        ray_address: For ``init``, when there is no session.
        ray_remote_args: Options of the actors: ``num_cpus`` (default 0), ``resources``, ...

    Raises:
        ValueError: Less than one process, or more than the session has CPUs.
        ActorDiedError: The initializer failed.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: object = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        """Start the processes; see the class."""
        if context:
            warn_once("pool context", "The 'context' argument of Pool is ignored: miniray starts processes itself.")
        self._processes = _process_count(processes, ray_address)
        self._cache: dict[int, Any] = {}  # for the results of the standard library
        self._is_closed = False
        self._crew = Crew(
            self._processes, ray_remote_args or {}, initializer, tuple(initargs or ()), maxtasksperchild or None
        )
        self._end = weakref.finalize(self, self._crew.close)
        self._end.atexit = False

    def apply(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function in a process; return its result.

        Args:
            func: The function.
            args: Arguments by position.
            kwargs: Arguments by name.
            kwds: The word of ``multiprocessing`` for the same.
        """
        return self._apply(True, func, args, kwargs or kwds, None, None).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> AsyncResult[Any]:
        """Call a function in a process; return at once what its result can be had from.

        Args:
            func: The function.
            args: Arguments by position.
            kwargs: Arguments by name.
            callback: Gets the result, in a thread of the pool.
            error_callback: Gets the error, likewise.
            kwds: The word of ``multiprocessing`` for ``kwargs``.
        """
        return self._apply(False, func, args, kwargs or kwds, callback, error_callback)

    def _apply(
        self,
        will_wait: bool,
        func: Callable[..., Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult[Any]:
        self._check_running()
        result = CallResult(self, _guarded(callback), _guarded(error_callback))

        def finish(outcome: Any, error: Exception | None) -> None:
            if error is None and isinstance(outcome, PoolTaskError):
                error = outcome
            result._set(0, (True, outcome) if error is None else (False, _unwrap(error)))

        self._crew.submit([Chunk("call", func, (args or (), kwargs or {}), finish)], will_wait=will_wait)
        return result

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call a function with each item; return the list of results.

        Args:
            func: The function.
            iterable: The items.
            chunksize: How many calls go to a process at a time; None: a quarter of its share.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[Any]]:
        """Do the same; return at once what the results can be had from.

        Args:
            func: The function.
            iterable: The items.
            chunksize: How many calls go to a process at a time.
            callback: Gets the list of results, in a thread of the pool.
            error_callback: Gets the first error, likewise.
        """
        return self._map("each", list(iterable), func, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Call a function with the arguments in each item; return the list of results.

        Args:
            func: The function.
            iterable: The items.
            chunksize: How many calls go to a process at a time.
        """
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        chunksize: int | None = None,
    ) -> AsyncResult[list[Any]]:
        """Do the same; return at once what the results can be had from.

        Args:
            func: The function.
            iterable: The items.
            callback: Gets the list of results, in a thread of the pool.
            error_callback: Gets the first error, likewise.
            chunksize: How many calls go to a process at a time.
        """
        return self._map("each_spread", [tuple(item) for item in iterable], func, chunksize, callback, error_callback)

    def _map(
        self,
        method: str,
        items: list[Any],
        func: Callable[..., Any],
        chunksize: int | None,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult[list[Any]]:
        self._check_running()
        if chunksize is None:
            chunksize = -(-len(items) // (self._processes * 4))
        elif chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        result = MapResult(self, chunksize, len(items), _guarded(callback), _guarded(error_callback))

        def finish(position: int, outcomes: list[Any] | None, error: Exception | None) -> None:
            failed = _failures(outcomes) if outcomes is not None else [error]
            result._set(position, (not failed, _unwrap(failed[0]) if failed else outcomes))

        self._crew.submit(
            Chunk(method, func, (items[start : start + chunksize],), functools.partial(finish, position))
            for position, start in enumerate(range(0, len(items), chunksize or 1))
        )
        return result

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """Call a function with each item; return an iterator over the results, in the order of the items.

        Items are taken only as results are: ``iterable`` may be endless. A call that failed gives a PoolTaskError.

        Args:
            func: The function.
            iterable: The items.
            chunksize: How many calls go to a process at a time.
        """
        return OrderedIMapIterator(self, func, iterable, self._imap_chunksize(chunksize))

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """Do the same, with results as they become ready.

        Args:
            func: The function.
            iterable: The items.
            chunksize: How many calls go to a process at a time.
        """
        return UnorderedIMapIterator(self, func, iterable, self._imap_chunksize(chunksize))

    def _imap_chunksize(self, chunksize: int | None) -> int:
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        return chunksize or 1

    def _check_running(self) -> None:
        if self._is_closed:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more work; processes end when what they have is done."""
        if not self._is_closed:
            self._is_closed = True
            self._end()

    def terminate(self) -> None:
        """Kill the processes; work that is not done fails with ActorDiedError."""
        self._is_closed = True
        self._end.detach()
        self._crew.terminate()

    def join(self) -> None:
        """Wait until the processes have ended.

        Raises:
            ValueError: The pool was not closed or terminated.
        """
        if not self._is_closed:
            raise ValueError("Pool is still running")
        self._crew.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")


def _guarded(callback: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    """Return a callback whose errors are logged: the standard library's results would never be ready."""
    if callback is None:
        return None

    def call(value: Any) -> None:
        try:
            callback(value)
        except Exception:
            logging.getLogger("miniray").exception("A callback of a pool failed")

    return call


def _failures(outcomes: list[Any]) -> list[PoolTaskError]:
    return [outcome for outcome in outcomes if isinstance(outcome, PoolTaskError)]


def _unwrap(error: Exception | None) -> BaseException | None:
    return error.underlying if isinstance(error, PoolTaskError) else error


def _process_count(processes: int | None, address: str | None) -> int:
    """Return how many processes to start, and have a session for them."""
    if processes is not None and processes <= 0:
        raise ValueError("Processes in the pool must be >0.")
    if not miniray.is_initialized():
        miniray.init(address, **({} if processes is None else {"num_cpus": processes}))
    cpus = int(observe_session(None).resources["CPU"][0])
    if processes is None:
        return max(cpus, 1)
    if processes > cpus:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing ray cluster, but there are only {cpus} "
            "CPUs in the ray cluster."
        )
    return processes
