# _api/exported.py - function objects: what workers run, pickled once and found by the hash of its bytes.
#
# Layout      scheduler.hpp kFunctionFormat: format byte, length of the name, the name, length of the pickle, the pickle
#             of (callable, exceptions to retry on, max_calls, OMP_NUM_THREADS).
"""Put what workers run into the store."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._runtime import closures
from miniray._runtime.digest import digest

if TYPE_CHECKING:
    from collections.abc import Callable

_FUNCTION_FORMAT = 4  # scheduler.hpp kFunctionFormat


def export(
    name: str,
    runnable: object,
    *,
    what: Callable[..., Any] | type | None = None,
    retry_on: object = None,
    max_calls: int = 0,
    threads: str = "1",
) -> core.ObjectRef[Any]:
    """Return the ref of a function object; an equal one of this session is shared.

    Args:
        name: What people call it.
        runnable: The function, or an object of ``actor_host``.
        what: The user's function or class in it: a new definition is a new object even if its text is equal.
        retry_on: None, True, or a tuple of exception types.
        max_calls: After how many runs the worker leaves; 0: never.
        threads: OMP_NUM_THREADS while it runs.

    Raises:
        TypeError: It does not pickle.
    """
    try:
        pickled = closures.dumps((runnable, retry_on, max_calls, threads))
    except Exception as error:
        shown = getattr(what or runnable, "__qualname__", name)
        kind = "actor class" if isinstance(what, type) else "function"
        raise TypeError(
            f"Could not serialize the {kind} {shown}: {error}. What it captures from outside travels with it: create "
            "locks, connections and open files inside the task."
        ) from error
    encoded = name.encode("utf-8", "replace")
    header = struct.pack("<B3xI", _FUNCTION_FORMAT, len(encoded)) + encoded + b"\0" * (-len(encoded) % 8)
    payload = header + struct.pack("<Q", len(pickled)) + pickled
    # id() of a live function or class tells definitions apart.
    unique = b"" if what is None else struct.pack("<Q", id(what))
    return core._put_named(payload, digest(payload + unique, 16))
