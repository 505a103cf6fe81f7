# _runtime/closures.py - pickling of functions and classes by value: what `__main__` defines, lambdas, closures.
#
# Invariants  N1 code objects keep the name of their file, so that remote tracebacks name it and show its lines.
#             N2 a memoryview of memory in the store stays one, without a copy; any other becomes bytes, as in Ray.
"""cloudpickle, with the file names of code objects and memoryviews of the store."""

from __future__ import annotations

import io
import pickle
import types
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._runtime import reducers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "rebuild_memoryview"]

_pickler_type: type[Any] | None = None


def dumps(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None) -> bytes:
    """Return a value pickled with protocol 5; functions and classes that cannot be imported by name travel whole.

    Args:
        value: The value.
        buffer_callback: Gets each out-of-band buffer; None: all is in the bytes.

    Raises:
        TypeError: A part of the value refuses, or pickle.PicklingError. Errors of the user's ``__reduce__`` pass.
    """
    with io.BytesIO() as file:
        _find_pickler_type()(file, protocol=5, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def _find_pickler_type() -> type[Any]:
    global _pickler_type
    if _pickler_type is None:
        import cloudpickle  # here: a program that never needs it does not wait for it

        reduce_code = cloudpickle.Pickler.dispatch_table[types.CodeType]

        def reduce_named_code(code: types.CodeType) -> Any:
            _, arguments = reduce_code(code)
            return _rebuild_code, (arguments, code.co_filename)

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
                {types.CodeType: reduce_named_code, memoryview: _reduce_memoryview}
            ).new_child(reducers.registered)

        _pickler_type = Pickler
    return _pickler_type


def _rebuild_code(arguments: tuple[Any, ...], filename: str) -> types.CodeType:
    return types.CodeType(*arguments).replace(co_filename=filename)


def _reduce_memoryview(view: memoryview) -> Any:
    if not view.c_contiguous or not core._is_in_store(view):
        return bytes, (view.tobytes(),)
    return rebuild_memoryview, (pickle.PickleBuffer(view), view.format, view.shape)


def rebuild_memoryview(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    """Return the read-only view of a buffer that came out of band."""
    flat = memoryview(buffer)
    return flat if (form, len(shape)) == ("B", 1) else flat.cast("B").cast(form, shape)  # type: ignore[call-overload]
