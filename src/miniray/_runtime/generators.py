# _runtime/generators.py - what runs in a worker in the place of a generator function that does not simply stream.
#
# Invariants  G1 a stream is made by the core (python/streams.cpp): it runs the generator that a call returned. Only
#                coroutines that yield are run from here, as event loops want it.
#             G2 Dynamic and Flat travel in function objects in the place of a function; resolve() gives what runs.
"""Generators in workers."""

from __future__ import annotations

import contextlib
import functools
import types
from collections import deque
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime import awaiting
from miniray._runtime.error_capture import make_task_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator

_WAITS_FOR_ROOM = 2  # python/streams.cpp _add_item


class DynamicObjectRefGenerator:
    """The refs of what a task with ``num_returns="dynamic"`` yielded; going through them takes them out.

    Args:
        refs: In order.
    """

    def __init__(self, refs: Iterable[core.ObjectRef[Any]]) -> None:
        """Make it; see the class."""
        self._refs = deque(refs)

    def __iter__(self) -> Iterator[core.ObjectRef[Any]]:
        while self._refs:
            yield self._refs.popleft()

    def __len__(self) -> int:
        return len(self._refs)


def collect(function: Callable[..., Any], name: str) -> Callable[..., DynamicObjectRefGenerator]:
    """Return what runs a generator function to its end and puts what it yields; an error is one more ref.

    Args:
        function: A generator function.
        name: What errors call it.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> DynamicObjectRefGenerator:
        generator = function(*args, **kwargs)
        if not isinstance(generator, types.GeneratorType):
            raise ValueError('Functions with @ray.remote(num_returns="dynamic" must return a generator')
        refs: list[core.ObjectRef[Any]] = []
        try:
            for value in generator:
                refs.append(core._put(value))  # noqa: PERF401 - what came before an error stays
        except Exception as error:
            refs.append(core._put_error(make_task_error(name, error)))
        return DynamicObjectRefGenerator(refs)

    del run.__wrapped__  # it does not yield
    return run


class Dynamic(Record):
    """A generator function with ``num_returns="dynamic"``.

    Attributes:
        function: As the user wrote it, or Flat.
        name: Of the task.
    """

    function: Callable[..., Any] | Flat
    name: str

    def resolve(self) -> Callable[..., Any]:
        """Return the function that runs."""
        function = self.function.resolve() if isinstance(self.function, Flat) else self.function
        return collect(function, self.name)


class Flat(Record):
    """A generator function that yields several items at once.

    Attributes:
        function: As the user wrote it.
        count: How many.
    """

    function: Callable[..., Any]
    count: int

    def resolve(self) -> Callable[..., Any]:
        """Return the function that runs."""

        def run(*args: Any, **kwargs: Any) -> Iterator[Any]:
            for group in self.function(*args, **kwargs):
                items = tuple(group)
                if len(items) != self.count:
                    raise ValueError(f"a yield gave {len(items)} items, but _num_objects_per_yield={self.count}")
                yield from items

        return run


def stream_of(function: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return what makes the values that a method yields items of the stream of its call, until nobody reads on.

    Args:
        function: An asynchronous generator method, bound.
    """

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> None:
        call = core._running_call()
        assert call is not None
        generator = function(*args, **kwargs)
        call.streams = True
        async with contextlib.aclosing(generator):
            position = 0
            async for value in generator:
                state = core._add_item(call.number, value, position)
                del value
                if not state:
                    return
                if state == _WAITS_FOR_ROOM:
                    await awaiting.room(call.number)
                position += 1

    return run
