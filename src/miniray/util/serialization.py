# util/serialization.py - the user's own way to pickle a class.
"""``register_serializer`` and ``deregister_serializer``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray._runtime import hooks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["deregister_serializer", "register_serializer"]


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Pickle instances of a class by functions of yours when they become objects or arguments, in this process.

    Workers that make such values must register, too. Subclasses are not concerned, and Python's own ``pickle.dumps``
    is as before. What miniray encodes itself stays as it is: numbers, strings, bytes and numpy arrays.

    Args:
        cls: The class.
        serializer: Takes an instance, returns a value that pickles.
        deserializer: Takes that value, returns an instance; it travels with each value.
    """

    def reduce(value: Any) -> Any:
        return deserializer, (serializer(value),)

    hooks.register_reducer(cls, reduce)


def deregister_serializer(cls: type) -> None:
    """Pickle instances of a class as Python does; does nothing if none was registered.

    Args:
        cls: The class.
    """
    hooks.deregister_reducer(cls)
