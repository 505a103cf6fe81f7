# util/multiprocessing/crew.py - the actors of a pool, and as many threads that hand them chunks of work.
#
# Invariants  W1 each chunk that was queued is finished exactly once, with outcomes or with an error, also when its
#                actor dies or the pool is terminated. It runs at most once.
#             W2 threads know the crew and never the pool, so that a pool nobody has any more ends (pool.py).
#             W3 an actor that died is replaced before the next chunk; after `lifetime` chunks it is let go in order.
#             W4 who runs chunks on an actor took it out of _free before; a thread, or a caller who waits anyway (run).
#             W5 an actor gets one chunk at a time; of short ones as many as take some milliseconds, but no more than
#                half its share of what is queued. When it dies the first without a result has failed, and the others,
#                which did not run, go back to the head of the queue.
# Locks       _changed guards all that changes; nobody waits for an actor while he has it.
"""Actors that run chunks of work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import miniray
from miniray.exceptions import ActorDiedError, RayActorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from miniray.actor import ActorHandle

__all__ = ["Chunk", "Crew", "PoolTaskError"]

_MOST_AT_A_TIME = 64
_SECONDS_AT_A_TIME = 0.005
_FOR_EVER = 1 << 62


class PoolTaskError(Exception):
    """A call of a pool failed.

    Attributes:
        underlying: What it raised.
    """

    def __init__(self, underlying: BaseException) -> None:
        """Keep the error; see the class."""
        super().__init__(underlying)
        self.underlying = underlying


@dataclass(frozen=True)
class Chunk:
    """Work for one call of an actor.

    Attributes:
        function: What to call.
        calls: Arguments by position and by name of each call.
        finish: Gets the outcomes, and raises nothing: of each call its result, or a PoolTaskError; or one error of all.
    """

    function: Callable[..., Any]
    calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]
    finish: Callable[[list[Any] | Exception], None]


class _PoolActor:
    """What runs in the processes of a pool."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: Sequence[Any]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[Any]:
        outcomes: list[Any] = []
        for args, kwargs in calls:
            try:
                outcomes.append(function(*args, **kwargs))
            except Exception as error:
                outcomes.append(PoolTaskError(ExceptionWithTraceback(error, error.__traceback__)))
        return outcomes


class Crew:
    """Actors and their threads. Blocks until all actors are there.

    Args:
        size: How many.
        options: Of the actors.
        initializer: Called first in each.
        initargs: Its arguments.
        lifetime: Chunks that an actor runs before another takes its place; None: any number.

    Raises:
        ActorDiedError: The initializer failed.
    """

    def __init__(
        self,
        size: int,
        options: Mapping[str, Any],
        initializer: Callable[..., object] | None,
        initargs: Sequence[Any],
        lifetime: int | None,
    ) -> None:
        """Start them; see the class."""
        self._actor_class = miniray.remote(num_cpus=0)(_PoolActor).options(**options)
        self._init = initializer, initargs
        self._lifetime = lifetime or _FOR_EVER
        self._changed = threading.Condition()
        self._queue: deque[Chunk] = deque()
        self._leaving: list[miniray.ObjectRef[Any]] = []
        self._is_closed = False
        self._is_terminated = False
        self._chunks_left = [lifetime or _FOR_EVER] * size
        self._free = list(range(size))
        self._actors: list[ActorHandle | None] = [self._actor_class.remote(*self._init) for _ in range(size)]
        miniray.get([actor.__ray_ready__.remote() for actor in self._actors if actor is not None])
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"miniray pool {number}") for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, chunk: Chunk) -> None:
        """Queue work; the first actor that is free takes it."""
        with self._changed:
            self._queue.append(chunk)
            self._changed.notify()

    def run(self, chunk: Chunk) -> None:
        """Run work now, in this thread, when an actor is free and nothing waits; else queue it."""
        with self._changed:
            place = self._free.pop() if self._free and not self._queue else None
        if place is None:
            self.submit(chunk)
            return
        try:
            self._run(place, [chunk])
        finally:
            self._give_back(place)

    def close(self) -> None:
        """End threads and actors when the work that is queued has been done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def terminate(self) -> None:
        """Kill the actors; work that is not done fails."""
        with self._changed:
            self._is_closed = self._is_terminated = True
            for actor in self._actors:
                if actor is not None and miniray.is_initialized():
                    with contextlib.suppress(ValueError):  # of an earlier session
                        miniray.kill(actor)
            dropped = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for chunk in dropped:
            chunk.finish(_terminated())

    def join(self) -> None:
        """Wait until threads and actors have ended."""
        for thread in self._threads:
            thread.join()
        with self._changed:
            leaving, self._leaving = self._leaving, []
        if leaving and miniray.is_initialized():
            miniray.wait(leaving, num_returns=len(leaving))

    # --- threads ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        limit = 1
        while (taken := self._take(limit)) is not None:
            place, chunks = taken
            started = time.monotonic()
            self._run(place, chunks)
            seconds_each = (time.monotonic() - started) / len(chunks)
            limit = min(2 * limit, _MOST_AT_A_TIME, int(_SECONDS_AT_A_TIME / seconds_each) + 1)
            del chunks, taken  # an idle thread keeps nobody's values
            self._give_back(place)

    def _take(self, limit: int) -> tuple[int, list[Chunk]] | None:
        """Wait for work and a free actor; let go the actors that are free when there will be no more work."""
        with self._changed:
            while not (self._queue and self._free):
                if self._is_closed and not self._queue:
                    while self._free:
                        self._let_go(self._free.pop())
                    return None
                self._changed.wait()
            place = self._free.pop()
            share = 1 + len(self._queue) // (2 * len(self._actors))
            count = min(limit, share, len(self._queue), self._chunks_left[place])
            return place, [self._queue.popleft() for _ in range(count)]

    def _give_back(self, place: int) -> None:
        with self._changed:
            if self._chunks_left[place] == 0 or (self._is_closed and not self._queue):
                self._let_go(place)
            self._free.append(place)
            self._changed.notify()

    def _run(self, place: int, chunks: list[Chunk]) -> None:
        """Have an actor run chunks, one after the other."""
        self._chunks_left[place] -= len(chunks)
        calls = []
        for chunk in chunks:
            try:
                calls.append((chunk, self._actor(place).run.remote(chunk.function, chunk.calls)))
            except Exception as error:  # it does not pickle, or there is no actor
                chunk.finish(error.with_traceback(None))
        for position, (chunk, ref) in enumerate(calls):
            outcomes: list[Any] | Exception
            try:
                outcomes = miniray.get(ref)
            except Exception as error:
                outcomes = error.with_traceback(None)  # it would keep this frame, and that the actor
            chunk.finish(outcomes)
            if isinstance(outcomes, RayActorError):
                self._replace(place, [chunk for chunk, _ in calls[position + 1 :]])
                return

    def _actor(self, place: int) -> ActorHandle:
        with self._changed:
            if self._is_terminated:
                raise _terminated()
            actor = self._actors[place]
            if actor is None:
                actor = self._actors[place] = self._actor_class.remote(*self._init)
            return actor

    def _replace(self, place: int, not_run: list[Chunk]) -> None:
        """Forget an actor that died; others run what it did not begin."""
        with self._changed:
            self._actors[place] = None
            self._chunks_left[place] = self._lifetime
            if not self._is_terminated:
                self._queue.extendleft(reversed(not_run))
                self._changed.notify(len(not_run))
                return
        for chunk in not_run:
            chunk.finish(_terminated())

    def _let_go(self, place: int) -> None:
        """Have an actor end in order, with its exit handlers; for who has the lock."""
        self._chunks_left[place] = self._lifetime
        actor, self._actors[place] = self._actors[place], None
        if actor is not None and not self._is_terminated and miniray.is_initialized():
            with contextlib.suppress(ValueError):  # of an earlier session
                self._leaving.append(actor.__ray_terminate__.remote())


def _terminated() -> ActorDiedError:
    return ActorDiedError("The pool was terminated.")
