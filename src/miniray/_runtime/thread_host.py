# _runtime/thread_host.py - an actor whose calls run in threads: max_concurrency, and groups of threads.
#
# Invariants  T1 a thread of a group takes call after call until the process ends: a group of one has one thread.
#                Without groups it takes them from the mailbox itself (python/call_threads.hpp), and the main thread
#                begins only what no thread is there to take.
#             T2 a thread is started when a call comes that no free thread will take, up to the limit of its group.
"""Actors with threads."""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING

from miniray import _miniray_core as core
from miniray._runtime.concurrency import DEFAULT_GROUP, Concurrency, Host

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
        self._free = 0  # threads that wait, less the calls that are there for them

    def put(self, call: core.BegunCall) -> None:
        with self._lock:
            self._free -= 1
            starts = self._free < 0 and self._threads < self._limit
            if starts:
                self._threads += 1
                self._free += 1
            number = self._threads
        call.owner = self._host
        self._calls.put(call)
        if starts:
            threading.Thread(target=self._work, name=f"{self._name or 'default'}-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._host.run(self._calls.get())
            with self._lock:
                self._free += 1


class ThreadHost(Host):
    """Runs calls in threads; the main thread gives them out where no thread takes them."""

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see :class:`Host`."""
        super().__init__(concurrency)
        limits = {**concurrency.groups, DEFAULT_GROUP: concurrency.limit}
        self._groups = {name: _Group(self, name, limit) for name, limit in limits.items()}

    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives; in the main thread."""
        return make()

    def run(self, call: core.BegunCall) -> None:
        """Run a call in this thread, and what the thread takes after it."""
        try:
            core._run_calls(call)
        except BaseException as error:
            self.fail(error)

    def wake(self) -> None:
        """Have the main thread look."""
        core._nudge()

    def count(self) -> int:
        """Return how many threads are busy: those that look for calls take theirs themselves."""
        return core._busy_threads()

    def serve(self) -> None:
        """Give calls to the threads until the actor has ended."""
        has_groups = bool(self.concurrency.groups)
        core._run_in_threads(sys.maxsize if has_groups else self.concurrency.limit, not has_groups)
        while not self.ends or (core._busy_threads() > 0 and self.fatal is None):
            core._have_calls_been_cancelled()  # those that have not begun look for themselves, others are let finish
            room = self.room()
            calls = core._begin_calls(room) if room > 0 else []
            if calls is None:
                return
            for call in calls:
                self._groups[call.group].put(call)
            if not calls:
                core._stand_by()
        self.finish()
