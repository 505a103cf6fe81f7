# _api/store_arrays.py - arrays in memory of the object store: written in place, put without a copy.
#
# Invariants  A1 such an array is writable until it, or a value that holds it, is put or returned by a task; then it is
#                read-only, here too.
#             A2 one that is dropped before frees its memory.
"""Zero-copy writes, which Ray has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["create", "empty", "empty_like", "zeros"]


def create(nbytes: int) -> core.StoreBlock:
    """Return writable bytes inside the object store, not initialized.

    ``put`` of them, of anything that is a view of all of them (a numpy array made with ``frombuffer``), or of a value
    that holds one, makes them an object without a copy; they are read-only from then on, and ``get`` gives a read-only
    memoryview of them. Returning them from a task does the same. Dropping them before frees them. Views that were made
    before and are written afterwards end the process with SIGSEGV, at the latest some milliseconds per gigabyte later.

    miniray's own. In Ray, write to private memory and ``put`` it, which copies.

    Args:
        nbytes: How many bytes, 0 or more.

    Returns:
        A bytes-like object with items and slices to read and write, 64-byte aligned. It keeps the memory, also after
        ``shutdown``.

    Raises:
        ObjectStoreFullError: The store has no room, even after spilling.
        OutOfDiskError: The same, and the disk is full.
        ValueError: ``nbytes`` is negative.

    Example:
        >>> import miniray as ray
        >>> block = ray.create(4)
        >>> block[:] = b"abcd"
        >>> bytes(ray.get(ray.put(block)))
        b'abcd'
    """
    if nbytes < 0:
        raise ValueError(f"nbytes must be at least 0, not {nbytes}")
    return core._create_block(nbytes)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = float, order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """Return a writable numpy array inside the object store, not initialized; :func:`create` says what ``put`` does.

    Args:
        shape: Length of each axis.
        dtype: Type of the elements; no Python objects.
        order: ``"C"`` for row-major, ``"F"`` for column-major.

    Raises:
        TypeError: Elements are Python objects, which cannot lie in shared memory.
        ObjectStoreFullError: The store has no room, even after spilling.

    Example:
        >>> import miniray as ray
        >>> array = ray.empty((2, 3))
        >>> array[:] = 1
        >>> ref = ray.put(array)  # no copy
        >>> array.flags.writeable
        False
    """
    import numpy

    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"elements of type {kind} are Python objects, which cannot lie in shared memory")
    axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    nbytes = kind.itemsize
    for length in axes:
        nbytes *= int(length)
    if nbytes < 0:
        raise ValueError(f"no length of an axis may be negative: shape={shape!r}")
    return numpy.ndarray(axes, kind, buffer=core._create_block(nbytes), order=order)


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = float, order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """Return a writable numpy array of zeros inside the object store; the arguments are those of :func:`empty`."""
    array = empty(shape, dtype, order)
    core._fill_zero(array.base)
    return array


def empty_like(prototype: ArrayLike, dtype: DTypeLike = None) -> NDArray[Any]:
    """Return a writable array inside the object store with the shape, type and order of another, not initialized.

    Args:
        prototype: The other array; it is not read.
        dtype: Another type of the elements.
    """
    import numpy

    given = numpy.asanyarray(prototype)
    order: Literal["C", "F"] = "F" if given.flags.f_contiguous and not given.flags.c_contiguous else "C"
    return empty(given.shape, given.dtype if dtype is None else dtype, order)
