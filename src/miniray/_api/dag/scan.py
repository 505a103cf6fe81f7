# _api/dag/scan.py - finding the nodes inside a value, and making the value with other things in their place.
#
# Invariants  S1 nodes are found wherever pickle goes: in containers and in attributes of objects.
#             S2 what can hold no node is kept by reference, not copied: arrays, refs, handles, functions, text.
#             S3 a value that pickle refuses is passed as it is, with the nodes that may be in it.
"""Nodes in arguments."""

from __future__ import annotations

import io
import pickle
import types
from typing import TYPE_CHECKING, Any

from miniray._api.actor_handle import ActorHandle
from miniray._miniray_core import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NodeBase", "find_nodes", "replace_nodes"]

_CONTAINERS = (list, tuple, dict, set, frozenset)
_PLAIN = (type(None), bool, int, float, complex)
_KEPT = (
    ObjectRef,
    ActorHandle,
    str,
    bytes,
    bytearray,
    memoryview,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
)


class NodeBase:
    """What is looked for: the base of all nodes."""


class _Pickler(pickle.Pickler):
    """Pickles what may hold nodes; keeps nodes and all else apart, in `leaves`."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.leaves: list[Any] = []

    def persistent_id(self, value: Any) -> int | None:
        kind = type(value)
        if kind in _CONTAINERS or kind in _PLAIN:
            return None
        if isinstance(value, (NodeBase, *_KEPT)) or hasattr(kind, "__array_interface__"):
            self.leaves.append(value)
            return len(self.leaves) - 1
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, leaves: list[Any]) -> None:
        super().__init__(file)
        self._leaves = leaves

    def persistent_load(self, index: int) -> Any:
        return self._leaves[index]


def find_nodes(value: Any) -> list[Any]:
    """Return the nodes in a value, in the order in which they are met; one may stand there twice."""
    found: list[Any] = []

    def note(node: Any) -> Any:
        found.append(node)
        return node

    replace_nodes(value, note)
    return found


def replace_nodes(value: Any, replacement: Callable[[Any], Any]) -> Any:
    """Return the value with another thing in the place of each node.

    Args:
        value: A list, tuple or dict of arguments.
        replacement: Returns what stands for a node.
    """
    if isinstance(value, NodeBase):
        return replacement(value)
    if type(value) in (list, tuple):
        return type(value)(replace_nodes(item, replacement) for item in value)
    if type(value) is dict:
        return {key: replace_nodes(item, replacement) for key, item in value.items()}
    if type(value) in _PLAIN or isinstance(value, _KEPT):
        return value
    data, leaves = _dump(value)
    if not any(isinstance(leaf, NodeBase) for leaf in leaves):
        return value
    with io.BytesIO(data) as file:
        return _Unpickler(file, [replacement(leaf) if isinstance(leaf, NodeBase) else leaf for leaf in leaves]).load()


def _dump(value: Any) -> tuple[bytes, list[Any]]:
    with io.BytesIO() as file:
        pickler = _Pickler(file)
        try:
            pickler.dump(value)
        except Exception:  # of whatever __reduce__ the user has
            return b"", []
        return file.getvalue(), pickler.leaves
