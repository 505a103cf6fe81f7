# _runtime/namespace.py - the namespace of named actors that this process belongs to.
"""The session's namespace; the same in the driver and its workers."""

from __future__ import annotations


class _Current:
    name: str = ""


def enter(name: str) -> None:
    """Set the namespace of this process."""
    _Current.name = name


def current() -> str:
    """Return the namespace of this process."""
    return _Current.name
