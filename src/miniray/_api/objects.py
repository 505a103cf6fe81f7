# _api/objects.py - put and wait; get is the core's own function.
"""Putting objects into the store and waiting for them."""

from __future__ import annotations

from typing import Any

from miniray import _miniray_core as core
from miniray._api.object_ref_generator import ObjectRefGenerator
from miniray._miniray_core import ObjectRef, get

__all__ = ["ObjectRef", "get", "put", "wait"]


def put(value: Any, *, _owner: object = None, _tensor_transport: object = None) -> ObjectRef[Any]:
    """Store a value and return a ref to it.

    The value is a snapshot: later changes to it are not seen. Buffers such as numpy arrays are copied once; not at all
    where they lie in the store already, which those of ``empty`` and its kin do: these are read-only from then on. When
    the store is full, other objects or this one go to disk, which may block, without the GIL.

    Args:
        value: Anything that pickles, but no ObjectRef.

    Raises:
        TypeError: An ObjectRef (put it in a list), or a value that cannot be pickled.
        ObjectStoreFullError: The store has no room, and nothing may be spilled.
        OutOfDiskError: The store has no room, and nothing more can be spilled.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can wrap the "
            "ray.ObjectRef in a list and call 'put' on it."
        )
    if _owner is not None:
        raise ValueError("put(_owner=...) is not supported: in miniray every process of a session keeps what it holds.")
    return core._put(value)


def wait(
    ray_waitables: list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Wait until some of the objects are ready; return those and the others.

    Blocks without the GIL. A ref whose task failed is ready, and so is a generator that has a next ref, or has ended.

    Args:
        ray_waitables: Distinct refs, and generators.
        num_returns: How many to wait for; the first list never has more.
        timeout: Seconds to wait at most; None waits for ever, 0 only looks.
        fetch_local: Accepted as in Ray; everything is local.

    Returns:
        ``(ready, others)``, both in the order given.

    Raises:
        TypeError: Not a list, or an item that is no ref.
        ValueError: Duplicates, or a number out of range.
    """
    if isinstance(ray_waitables, list) and (timeout is None or timeout >= 0):
        found = core._wait_for_refs(ray_waitables, max(num_returns, 0), timeout)
        if found is not None:
            return found
    return _wait_checked(ray_waitables, num_returns, timeout)


def _wait_checked(given: object, num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
    """Return what ``wait`` does, where generators are among the refs; raise where something is wrong."""
    if isinstance(given, ObjectRef | ObjectRefGenerator):
        raise TypeError(
            "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got a single ray.ObjectRef or "
            f"ray.ObjectRefGenerator {given}"
        )
    if not isinstance(given, list):
        raise TypeError(f"wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got {type(given)}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    for kind in set(map(type, given)):
        if not issubclass(kind, ObjectRef | ObjectRefGenerator):
            raise TypeError(
                f"wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got list containing {kind}"
            )
    core._require_session()
    refs = list(given)
    if not refs:
        return [], []
    if len(set(refs)) != len(refs):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(refs):
        raise ValueError("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.")
    waited = [ref if isinstance(ref, ObjectRef) else ref._peek() for ref in refs]
    ready = core._wait(waited, num_returns, timeout)
    for ref, looked_at in zip(refs, waited, strict=True):
        if ref is not looked_at:
            ref._unpeek(looked_at)
    return _divided(refs, ready)


def _divided(refs: list[Any], ready: list[int]) -> tuple[list[Any], list[Any]]:
    """Return the refs at the positions that are ready, and the others, both in the order that was given."""
    positions = sorted(ready)
    others, begin = [], 0
    for position in positions:
        others += refs[begin:position]
        begin = position + 1
    return [refs[i] for i in positions], others + refs[begin:]
