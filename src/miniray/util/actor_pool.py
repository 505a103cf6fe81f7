# util/actor_pool.py - work for a fixed set of actors, one call at a time each.
#
# Invariants  P1 an actor is idle, busy with one call of the pool, or (dead) no longer in it.
#             P2 a call waits in _waiting only while no actor is idle.
#             P3 the result of call i is in _futures until somebody took it or let it go; _next is the first index that
#                get_next() may return.
# Source      Ray 2.60.0, python/ray/util/actor_pool.py, for the rules of mixing ordered and unordered results.
"""ActorPool."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import miniray
from miniray.exceptions import ActorDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from miniray.actor import ActorHandle

__all__ = ["ActorPool"]

_TIMED_OUT = "Timed out waiting for result"


class ActorPool:
    """Actors that share work: each call goes to one that is idle, or waits for one.

    An actor that died leaves the pool with the ActorDiedError of its call.

    Args:
        actors: Handles of the actors.
    """

    def __init__(self, actors: list[ActorHandle]) -> None:
        """Make the pool; see the class."""
        self._idle = list(actors)
        self._busy: dict[Any, tuple[int, ActorHandle]] = {}  # by future
        self._futures: dict[int, Any] = {}
        self._submitted = 0
        self._next = 0
        self._waiting: deque[tuple[Callable[[ActorHandle, Any], Any], Any]] = deque()

    def map(self, fn: Callable[[ActorHandle, Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        """Call ``fn(actor, value)`` for each value; return an iterator over the results, in the order of the values.

        Results of earlier calls that nobody took are dropped.

        Args:
            fn: Makes a call of the actor and returns its ref.
            values: What to call it with.
        """
        while self.has_next():
            try:
                self.get_next(timeout=0, ignore_if_timedout=True)
            except TimeoutError:
                continue  # dropped
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Callable[[ActorHandle, Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        """Do the same, with results as they become ready.

        Args:
            fn: Makes a call of the actor and returns its ref.
            values: What to call it with.
        """
        while self.has_next():
            self.get_next_unordered()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def submit(self, fn: Callable[[ActorHandle, Any], Any], value: Any) -> None:
        """Have an idle actor do something, or the first that becomes idle when a result is taken.

        Args:
            fn: Makes a call of the actor and returns its ref.
            value: What to call it with.
        """
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        future = fn(actor, value)
        self._busy[_key(future)] = (self._submitted, actor)
        self._futures[self._submitted] = future
        self._submitted += 1

    def has_next(self) -> bool:
        """Return whether there are results that nobody took."""
        return bool(self._busy)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return the next result in the order of the calls; blocks until it is there.

        Args:
            timeout: Seconds to wait at most; None waits for ever.
            ignore_if_timedout: Drop a result that is not there in time, and let its actor do other work.

        Raises:
            StopIteration: No call is left.
            TimeoutError: Not ready in time.
            ValueError: Results were taken out of order before.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        if self._next >= self._submitted:
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        future = self._futures[self._next]
        if timeout is not None and not miniray.wait([future], timeout=timeout)[0]:
            if not ignore_if_timedout:
                raise TimeoutError(_TIMED_OUT)
            self._give_up(future)
        return self._take(future)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Return the result that is ready first; blocks until there is one.

        Args:
            timeout: Seconds to wait at most; None waits for ever.
            ignore_if_timedout: When none is there in time, drop the oldest call and let its actor do other work.

        Raises:
            StopIteration: No call is left.
            TimeoutError: None was ready in time.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        ready, _ = miniray.wait(list(self._busy), num_returns=1, timeout=timeout)
        if ready:
            return self._take(ready[0])
        if not ignore_if_timedout:
            raise TimeoutError(_TIMED_OUT)
        self._give_up(next(iter(self._busy)))

    def _remove(self, future: Any) -> ActorHandle:
        index, actor = self._busy.pop(_key(future))
        del self._futures[index]
        self._next = max(self._next, index + 1)
        return actor

    def _give_up(self, future: Any) -> None:
        self._put_back(self._remove(future))
        raise TimeoutError(f"{_TIMED_OUT}. The task {future} has been ignored.")

    def _take(self, future: Any) -> Any:
        actor = self._remove(future)
        try:
            result = miniray.get(future)
        except ActorDiedError:
            self._start_waiting()  # what waits may go to another actor, not to this one
            raise
        except BaseException:
            self._put_back(actor)
            raise
        self._put_back(actor)
        return result

    def _put_back(self, actor: ActorHandle) -> None:
        self._idle.append(actor)
        self._start_waiting()

    def _start_waiting(self) -> None:
        if self._waiting and self._idle:
            self.submit(*self._waiting.popleft())

    def has_free(self) -> bool:
        """Return whether an actor is idle and no call waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> ActorHandle | None:
        """Take an idle actor out of the pool; return it, or None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: ActorHandle) -> None:
        """Add an actor; it starts on a call that waits, if any.

        Args:
            actor: Its handle.

        Raises:
            ValueError: It is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._busy.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._put_back(actor)


def _key(future: Any) -> Any:
    """Return what names a call: its ref, or for several results all of them."""
    return tuple(future) if isinstance(future, list) else future
