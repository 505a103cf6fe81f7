# _runtime/awaiting.py - refs that event loops and futures wait for: one thread of the process is told of them all.
#
# Invariants  W1 the thread starts with the first ref that is awaited and not ready, and ends with the session; it
#                sleeps in the kernel while nothing is sealed.
#             W2 a ref in _waiting keeps its object until it is ready, also when whoever awaited it has gone.
#             W3 values are read by who awaits: an event loop in its own thread, a concurrent future in this one.
"""``await ref``, ``ref.future()`` and ``ref.as_future()``."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator
    from concurrent.futures import Future

_lock = threading.RLock()  # a signal handler may ask for a future while its thread is here
_waiting: dict[core.ObjectRef[Any], tuple[int, list[_Waiter]]] = {}  # session, who waits
_collecting: set[int] = set()  # sessions that have a thread


class _Waiter:
    """Somebody who waits for one ref."""

    def settle(self, batches: _Batches, error: Exception | None) -> None:
        """Tell that the ref is ready, or (``error``) never will be.

        Args:
            batches: What is to be told to event loops, all at once.
            error: Why it will not be ready.
        """
        raise NotImplementedError


class _LoopWaiter(_Waiter):
    def __init__(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        self._loop = loop
        self._waiter = waiter

    def settle(self, batches: _Batches, error: Exception | None) -> None:
        batches.setdefault(self._loop, []).append((self._waiter, error))


class _FutureWaiter(_Waiter):
    def __init__(self, ref: core.ObjectRef[Any], future: Future[Any]) -> None:
        self._ref = ref
        self._future = future

    def settle(self, batches: _Batches, error: Exception | None) -> None:
        del batches
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            value = core.get(self._ref) if error is None else None
        except BaseException as raised:
            # Without its traceback, which would keep this frame, and the frame the future.
            self._future.set_exception(raised.with_traceback(None))
        else:
            if error is None:
                self._future.set_result(value)
            else:
                self._future.set_exception(error)


if TYPE_CHECKING:
    _Batches = dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], Exception | None]]]


def _add(ref: core.ObjectRef[Any], waiter: _Waiter) -> bool:
    """Have somebody told when a ref is ready; False when it is ready now."""
    with _lock:
        known = _waiting.get(ref)
        if known is not None:
            known[1].append(waiter)
            return True
        session = core._await_object(ref)
        if session == 0:
            return False
        _waiting[ref] = (session, [waiter])
        _start_collecting(session)
        return True


def _start_collecting(session: int) -> None:
    if session not in _collecting:
        _collecting.add(session)
        threading.Thread(target=_collect, args=(session,), name="miniray-awaited", daemon=True).start()


def _collect(session: int) -> None:
    while (refs := core._collect_awaited()) is not None:
        with _lock:
            found = [_waiting.pop(ref, (0, []))[1] for ref in refs]
        del refs
        _settle([waiter for waiters in found for waiter in waiters], None)
        del found
    with _lock:
        _collecting.discard(session)
        left = [ref for ref, (waited_in, _) in _waiting.items() if waited_in == session]
        lost = [waiter for ref in left for waiter in _waiting.pop(ref)[1]]
    del left
    _settle(lost, ValueError("the session ended before the ref was ready: miniray.shutdown() was called"))


def _settle(waiters: list[_Waiter], error: Exception | None) -> None:
    batches: _Batches = {}
    for waiter in waiters:
        waiter.settle(batches, error)
    for loop, told in batches.items():
        try:
            loop.call_soon_threadsafe(_wake, told)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _wake(told: list[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for waiter, error in told:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)


def ready(ref: core.ObjectRef[Any]) -> asyncio.Future[None]:
    """Return what can be awaited until a ref is ready; its value is not read."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    if not _add(ref, _LoopWaiter(loop, waiter)):
        waiter.set_result(None)
    return waiter


async def room(call: int) -> None:
    """Wait until the stream of a call that this process runs has room for another item, or nobody reads it.

    Args:
        call: Number of its row.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    while True:
        waiter: asyncio.Future[None] = loop.create_future()
        with _lock:
            waited = core._await_room(call)
            if waited is None:
                return
            session, ref = waited  # a bare one: who makes a stream does not keep it
            _waiting.setdefault(ref, (session, []))[1].append(_LoopWaiter(loop, waiter))
            _start_collecting(session)
        await waiter


def awaiting(ref: core.ObjectRef[Any]) -> Generator[Any, None, Any]:
    """Answer ``await ref``: give the value once it is ready; raise the error of its task.

    Args:
        ref: Of this session. Cancelling whoever awaits it does not cancel the task.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    if _add(ref, _LoopWaiter(loop, waiter)):
        yield from waiter
    return core.get(ref)


def future(ref: core.ObjectRef[Any]) -> Future[Any]:
    """Answer ``ref.future()``."""
    from concurrent.futures import Future

    made: Future[Any] = Future()
    waiter = _FutureWaiter(ref, made)
    if not _add(ref, waiter):
        waiter.settle({}, None)
    return made


def as_future(ref: core.ObjectRef[Any]) -> asyncio.Future[Any]:
    """Answer ``ref.as_future()``; in a coroutine, or where ``asyncio.set_event_loop`` has set a loop.

    Raises:
        RuntimeError: This thread has no event loop, neither running nor set.
    """
    import asyncio

    return asyncio.wrap_future(future(ref), loop=asyncio.get_event_loop())


def _forget() -> None:
    """Drop everything in a forked child: it has no thread and no session."""
    global _lock
    _lock = threading.RLock()
    _waiting.clear()
    _collecting.clear()


os.register_at_fork(after_in_child=_forget)
