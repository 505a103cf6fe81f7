# _api/dag/inputs.py - where a graph takes what execute() is given, and the node of several outputs.
#
# Source      Ray 2.60.0, python/ray/dag/input_node.py, output_node.py.
"""Input and output nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray._api.dag.node import DAGNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["DAGInputData", "InputAttributeNode", "InputNode", "MultiOutputNode"]

_KEY_ERROR = "Please only use int index or str as first-level key to access fields of dag input."


class DAGInputData:
    """What ``execute`` was given, when that was not one value: by position and by name.

    Args:
        *args: By position.
        **kwargs: By name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keep the values; see the class."""
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self._args[key]
        if isinstance(key, str):
            return self._kwargs[key]
        raise ValueError(_KEY_ERROR)


class InputNode(DAGNode):
    """What ``execute`` will be given; one for a graph, made in a ``with`` statement.

    ``node[0]``, ``node["key"]`` and ``node.name`` are parts of it.

    Args:
        *args: None are known.
        input_type: Accepted as in Ray.
        _other_args_to_resolve: Accepted as in Ray.
        **kwargs: None are known.

    Raises:
        ValueError: An argument was given.
    """

    _is_input = True

    def __init__(
        self,
        *args: Any,
        input_type: type | Mapping[int | str, type] | None = None,
        _other_args_to_resolve: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the node; see the class."""
        if args or kwargs:
            raise ValueError("InputNode should not take any args or kwargs.")
        self._is_in_context = False
        self.input_attribute_nodes: dict[Any, InputAttributeNode] = {}
        self.input_type = input_type
        super().__init__([], {}, {}, _other_args_to_resolve)

    def __enter__(self) -> Self:
        self._is_in_context = True
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_in_context:
            raise AssertionError(
                "InputNode is a singleton instance that should be only used in context manager for dag building and "
                "execution. See the docstring of class InputNode for examples."
            )
        return args[0] if len(args) == 1 and not kwargs else DAGInputData(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("bind", "remote"):
            return super().__getattr__(name)
        return self._part(name, "__getattr__")

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        if not isinstance(key, int | str):
            raise AssertionError(_KEY_ERROR)
        return self._part(key, "__getitem__")

    def _part(self, key: int | str, accessor_method: str) -> InputAttributeNode:
        if key not in self.input_attribute_nodes:
            self.input_attribute_nodes[key] = InputAttributeNode(self, key, accessor_method)
        return self.input_attribute_nodes[key]


class InputAttributeNode(DAGNode):
    """A part of what ``execute`` will be given.

    Args:
        dag_input_node: The whole.
        key: Index, key or attribute.
        accessor_method: ``"__getitem__"`` or ``"__getattr__"``.
        input_type: Accepted as in Ray.
    """

    def __init__(
        self, dag_input_node: InputNode, key: int | str, accessor_method: str, input_type: str | None = None
    ) -> None:
        """Make the node; see the class."""
        self._key = key
        self._accessor_method = accessor_method
        super().__init__([], {}, {}, {"dag_input_node": dag_input_node})

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        whole = self._bound_other_args_to_resolve["dag_input_node"]
        if isinstance(whole, DAGInputData) or self._accessor_method == "__getitem__":
            return whole[self._key]
        return getattr(whole, str(self._key))

    @property
    def key(self) -> int | str:
        """Index, key or attribute."""
        return self._key

    def _title(self) -> str:
        return repr(self._key)


class MultiOutputNode(DAGNode):
    """Several nodes as one, which gives the list of their results.

    Args:
        args: The nodes.
        other_args_to_resolve: Accepted as in Ray.

    Raises:
        ValueError: Not a list or tuple.
    """

    def __init__(
        self, args: list[DAGNode] | tuple[DAGNode, ...], other_args_to_resolve: dict[str, Any] | None = None
    ) -> None:
        """Make the node; see the class."""
        if not isinstance(args, list | tuple):
            raise ValueError(f"Invalid input type for `args`, {type(args)}.")
        super().__init__(args, {}, {}, other_args_to_resolve)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._bound_args
