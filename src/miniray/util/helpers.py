# util/helpers.py - results in the order in which they come, and a map that limits what is in flight.
#
# Source      Ray 2.60.0, python/ray/util/helpers.py, for chunks and their order.
"""``as_completed`` and ``map_unordered``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import miniray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from miniray.remote_function import RemoteFunction

__all__ = ["as_completed", "map_unordered"]


def as_completed(
    refs: list[miniray.ObjectRef[Any]], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Yield results as they become ready, in chunks; within a chunk in the order given.

    Blocks until a chunk is ready, without the GIL.

    Args:
        refs: Distinct refs.
        chunk_size: How many results to wait for at a time; the last chunk may be smaller.
        yield_obj_refs: Yield the refs, not their values.
        **kwargs: More for ``wait``: ``timeout``, ``fetch_local``.

    Raises:
        ValueError: ``chunk_size`` is below 1, or ``num_returns`` was given.
    """
    _check(chunk_size, kwargs)
    while refs:
        ready, refs = miniray.wait(refs, num_returns=min(chunk_size, len(refs)), **kwargs)
        yield from ready if yield_obj_refs else miniray.get(ready)


def map_unordered(
    fn: RemoteFunction,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Call a remote function with each item; yield the results as they become ready, in chunks.

    Items are taken, and calls submitted, only as far as the limit allows: ``items`` may be endless.

    Args:
        fn: The remote function, of one argument.
        items: Its arguments.
        backpressure_size: How many calls may be unfinished at a time; None: any number.
        chunk_size: How many results to wait for at a time.
        yield_obj_refs: Yield the refs, not their values.
        **kwargs: More for ``wait``: ``timeout``, ``fetch_local``.

    Raises:
        ValueError: A size is below 1, or ``num_returns`` was given.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, kwargs)
    refs: list[miniray.ObjectRef[Any]] = []
    for item in items:
        refs.append(fn.remote(item))
        if backpressure_size is not None and len(refs) >= backpressure_size:
            ready, refs = miniray.wait(refs, num_returns=min(chunk_size, len(refs)), **kwargs)
            yield from ready if yield_obj_refs else miniray.get(ready)
    yield from as_completed(refs, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check(chunk_size: int, kwargs: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in kwargs:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")
