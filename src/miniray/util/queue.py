# util/queue.py - a queue that tasks and actors share.
#
# Invariants  Q1 the items are in one actor, which runs one call at a time: each call sees the queue whole, so a batch
#                is put or taken as a whole or not at all.
#             Q2 who waits asks again after pauses that grow to _LONGEST_PAUSE: a call of the actor must not block, it
#                would block all others. Its pauses are waits for the actor's end, so that a task that waits gives its
#                CPUs back. With async actors waiting becomes a call of its own.
#             Q3 an item is sent only when there was room a moment ago, not once for each time that somebody asks.
"""``Queue``: first in, first out, for all processes of the session."""

from __future__ import annotations

import asyncio
import queue
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import miniray

if TYPE_CHECKING:
    from collections.abc import Callable

    from miniray.actor import ActorHandle

__all__ = ["Empty", "Full", "Queue"]

_FIRST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.005


class Empty(queue.Empty):
    """There are not so many items."""


class Full(queue.Full):
    """There is no room for so many items."""


class Queue:
    """A queue whose items any process of the session may put and take. It may be passed to tasks and actors.

    Args:
        maxsize: Items at most; 0: any number.
        actor_options: Options of the actor that has the items.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        """Start the actor; see the class."""
        self.maxsize = maxsize
        self.actor: Any = miniray.remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """Return how many items there are."""
        return int(miniray.get(self._living().qsize.remote()))

    def qsize(self) -> int:
        """Return how many items there are."""
        return self.size()

    def empty(self) -> bool:
        """Return whether there is no item."""
        return bool(miniray.get(self._living().empty.remote()))

    def full(self) -> bool:
        """Return whether there is no room."""
        return bool(miniray.get(self._living().full.remote()))

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Args:
            item: The item; an ObjectRef is put as its value.
            block: Whether to wait for room.
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            Full: There is no room, or was none in time.
            ValueError: The timeout is negative.
        """
        actor = self._living()
        _repeat(
            actor,
            lambda: miniray.get(actor.put_nowait.remote(item)),
            lambda: not miniray.get(actor.full.remote()),
            Full,
            _deadline(block, timeout),
        )

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            Empty: There is no item, or was none in time.
            ValueError: The timeout is negative.
        """
        actor = self._living()
        return _repeat(
            actor,
            lambda: miniray.get(actor.get_nowait.remote()),
            lambda: not miniray.get(actor.empty.remote()),
            Empty,
            _deadline(block, timeout),
        )

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item as ``put`` does; other coroutines run meanwhile.

        Args:
            item: The item; an ObjectRef is put as its value.
            block: Whether to wait for room.
            timeout: Seconds to wait at most; None waits for ever.
        """
        await asyncio.to_thread(self.put, item, block, timeout)

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item as ``get`` does; other coroutines run meanwhile.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; None waits for ever.
        """
        return await asyncio.to_thread(self.get, block, timeout)

    def put_nowait(self, item: Any) -> None:
        """Add an item, or raise Full.

        Args:
            item: The item.
        """
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items in their order, or raise Full and add none.

        Args:
            items: The items.

        Raises:
            TypeError: Not iterable.
        """
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        miniray.get(self._living().put_nowait_batch.remote(list(items)))

    def get_nowait(self) -> Any:
        """Take the oldest item, or raise Empty."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take so many of the oldest items, or raise Empty and take none.

        Args:
            num_items: How many.

        Raises:
            TypeError: Not an integer.
            ValueError: Negative.
        """
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        taken: list[Any] = miniray.get(self._living().get_nowait_batch.remote(num_items))
        return taken

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the actor; the queue cannot be used any more.

        Args:
            force: Kill it at once; else it ends when it has done what it was asked to do.
            grace_period_s: How long that may take before it is killed.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            done, _ = miniray.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)
            if done:
                return
        miniray.kill(actor)

    def _living(self) -> ActorHandle:
        if self.actor is None:
            raise AttributeError("this Queue was shut down: it has no actor any more")
        actor: ActorHandle = self.actor
        return actor


def _deadline(block: bool, timeout: float | None) -> float | None:
    """Return until when to wait, on the monotonic clock; None for ever."""
    if not block:
        return 0.0
    if timeout is None:
        return None
    if timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return time.monotonic() + timeout


def _repeat(
    actor: ActorHandle,
    act: Callable[[], Any],
    may_succeed: Callable[[], bool],
    refused: type[Exception],
    end: float | None,
) -> Any:
    """Act until that is not refused any more, or time is up; wait in between while it would be."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return act()
        except refused:
            if end is not None and time.monotonic() >= end:
                raise refused from None
        while True:
            left = pause if end is None else min(pause, end - time.monotonic())
            if left <= 0:
                break  # the last try
            miniray.wait([actor._actor_id], timeout=left)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if may_succeed():
                break


class _QueueActor:
    """Has the items."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[Any] = deque()

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items

    def full(self) -> bool:
        return 0 < self._maxsize <= len(self._items)

    def put_nowait(self, item: Any) -> None:
        if self.full():
            raise Full
        self._items.append(item)

    def put_nowait_batch(self, items: list[Any]) -> None:
        if 0 < self._maxsize < len(self._items) + len(items):
            raise Full(
                f"Cannot add {len(items)} items to queue of size {len(self._items)} and maxsize {self._maxsize}."
            )
        self._items.extend(items)

    def get_nowait(self) -> Any:
        if not self._items:
            raise Empty
        return self._items.popleft()

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        if num_items > len(self._items):
            raise Empty(f"Cannot get {num_items} items from queue of size {len(self._items)}.")
        return [self._items.popleft() for _ in range(num_items)]
