# _api/object_ref_generator.py - what calls of generator functions give.
#
# Invariants  N1 a generator keeps its stream: when it goes, items that nobody has taken are freed, and the next yield
#                ends the task.
#             N2 a ref that was given out is an object like any other, and outlives the generator.
"""ObjectRefGenerator, and what ``num_returns`` means for a function that yields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from miniray import _miniray_core as core
from miniray._runtime import awaiting

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAMING = "streaming"
DYNAMIC = "dynamic"


class ObjectRefGenerator(core.StreamReader):
    """The refs of what a task yields, one by one while it goes on: an iterator and an async iterator.

    ``next`` waits until the task has yielded once more, or has ended. What the task raises is one more ref, the last.
    Dropping the generator frees what was not taken, and ends the task at its next ``yield``. It cannot be pickled.
    """

    __slots__ = ("__weakref__",)

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> core.ObjectRef[Any]:
        while (ref := self._next_nowait()) is None:
            first = self._peek()
            await awaiting.ready(first)
            self._unpeek(first)
        if isinstance(ref, bool):
            raise StopAsyncIteration
        return ref

    def send(self, value: object) -> NoReturn:
        """Refuse: values go one way."""
        raise NotImplementedError("`gen.send` is not supported.")

    def throw(self, value: object) -> NoReturn:
        """Refuse: cancel() ends a task."""
        raise NotImplementedError("`gen.throw` is not supported.")

    def close(self) -> NoReturn:
        """Refuse: dropping the generator ends its task."""
        raise NotImplementedError("`gen.close` is not supported.")

    async def asend(self, value: object) -> NoReturn:
        """Refuse: values go one way."""
        raise NotImplementedError("`gen.asend` is not supported.")

    async def athrow(self, value: object) -> NoReturn:
        """Refuse: cancel() ends a task."""
        raise NotImplementedError("`gen.athrow` is not supported.")

    async def aclose(self) -> NoReturn:
        """Refuse: dropping the generator ends its task."""
        raise NotImplementedError("`gen.aclose` is not supported.")


def resolve_num_returns(options: Mapping[str, Any], is_generator: bool) -> int | str:
    """Return how many results a call gives: a number, ``"streaming"`` or ``"dynamic"``.

    Args:
        options: Of the task or the call.
        is_generator: Whether the function yields.
    """
    num_returns: int | str | None = options.get("num_returns")
    if num_returns is None:
        return STREAMING if is_generator else 1
    return num_returns


def count_results(num_returns: int | str) -> int:
    """Return how many results the core makes: of a stream its next item and what ``completed()`` gives."""
    if isinstance(num_returns, int):
        return num_returns
    return 2 if num_returns == STREAMING else 1


def configure_stream(caller: core.Caller, num_returns: int | str, limit: int | None) -> None:
    """Have a caller that is configured give generators, if its function streams.

    Args:
        caller: Configured.
        num_returns: As resolve_num_returns() gives it.
        limit: ``_generator_backpressure_num_objects``; None or -1: none.
    """
    if num_returns == STREAMING:
        caller.configure_stream(ObjectRefGenerator, max(limit or 0, 0))
