# types.py - what Ray has for type checkers.
"""``ObjectRef[T]`` for annotations: the ref of a ``T``."""

from __future__ import annotations

from miniray._api.objects import ObjectRef

__all__ = ["ObjectRef"]
