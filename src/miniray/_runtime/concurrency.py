# _runtime/concurrency.py - actors that run several calls at once: what loops and threads have in common.
#
# Invariants  C1 the main thread begins calls, and gives each to its group, but for those that threads take themselves
#                (thread_host.py); a group runs at most its limit at once.
#             C2 a call that wants the actor to end (exit_actor, SystemExit) is never answered: it fails with the actor.
#                No call begins after it; those that run are let finish.
#             C3 whatever else than an Exception a method raises ends the process, as in an actor of one call at a time.
"""Several calls of one actor at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_GROUP = ""
MOST_BEGUN = 1024
"""So many calls an actor with concurrency groups takes at a time: they wait in their groups."""
_NO_GROUPS: Mapping[str, int] = {}


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
    """What a call runs; the core reads it.

    Attributes:
        function: A method, bound.
        group: Where.
        is_async: Whether it gives what is to be awaited.
    """

    function: Callable[..., Any]
    group: str
    is_async: bool


class Host(ABC):
    """Runs the calls of this process's actor.

    Args:
        concurrency: Of the actor.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        """Make it; see the class."""
        self.concurrency = concurrency
        self.ends = False
        self.fatal: BaseException | None = None

    @abstractmethod
    def construct(self, make: Callable[[], object]) -> object:
        """Return what ``make`` gives, run where the methods will run."""

    @abstractmethod
    def serve(self) -> None:
        """Run calls until the actor has ended."""

    @abstractmethod
    def wake(self) -> None:
        """Have the main thread look at ``ends``, ``fatal`` and whether calls run."""

    def end(self, call: core.BegunCall, value: object, error: BaseException | None) -> None:
        """Act on what a call raised, or on that it is to end the actor; one that simply returned never comes here.

        Args:
            call: It ran.
            value: What it returned.
            error: What it raised.
        """
        if call.exits or isinstance(error, SystemExit):
            self._stop()
        elif isinstance(error, Exception):
            try:
                call.answer(error)
            except BaseException as raised:
                self._stop(raised)
        else:
            self._stop(error)

    def fail(self, error: BaseException) -> None:
        """End the process: a call could not be answered.

        Args:
            error: Why.
        """
        self._stop(error)

    @abstractmethod
    def count(self) -> int:
        """Return how many calls are begun and not over, of an actor without concurrency groups."""

    def room(self) -> int:
        """Return how many more calls may begin; those of concurrency groups wait in their groups."""
        if self.ends:
            return 0
        return MOST_BEGUN if self.concurrency.groups else self.concurrency.limit - self.count()

    def _stop(self, fatal: BaseException | None = None) -> None:
        self.fatal = self.fatal or fatal
        self.ends = True
        core._refuse_calls()
        self.wake()

    def finish(self) -> None:
        """End the actor if a call wanted that; raise what ends the process."""
        if self.fatal is not None:
            raise self.fatal
        if self.ends:
            core._end_own_actor()
