# _runtime/concurrency.py - actors that run several calls at once: what loops and threads have in common.
#
# Invariants  C1 the main thread begins calls, and gives each to its group; a group runs at most its limit at once.
#             C2 a call that wants the actor to end (exit_actor, SystemExit) is never answered: it fails with the actor.
#                No call begins after it; those that run are let finish.
#             C3 whatever else than an Exception a method raises ends the process, as in an actor of one call at a time.
"""Several calls of one actor at once."""

from __future__ import annotations

import contextvars
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_GROUP = ""
_NO_GROUPS: Mapping[str, int] = {}
current_call: contextvars.ContextVar[int] = contextvars.ContextVar("current_call")
"""The call that this thread or coroutine runs, of an actor that runs several."""


class Concurrency(Record):
    """How many calls of an actor run at once, and where.

    Attributes:
        is_async: In event loops, not in threads.
        limit: Of the default group.
        groups: Limits of the others, by name.
    """

    is_async: bool
    limit: int
    groups: Mapping[str, int] = _NO_GROUPS

    @property
    def is_several(self) -> bool:
        """Whether calls may run at once, in any order."""
        return self.is_async or self.limit > 1 or bool(self.groups)


class Runnable(Record):
    """What a call runs.

    Attributes:
        function: A method, bound.
        group: Where.
        is_async: Whether it gives a coroutine.
        yields: Whether it gives an asynchronous generator whose values are a stream.
    """

    function: Callable[..., Any]
    group: str
    is_async: bool
    yields: bool = False


class Call:
    """A call that has begun.

    Args:
        number: Of its row.
        runnable: What runs.
        args: By position.
        kwargs: By name.
    """

    __slots__ = ("args", "kwargs", "number", "runnable")

    def __init__(self, number: int, runnable: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep them; see the class."""
        self.number = number
        self.runnable = runnable
        self.args = args
        self.kwargs = kwargs

    def forget_arguments(self) -> None:
        """Let go of the arguments: the call has run."""
        self.args, self.kwargs = (), {}


class Host(ABC):
    """Runs the calls of this process's actor.

    Args:
        concurrency: Of the actor.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see the class."""
        self.concurrency = concurrency
        self.lock = threading.Lock()
        self.running = 0
        self.ends = False
        self.fatal: BaseException | None = None
        self._exiting: set[int] = set()

    @abstractmethod
    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives, run where the methods will run."""

    @abstractmethod
    def serve(self) -> None:
        """Run calls until the actor has ended."""

    @abstractmethod
    def wake(self) -> None:
        """Have the main thread look at ``ends``, ``running`` and ``fatal``."""

    def room(self) -> int:
        """Return how many more calls may begin; those of groups wait in their groups."""
        if self.ends:
            return 0
        return 1024 if self.concurrency.groups else self.concurrency.limit - self.running

    def load(self, number: int) -> Call | None:
        """Return a call to be run; None when it has ended with an error instead."""
        loaded = core._load_call(number)
        if loaded is None:
            return None
        with self.lock:
            self.running += 1
        return Call(number, *loaded)

    def want_exit(self) -> None:
        """Note that the running call wants the actor to end."""
        self._exiting.add(current_call.get(-1))

    def end(self, call: Call, value: object, error: BaseException | None) -> None:
        """Answer a call; act on what it raised.

        Args:
            call: It ran.
            value: What it returned.
            error: What it raised.
        """
        if isinstance(error, SystemExit) or call.number in self._exiting:
            self.ends = True
        elif error is not None and not isinstance(error, Exception):
            self.fatal, self.ends = error, True
        else:
            try:
                core._end_call(call.number, value, error)
            except BaseException as raised:
                self.fatal, self.ends = raised, True
        with self.lock:
            was_full = not self.concurrency.groups and self.running == self.concurrency.limit
            self.running -= 1
        if was_full or self.ends:
            self.wake()

    def drop(self) -> None:
        """Leave a call unanswered that has not run: it fails with the actor."""
        with self.lock:
            self.running -= 1
        self.wake()

    def finish(self) -> None:
        """End the actor if a call wanted that; raise what ends the process."""
        if self.fatal is not None:
            raise self.fatal
        if self.ends:
            core._end_own_actor()
