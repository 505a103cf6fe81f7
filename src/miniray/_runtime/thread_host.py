# _runtime/thread_host.py - an actor whose calls run in threads: max_concurrency, and groups of threads.
#
# Invariants  T1 a thread of a group takes call after call until the process ends: a group of one has one thread.
#             T2 a thread is started when a call comes that no idle thread will take, up to the limit of its group.
"""Actors with threads."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from miniray import _miniray_core as core
from miniray._runtime.concurrency import DEFAULT_GROUP, MOST_BEGUN, Concurrency, Host

if TYPE_CHECKING:
    from collections.abc import Callable


class _Group:
    def __init__(self, host: ThreadHost, name: str, limit: int) -> None:
        self._host = host
        self._name = name
        self._limit = limit
        self._calls: queue.SimpleQueue[core.BegunCall] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0  # threads that wait, less the calls that are there for them

    def put(self, call: core.BegunCall) -> None:
        with self._lock:
            self._idle -= 1
            starts = self._idle < 0 and self._threads < self._limit
            if starts:
                self._threads += 1
                self._idle += 1
            number = self._threads
        call.owner = self
        self._calls.put(call)
        if starts:
            threading.Thread(target=self._work, name=f"{self._name or 'default'}-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            call.run()
            del call  # not kept until the next comes
            with self._lock:
                self._idle += 1

    def end(self, call: core.BegunCall, value: object, error: BaseException | None) -> None:
        """Answer a call that has run in a thread of this group."""
        self._host.answer(call, value, error)
        self._host.forget_one()

    def drop(self, call: core.BegunCall) -> None:
        """Leave a call unanswered that has not run: it fails with the actor."""
        self._host.forget_one()


class ThreadHost(Host):
    """Runs calls in threads; the main thread gives them out."""

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see :class:`Host`."""
        super().__init__(concurrency)
        self._lock = threading.Lock()
        self._running = 0
        limits = {**concurrency.groups, DEFAULT_GROUP: concurrency.limit}
        self._groups = {name: _Group(self, name, limit) for name, limit in limits.items()}

    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives; in the main thread."""
        return make()

    def wake(self) -> None:
        """Have the main thread look."""
        core._nudge()

    def forget_one(self) -> None:
        """Count a call less."""
        with self._lock:
            was_full = not self.concurrency.groups and self._running == self.concurrency.limit
            self._running -= 1
        if was_full or self.ends:
            self.wake()

    def _room(self) -> int:
        if self.ends:
            return 0
        return MOST_BEGUN if self.concurrency.groups else self.concurrency.limit - self._running

    def serve(self) -> None:
        """Give calls to the threads until the actor has ended."""
        while not self.ends or (self._running > 0 and self.fatal is None):
            core._have_calls_been_cancelled()  # those that have not begun look for themselves, others are let finish
            room = self._room()
            calls = core._begin_calls(room) if room > 0 else []
            if calls is None:
                return
            with self._lock:
                self._running += len(calls)
            for call in calls:
                self._groups[call.group].put(call)
            if not calls:
                core._wait_for_calls(room > 0)
        self.finish()
