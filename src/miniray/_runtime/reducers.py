# _runtime/reducers.py - how this process pickles classes that the user registered a serializer for.
#
# Invariants  R1 only values of miniray are concerned: Python's own pickle and copyreg never see `registered`.
#             R2 a program that registers nothing pickles with pickle.dumps itself (hooks.py).
"""Reducers of the user, and a pickler that asks them."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections import ChainMap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "registered"]

registered: dict[type, Callable[[Any], Any]] = {}


_dispatch_table = ChainMap(registered, copyreg.dispatch_table)


def dumps(
    value: Any, protocol: int | None = None, *, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None
) -> bytes:
    """Pickle like ``pickle.dumps``, but instances of registered classes by their reducers."""
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, protocol, buffer_callback=buffer_callback)
        pickler.dispatch_table = _dispatch_table
        pickler.dump(value)
        return file.getvalue()
