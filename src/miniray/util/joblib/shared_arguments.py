# util/joblib/shared_arguments.py - large arguments of many calls are stored once.
#
# Invariants  A1 an argument is known by its identity; while it is known it is kept alive, so that no other gets its
#                id(). The few that were used last are known: a stream of large arguments is not kept whole.
#             A2 what was stored is not looked at again: a caller that changes it between the calls of one Parallel does
#                what no process-based backend of joblib sees.
"""Arguments in the object store, and batches of calls that fetch them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import miniray

__all__ = ["ArgumentStore", "SharedBatch"]

_LEAST_BYTES = 64 * 1024
_MOST_KNOWN = 16


class ArgumentStore:
    """The large arguments that calls of one Parallel share."""

    def __init__(self) -> None:
        """Make an empty store; see the class."""
        self._known: OrderedDict[int, tuple[Any, miniray.ObjectRef[Any]]] = OrderedDict()

    def share(self, value: Any) -> Any:
        """Return the ref of a large value, stored when first seen; a small value as it is."""
        if id(value) in self._known:
            self._known.move_to_end(id(value))
        elif _size_bytes(value) < _LEAST_BYTES:
            return value
        else:
            self._known[id(value)] = value, miniray.put(value)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return self._known[id(value)][1]

    def clear(self) -> None:
        """Let go of all of them."""
        self._known.clear()


class SharedBatch:
    """A batch of joblib's calls, with refs in the place of large arguments.

    Args:
        batch: ``joblib.parallel.BatchedCalls``.
        store: Where large arguments go.
    """

    def __init__(self, batch: Any, store: ArgumentStore) -> None:
        """Replace the arguments; see the class."""
        self._type = type(batch)
        self._context = batch._backend, batch._n_jobs
        self._items = [
            (
                function,
                [store.share(value) for value in args],
                {name: store.share(value) for name, value in kwargs.items()},
            )
            for function, args, kwargs in batch.items
        ]

    def __call__(self) -> Any:
        """Run the calls, in a process of the pool."""
        items = [
            (function, [_fetch(value) for value in args], {name: _fetch(value) for name, value in kwargs.items()})
            for function, args, kwargs in self._items
        ]
        return self._type(items, self._context)()


def _fetch(value: Any) -> Any:
    return miniray.get(value) if isinstance(value, miniray.ObjectRef) else value


def _size_bytes(value: Any) -> int:
    """Return about how much a value takes, without looking into containers."""
    if isinstance(value, miniray.ObjectRef):
        return 0
    parts = [value, *(getattr(value, name, None) for name in ("data", "indices"))]  # of sparse matrices
    sizes = [getattr(part, "nbytes", 0) for part in parts]
    return max(sys.getsizeof(value), *(size for size in sizes if isinstance(size, int)), 0)
