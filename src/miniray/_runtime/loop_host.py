# _runtime/loop_host.py - an actor whose calls run as coroutines: one event loop, and one more for each group.
#
# Invariants  L1 the default loop runs in the main thread; its selector is the mailbox: it begins calls between two
#                steps of the loop, and when the loop sleeps a thread, the bell, wakes it through a descriptor.
#             L2 it spins for the next call only after one came or ended: a loop that is busy with timers and sockets
#                loses no time, and one that is idle sleeps in the kernel.
#             L3 a coroutine of a call runs in the loop of its group from its beginning to its end.
"""Async actors."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import selectors
import threading
from typing import TYPE_CHECKING

from miniray import _miniray_core as core
from miniray._runtime.concurrency import DEFAULT_GROUP, Concurrency, Host
from miniray.exceptions import TaskCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable


class _Mailbox(selectors.DefaultSelector):
    """Waits for files, as the loop wants, and for calls."""

    host: LoopHost

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        host = self.host
        if not host.serving:
            return super().select(timeout)
        if host.take() or (timeout is not None and timeout <= 0):
            return super().select(0)
        if core._begin_sleep(host.room() > 0):
            host.take()
            return super().select(0)
        try:
            return super().select(timeout)
        finally:
            core._end_sleep()


class _Group(core.CallGroup):
    """A loop, and how many calls it runs; others wait."""

    def __init__(self, host: LoopHost, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        super().__init__(loop, limit)
        self._host = host
        self._waiting: collections.deque[core.BegunCall] = collections.deque()

    def count(self) -> int:
        """Return how many calls are here, running or not."""
        return len(self) + len(self._waiting)

    def delay(self, call: core.BegunCall) -> None:
        """Let a call wait: as many as may run do."""
        self._waiting.append(call)
        self.delays = True

    def resume(self) -> None:
        """Run calls that waited, now that others are over."""
        self.delays = False  # a call that an eager task factory runs to its end does not come here
        while self._waiting and len(self) < self.limit:
            self.put(self._waiting.popleft())
        self.delays = bool(self._waiting)

    def over(self) -> None:
        """Have the host look: a call is over, and it waits for all of them."""
        self._host.wake()

    def cancel(self) -> None:
        """Cancel the coroutines of calls that are cancelled; in the thread of the loop."""
        for call, task in [*self.tasks.items()]:
            if task is not None and call.hears_of_cancel():
                task.cancel()

    def end(self, call: core.BegunCall, value: object, error: BaseException | None) -> None:
        """Act on what a call of this loop raised; see :class:`Host`."""
        self._host.end(call, value, TaskCancelledError() if isinstance(error, asyncio.CancelledError) else error)

    def fail(self, error: BaseException) -> None:
        """End the process; see :class:`Host`."""
        self._host.fail(error)


def _warn_of_blocking() -> None:
    """Say once that an event loop waits in ``get``; other threads of an async actor may."""
    if asyncio._get_running_loop() is None:
        return
    core._set_blocking_hook(None)
    logging.getLogger("miniray").warning(
        "Using blocking ray.get inside async actor. This blocks the event loop. Please use `await` on object ref with "
        "asyncio.gather if you want to yield execution to the event loop instead."
    )


class LoopHost(Host):
    """Runs calls as coroutines, those of the default group in the main thread."""

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see :class:`Host`."""
        super().__init__(concurrency)
        self.serving = False
        mailbox = _Mailbox()
        mailbox.host = self
        self.loop = asyncio.SelectorEventLoop(mailbox)
        asyncio.set_event_loop(self.loop)
        self._default = _Group(self, self.loop, concurrency.limit)
        self._groups = {DEFAULT_GROUP: self._default}
        for name, limit in concurrency.groups.items():
            loop = asyncio.new_event_loop()
            self._groups[name] = _Group(self, loop, limit)
            threading.Thread(target=self._run_group, args=(loop,), name=f"AsyncIO Thread: {name}", daemon=True).start()

    @staticmethod
    def _run_group(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives, in the running loop."""

        async def run() -> tuple[object, BaseException | None]:
            try:
                return make(), None
            except BaseException as raised:  # here, so that the frames of the loop are not in its traceback
                return None, raised

        value, error = self.loop.run_until_complete(run())
        if error is not None:
            raise error
        return value

    def count(self) -> int:
        """Return how many calls the default group has."""
        return self._default.count()

    def take(self) -> bool:
        """Begin the calls that are there; return whether there were any."""
        if core._have_calls_been_cancelled():
            for group in self._groups.values():
                group.loop.call_soon_threadsafe(group.cancel)
        room = self.room()
        calls = core._begin_calls(room) if room > 0 else []
        if calls is None:
            self.serving = False
            self.loop.stop()
            return True
        if len(self._groups) == 1:
            self._default.put_all(calls)
            return bool(calls)
        for call in calls:
            group = self._groups[call.group]
            if group.loop is self.loop:
                group.put(call)
            else:
                group.loop.call_soon_threadsafe(group.put, call)
        return bool(calls)

    def wake(self) -> None:
        """Have the main thread look."""
        self.loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if self.ends and (self.fatal is not None or not any(group.count() for group in self._groups.values())):
            self.loop.stop()

    def serve(self) -> None:
        """Run the loop until the actor has ended."""
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.loop.add_reader(bell, os.eventfd_read, bell)
        threading.Thread(target=core._ring_when_called, args=(bell,), name="miniray-bell", daemon=True).start()
        if os.environ.get("RAY_WARN_BLOCKING_GET_INSIDE_ASYNC", "1").lower() in ("1", "true"):
            core._set_blocking_hook(_warn_of_blocking)
        self.serving = True
        self.loop.run_forever()
        self.serving = False
        self.finish()
