# util/queue.py - a queue that tasks and actors share.
#
# Invariants  Q1 the items are in one async actor, whose calls run in one event loop: what does not wait sees the queue
#                whole, so a batch is put or taken as a whole or not at all.
#             Q2 who waits is a call of the actor that waits there: it costs nothing until an item comes, or room. A
#                task that waits gives its CPUs back.
#             Q3 who is interrupted while he waits (Ctrl-C) takes his call back, so that it takes no item along.
"""``Queue``: first in, first out, for all processes of the session."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import miniray

if TYPE_CHECKING:
    from miniray.actor import ActorHandle

__all__ = ["Empty", "Full", "Queue"]

_MOST_WAITING = 1_000_000  # calls at once: those that wait for an item must not keep those out that bring one


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
        options = {"max_concurrency": _MOST_WAITING, **(actor_options or {})}
        self.actor: Any = miniray.remote(_QueueActor).options(**options).remote(maxsize)

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
        try:
            _result(self._put(item, block, timeout))
        except Full:
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            Empty: There is no item, or was none in time.
            ValueError: The timeout is negative.
        """
        try:
            return _result(self._get(block, timeout))
        except Empty:
            raise Empty from None

    def _put(self, item: Any, block: bool, timeout: float | None) -> miniray.ObjectRef[Any]:
        _check_timeout(block, timeout)
        actor = self._living()
        put: miniray.ObjectRef[Any] = actor.put.remote(item, timeout) if block else actor.put_nowait.remote(item)
        return put

    def _get(self, block: bool, timeout: float | None) -> miniray.ObjectRef[Any]:
        _check_timeout(block, timeout)
        actor = self._living()
        got: miniray.ObjectRef[Any] = actor.get.remote(timeout) if block else actor.get_nowait.remote()
        return got

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item as ``put`` does; other coroutines run meanwhile.

        Args:
            item: The item; an ObjectRef is put as its value.
            block: Whether to wait for room.
            timeout: Seconds to wait at most; None waits for ever.
        """
        try:
            await _awaited(self._put(item, block, timeout))
        except Full:
            raise Full from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item as ``get`` does; other coroutines run meanwhile.

        Args:
            block: Whether to wait for one.
            timeout: Seconds to wait at most; None waits for ever.
        """
        try:
            return await _awaited(self._get(block, timeout))
        except Empty:
            raise Empty from None

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


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


def _result(ref: miniray.ObjectRef[Any]) -> Any:
    """Return the value of a call; takes the call back when the wait is interrupted (Q3)."""
    try:
        return miniray.get(ref)
    except BaseException as error:
        if not isinstance(error, Exception):
            miniray.cancel(ref)
        raise


async def _awaited(ref: miniray.ObjectRef[Any]) -> Any:
    """Do the same for a coroutine."""
    try:
        return await ref
    except asyncio.CancelledError:
        miniray.cancel(ref)
        raise


class _QueueActor:
    """Has the items."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        return self._items.qsize()

    def empty(self) -> bool:
        return self._items.empty()

    def full(self) -> bool:
        return self._items.full()

    async def put(self, item: Any, timeout: float | None) -> None:
        try:
            await asyncio.wait_for(self._items.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full from None

    async def get(self, timeout: float | None) -> Any:
        try:
            return await asyncio.wait_for(self._items.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty from None

    def put_nowait(self, item: Any) -> None:
        if self.full():
            raise Full
        self._items.put_nowait(item)

    def put_nowait_batch(self, items: list[Any]) -> None:
        if 0 < self._maxsize < self.qsize() + len(items):
            raise Full(f"Cannot add {len(items)} items to queue of size {self.qsize()} and maxsize {self._maxsize}.")
        for item in items:
            self._items.put_nowait(item)

    def get_nowait(self) -> Any:
        if self.empty():
            raise Empty
        return self._items.get_nowait()

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        if num_items > self.qsize():
            raise Empty(f"Cannot get {num_items} items from queue of size {self.qsize()}.")
        return [self._items.get_nowait() for _ in range(num_items)]
