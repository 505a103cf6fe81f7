# util/multiprocessing/crew.py - the actors of a pool, what they have been given, and who takes in what they answer.
#
# Invariants  W1 each chunk that was queued is finished exactly once, with an outcome or with an error, also when its
#                actor dies or the pool is terminated. It runs at most once.
#             W2 whoever waits for a result does the crew's work meanwhile, in his own thread: gives chunks to actors,
#                takes in outcomes, of others too (work_until). The crew's own thread does it when nobody has for
#                _GRACE_SECONDS. So a result passes through no other thread on its way to who waits for it.
#             W3 an actor that died is replaced before the next chunk; after `lifetime` chunks it is let go in order.
#             W4 an actor has one chunk at a time; of short ones as many as take some milliseconds, but no more than its
#                share of half of what is queued. When it dies the first without a result has failed, and the others,
#                which did not run, go back to the head of the queue.
#             W5 a chunk is in the queue, or on its way (_moving counts these, until they are given or finished), or
#                given to an actor. Who waits looks for his chunk under the lock, so that it is not finished between
#                his look and his sleep.
#             W6 the thread knows the crew and never the pool, so that a pool nobody has any more ends (pool.py).
# Locks       _changed guards all that changes; nobody runs code of the user's (callbacks, picklers) while he has it.
"""Actors that run chunks of work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import miniray
from miniray import _miniray_core as core
from miniray.exceptions import ActorDiedError, RayActorError
from miniray.util.multiprocessing.pool_actor import Packer, PoolActor, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from miniray.actor import ActorHandle

__all__ = ["Chunk", "Crew"]

_MOST_AT_A_TIME = 64
_SECONDS_AT_A_TIME = 0.005
_GRACE_SECONDS = 0.002
_FIRST_TICK, _LONGEST_TICK = 0.0005, 0.02
_FOR_EVER = 1 << 62


@dataclass(frozen=True)
class Chunk:
    """Work for one call of an actor.

    Attributes:
        method: Of ``PoolActor``.
        function: What it is to call.
        arguments: Its own arguments.
        finish: Gets what it returned, or None and an error; raises nothing.
    """

    method: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    finish: Callable[[Any, Exception | None], None]


@dataclass
class _Place:
    """An actor and what it has been given, the oldest first."""

    chunks_left: int
    actor: ActorHandle | None = None
    given: deque[tuple[Chunk, miniray.ObjectRef[Any]]] = field(default_factory=deque)
    is_fed: bool = False  # a thread is about to give it a chunk
    limit: int = 1
    since: float = 0.0  # when it got the oldest, or gave its last answer


class Crew:
    """Actors and their thread. Blocks until all actors are there.

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
        self._actor_class = miniray.remote(num_cpus=0)(PoolActor).options(**options)
        self._init = initializer, initargs
        self._lifetime = lifetime or _FOR_EVER
        self._packer = Packer()
        self._changed = threading.Condition(threading.Lock())
        self._sleepers = 0  # that want to hear of changes
        self._queue: deque[Chunk] = deque()
        self._moving = 0
        self._own = threading.local()  # .moving: what this thread has on its way, where it calls itself
        self._working = 0  # threads in work_until
        self._worked_at = 0.0
        self._rests = False  # the thread waits to be told of work
        self._leaving: list[miniray.ObjectRef[Any]] = []
        self._is_closed = False
        self._is_terminated = False
        self._places = [_Place(self._lifetime, self._actor_class.remote(*self._init)) for _ in range(size)]
        miniray.get([place.actor.__ray_ready__.remote() for place in self._places if place.actor is not None])
        self._thread = threading.Thread(target=self._serve, daemon=True, name="miniray pool")
        self._thread.start()

    def submit(self, chunks: Iterable[Chunk], *, will_wait: bool = False) -> None:
        """Queue work.

        Args:
            chunks: The work.
            will_wait: Whether the caller waits for all of it at once, and so will do it.
        """
        with self._changed:
            self._queue.extend(chunks)
        self._feed()
        if not will_wait:
            with self._changed:
                self._wake_thread()

    def work_until(self, is_done: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait, and do the crew's work meanwhile.

        Args:
            is_done: Whether what the caller waits for has come; changes when a chunk is finished.
            timeout: Seconds at most; None: for ever.
        """
        if is_done():
            return
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._working += 1
        try:
            tick = _FIRST_TICK
            while not is_done():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return
                tick = self._step(is_done, left, tick)
        finally:
            with self._changed:
                self._working -= 1
                self._worked_at = time.monotonic()
                if self._has_work():
                    self._wake_thread()

    def close(self) -> None:
        """End thread and actors when the work that is queued has been done."""
        with self._changed:
            self._is_closed = True
            self._wake_thread()

    def terminate(self) -> None:
        """Kill the actors; work that is not done fails."""
        with self._changed:
            self._is_closed = self._is_terminated = True
            actors = [place.actor for place in self._places if place.actor is not None]
            dropped = list(self._queue)
            self._queue.clear()
            self._wake_thread()
        for actor in actors if miniray.is_initialized() else ():
            with contextlib.suppress(ValueError):  # of an earlier session
                miniray.kill(actor)
        for chunk in dropped:
            chunk.finish(None, _terminated())

    def join(self) -> None:
        """Wait until thread and actors have ended."""
        self._thread.join()
        with self._changed:
            leaving, self._leaving = self._leaving, []
        if leaving and miniray.is_initialized():
            miniray.wait(leaving, num_returns=len(leaving))

    # --- for who has the lock -----------------------------------------------------------------------------------------

    def _ends(self) -> bool:
        return self._is_terminated

    def _has_work(self) -> bool:
        return bool(self._queue) or self._moving > 0 or any(place.given for place in self._places)

    def _wake_thread(self) -> None:
        if self._rests:
            self._rests = False
            self._changed.notify_all()

    def _tell(self) -> None:
        if self._sleepers:
            self._changed.notify_all()

    def _sleep(self, seconds: float | None) -> None:
        self._sleepers += 1
        try:
            self._changed.wait(seconds)
        finally:
            self._sleepers -= 1

    def _next_place(self) -> _Place | None:
        """Return the actor that is to get the next chunk, None when none may."""
        if not self._queue:
            return None
        share = 1 + len(self._queue) // (2 * len(self._places))
        found: _Place | None = None
        for place in self._places:
            has_room = not place.is_fed and len(place.given) < min(place.limit, share) and place.chunks_left > 0
            if has_room and (found is None or len(place.given) < len(found.given)):
                found = place
        return found

    def _let_go(self, place: _Place) -> None:
        """Have an actor end in order, with its exit handlers."""
        place.chunks_left = self._lifetime
        actor, place.actor = place.actor, None
        if actor is not None and not self._is_terminated and miniray.is_initialized():
            with contextlib.suppress(ValueError):  # of an earlier session
                self._leaving.append(actor.__ray_terminate__.remote())

    # --- work ---------------------------------------------------------------------------------------------------------

    def _step(self, is_done: Callable[[], bool], left: float | None, tick: float) -> float:
        """Give out what is queued, wait for an answer, take in what is there; return how long to look next time."""
        self._feed()
        with self._changed:
            if is_done():
                return tick
            heads = [place.given[0][1] for place in self._places if place.given]
            if self._moving > getattr(self._own, "moving", 0) or not heads:  # W5
                self._sleep(left)
                return _FIRST_TICK
            is_partial = len(heads) < len(self._places)  # others may get work, which this wait would not see
        seconds = left if not is_partial else tick if left is None else min(left, tick)
        try:
            core._wait(heads, 1, seconds)
            has_taken = self._take_in()
        except Exception as error:  # the session has ended
            self._fail_all(error)
            return tick
        return _FIRST_TICK if has_taken else min(2 * tick, _LONGEST_TICK)

    @contextlib.contextmanager
    def _on_the_way(self) -> Any:
        """Count what this thread has in its hands; the lock was taken when it began to have it."""
        self._own.moving = getattr(self._own, "moving", 0) + 1
        try:
            yield
        finally:
            self._own.moving -= 1
            with self._changed:
                self._moving -= 1
                self._tell()

    def _feed(self) -> None:
        """Give chunks to actors."""
        while True:
            with self._changed:
                place = self._next_place()
                if place is None:
                    return
                chunk = self._queue.popleft()
                place.is_fed = True
                place.chunks_left -= 1
                self._moving += 1
            with self._on_the_way():
                try:
                    self._give(place, chunk)
                except Exception as error:  # it does not pickle, or there is no actor
                    place.chunks_left += 1
                    chunk.finish(None, error.with_traceback(None))
                except BaseException:  # Ctrl-C
                    chunk.finish(None, ActorDiedError("The call was interrupted on its way to the pool."))
                    raise
                finally:
                    place.is_fed = False

    def _give(self, place: _Place, chunk: Chunk) -> None:
        if self._ends():
            raise _terminated()
        actor = place.actor
        if actor is None:
            actor = place.actor = self._actor_class.remote(*self._init)
        function = self._packer.pack(chunk.function)
        ref = getattr(actor, chunk.method).remote(*function, *chunk.arguments)
        with self._changed:
            if not place.given:
                place.since = time.monotonic()
            place.given.append((chunk, ref))
        if self._ends():  # too late for terminate() to see this one
            miniray.kill(actor)

    def _take_in(self) -> bool:
        """Finish the chunks whose answers are there; return whether there were any."""
        with self._changed:
            given = [(place, *entry) for place in self._places for entry in place.given]
            ready = core._wait([ref for _, _, ref in given], len(given), 0) if given else []
            if not ready:
                return False
            self._moving += 1
            answered: list[tuple[_Place, Chunk, miniray.ObjectRef[Any]]] = []
            for index in ready:
                place, chunk, ref = given[index]
                if place.given[0][1] is ref:  # or it died: the first tells
                    place.given.popleft()
                    answered.append((place, chunk, ref))
            self._adapt(answered)
        with self._on_the_way():
            dead: list[_Place] = []
            again: list[Chunk] = []
            interrupted: BaseException | None = None
            for position, (place, chunk, ref) in enumerate(answered):
                if any(place is each for each in dead):
                    continue
                outcome, error, stop = outcome_of(ref)
                interrupted = interrupted or stop
                if isinstance(error, RayActorError):
                    dead.append(place)
                    again += [each for where, each, _ in answered[position + 1 :] if where is place]
                    again += self._replace(place)
                chunk.finish(outcome, error)
            self._put_back(again)
        if interrupted is not None:
            raise interrupted
        return True

    def _adapt(self, answered: list[tuple[_Place, Chunk, miniray.ObjectRef[Any]]]) -> None:
        """Let actors that are quick have more at a time; for who has the lock."""
        now = time.monotonic()
        for place in self._places:
            count = sum(each is place for each, _, _ in answered)
            if count:
                seconds_each = (now - place.since) / count
                place.limit = min(2 * place.limit, _MOST_AT_A_TIME, int(_SECONDS_AT_A_TIME / seconds_each) + 1)
                place.since = now
                if not place.given and place.chunks_left <= 0:
                    self._let_go(place)

    def _replace(self, place: _Place) -> list[Chunk]:
        """Forget an actor that died; return what it had not begun."""
        with self._changed:
            left = [chunk for chunk, _ in place.given]
            place.given.clear()
            place.actor = None
            place.chunks_left = self._lifetime
            place.limit = 1
        return left

    def _put_back(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        with self._changed:
            if not self._is_terminated:
                self._queue.extendleft(reversed(chunks))
                return
        for chunk in chunks:
            chunk.finish(None, _terminated())

    def _fail_all(self, error: Exception) -> None:
        with self._changed:
            chunks = [chunk for place in self._places for chunk, _ in place.given] + list(self._queue)
            self._queue.clear()
            for place in self._places:
                place.given.clear()
                place.actor = None
            self._moving += 1
        with self._on_the_way():
            for chunk in chunks:
                chunk.finish(None, error.with_traceback(None))

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        tick = _FIRST_TICK
        while self._wait_for_turn():
            tick = self._step(lambda: False, None, tick)

    def _wait_for_turn(self) -> bool:
        """Wait until there is work that nobody does; False: there will be no more, and the actors go."""
        with self._changed:
            while True:
                has_work = self._has_work()
                if not has_work and self._is_closed:
                    for place in self._places:
                        self._let_go(place)
                    return False
                since = time.monotonic() - self._worked_at
                if has_work and self._working == 0 and since >= _GRACE_SECONDS:
                    return True
                self._rests = not has_work or self._working > 0
                self._changed.wait(None if self._rests else _GRACE_SECONDS - since)
                self._rests = False


def _terminated() -> ActorDiedError:
    return ActorDiedError("The pool was terminated.")
