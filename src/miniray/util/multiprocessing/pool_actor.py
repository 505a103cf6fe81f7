# util/multiprocessing/pool_actor.py - what runs in the processes of a pool, and how functions get there.
#
# Invariants  F1 a plain function without a closure is pickled once, and unpickled once per process. Whatever may carry
#                state of its own is pickled when it is handed over and made anew for each chunk, as in the standard
#                library: what one chunk does to it no other sees.
#             F2 what the driver has packed it keeps: an id() that it knows is still that function's.
"""The actor class of pools."""

from __future__ import annotations

import itertools
import pickle
import types
from collections import OrderedDict
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import miniray
from miniray import _miniray_core as core
from miniray._runtime import closures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Packer", "PoolActor", "PoolTaskError", "outcome_of"]

_MOST_KNOWN = 32
_LARGE_BYTES = 1 << 16


class PoolTaskError(Exception):
    """A call of a pool failed.

    Attributes:
        underlying: What it raised.
    """

    def __init__(self, underlying: BaseException) -> None:
        """Keep the error; see the class."""
        super().__init__(underlying)
        self.underlying = underlying


Packed = tuple[int, Any]
"""Number of a function that may be kept, 0 for none; its bytes, or a ref of them in a list."""


class Packer:
    """Pickles functions, each once."""

    def __init__(self) -> None:
        """Begin with none; see the class."""
        self._known: OrderedDict[int, tuple[Callable[..., Any], Packed]] = OrderedDict()
        self._numbers = itertools.count(1)

    def pack(self, function: Callable[..., Any]) -> Packed:
        """Return a function as it travels.

        Raises:
            TypeError: It does not pickle.
        """
        is_plain = isinstance(function, types.FunctionType) and function.__closure__ is None
        if not is_plain:
            return 0, closures.dumps(function)
        found = self._known.get(id(function))
        if found is not None:
            return found[1]
        data = closures.dumps(function)
        packed = next(self._numbers), data if len(data) < _LARGE_BYTES else [miniray.put(data)]
        self._known[id(function)] = function, packed
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return packed


class PoolActor:
    """A process of a pool.

    Args:
        initializer: Called first.
        initargs: Its arguments.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: Sequence[Any]) -> None:
        """Initialize the process; see the class."""
        self._functions: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        if initializer is not None:
            initializer(*initargs)

    def call(self, number: int, packed: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function; return its result, or a PoolTaskError."""
        function = self._load(number, packed)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return _failed(error)

    def each(self, number: int, packed: Any, items: Iterable[Any]) -> list[Any]:
        """Call a function with each item."""
        function = self._load(number, packed)
        outcomes: list[Any] = []
        for item in items:
            try:
                outcomes.append(function(item))
            except Exception as error:
                outcomes.append(_failed(error))
        return outcomes

    def each_spread(self, number: int, packed: Any, items: Iterable[Sequence[Any]]) -> list[Any]:
        """Call a function with the arguments in each item."""
        function = self._load(number, packed)
        return self.each(0, lambda item: function(*item), items)

    def _load(self, number: int, packed: Any) -> Callable[..., Any]:
        found = self._functions.get(number)
        if found is not None:
            return found
        if callable(packed):
            return packed  # type: ignore[no-any-return]
        function: Callable[..., Any] = pickle.loads(miniray.get(packed[0]) if isinstance(packed, list) else packed)
        if number:
            self._functions[number] = function
            if len(self._functions) > _MOST_KNOWN:
                self._functions.popitem(last=False)
        return function


def _failed(error: Exception) -> PoolTaskError:
    return PoolTaskError(ExceptionWithTraceback(error, error.__traceback__))


def outcome_of(ref: miniray.ObjectRef[Any]) -> tuple[Any, Exception | None, BaseException | None]:
    """Return what an answer says: a value, or an error; and what interrupted this, such as Ctrl-C, for later."""
    stop: BaseException | None = None
    while True:
        try:
            return core.get(ref), None, stop
        except Exception as error:
            return None, error.with_traceback(None), stop  # it would keep this frame, and that the actor
        except BaseException as error:
            stop = error
