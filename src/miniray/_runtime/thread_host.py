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
from miniray._runtime.concurrency import DEFAULT_GROUP, Call, Concurrency, Host, current_call
from miniray.exceptions import TaskCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable


class _Group:
    def __init__(self, host: Host, name: str, limit: int) -> None:
        self._host = host
        self._name = name
        self._limit = limit
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0  # threads that wait, less the calls that are there for them

    def put(self, call: Call) -> None:
        with self._lock:
            self._idle -= 1
            starts = self._idle < 0 and self._threads < self._limit
            if starts:
                self._threads += 1
                self._idle += 1
            number = self._threads
        self._calls.put(call)
        if starts:
            threading.Thread(target=self._work, name=f"{self._name or 'default'}-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._run(self._calls.get())
            with self._lock:
                self._idle += 1

    def _run(self, call: Call) -> None:
        if self._host.ends:
            self._host.drop()
            return
        if core._is_cancelled(call.number):
            self._host.end(call, None, TaskCancelledError())
            return
        current_call.set(call.number)
        core._enter_call(call.number)
        value = error = None
        try:
            value = call.runnable.function(*call.args, **call.kwargs)
        except BaseException as raised:
            error = raised
        call.forget_arguments()
        self._host.end(call, value, error)
        error = None  # its traceback keeps this frame


class ThreadHost(Host):
    """Runs calls in threads; the main thread gives them out."""

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see :class:`Host`."""
        super().__init__(concurrency)
        limits = {**concurrency.groups, DEFAULT_GROUP: concurrency.limit}
        self._groups = {name: _Group(self, name, limit) for name, limit in limits.items()}

    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives; in the main thread."""
        return make()

    def wake(self) -> None:
        """Have the main thread look."""
        core._nudge()

    def serve(self) -> None:
        """Give calls to the threads until the actor has ended."""
        while not self.ends or (self.running > 0 and self.fatal is None):
            core._have_calls_been_cancelled()  # those that have not begun look for themselves, others are let finish
            room = self.room()
            calls = core._begin_calls(room) if room > 0 else []
            if calls is None:
                return
            for number in calls:
                call = self.load(number)
                if call is not None:
                    self._groups[call.runnable.group].put(call)
            if not calls:
                core._wait_for_calls(room > 0)
        self.finish()
