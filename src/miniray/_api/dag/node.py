# _api/dag/node.py - the base of all nodes: arguments that may hold other nodes, and the walk over a graph.
#
# Invariants  D1 a node never changes; a run works on copies, whose arguments are results.
#             D2 in a run each node is visited once, after all that it needs, in the order in which those stand in its
#                arguments; a graph may be of any depth.
# Source      Ray 2.60.0, python/ray/dag/dag_node.py, for names and order.
"""Nodes of a graph."""

from __future__ import annotations

import uuid
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from miniray._api.dag.scan import NodeBase, find_nodes, replace_nodes
from miniray._api.deprecation import RayDeprecationWarning
from miniray._api.unsupported import raise_later

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

__all__ = ["DAGNode"]


class DAGNode(NodeBase):
    """A call that is not made yet. Its arguments may be, or hold, other nodes.

    Args:
        args: Arguments by position.
        kwargs: Arguments by name.
        options: Options of the call.
        other_args_to_resolve: More that may hold nodes, by name.
    """

    def __init__(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        other_args_to_resolve: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the node; see the class."""
        self._bound_args = list(args)
        self._bound_kwargs = dict(kwargs)
        self._bound_options = dict(options)
        self._bound_other_args_to_resolve = dict(other_args_to_resolve or {})
        self._stable_uuid = uuid.uuid4().hex
        self.cache_from_last_execute: dict[str, Any] = {}

    def get_args(self) -> list[Any]:
        """Return the arguments by position."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """Return the arguments by name."""
        return self._bound_kwargs.copy()

    def get_options(self) -> dict[str, Any]:
        """Return the options of the call."""
        return self._bound_options.copy()

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """Return what else may hold nodes."""
        return self._bound_other_args_to_resolve.copy()

    def get_stable_uuid(self) -> str:
        """Return what names this node and its copies."""
        return self._stable_uuid

    async def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """Return the results of all nodes of the last ``execute(_ray_cache_refs=True)``, by uuid."""
        return dict(self.cache_from_last_execute)

    def clear_cache(self) -> None:
        """Forget them."""
        self.cache_from_last_execute = {}

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """Make all calls of the graph that this node needs, each once; return at once what this node's gives.

        Args:
            *args: For the InputNode of the graph.
            _ray_cache_refs: Whether to keep what each node gave.
            **kwargs: For the InputNode, by name.

        Returns:
            An ObjectRef; of a class node the handle of the actor, of a MultiOutputNode a list.
        """
        warnings.warn(
            "DAGNode.execute() is deprecated and will be removed in a future release.",
            RayDeprecationWarning,
            stacklevel=2,
        )
        results: dict[str, Any] = {}
        found = self._visit(lambda node: node._execute_impl(*args, **kwargs), results)
        if _ray_cache_refs:
            self.cache_from_last_execute = results
        return found

    def apply_recursive(self, fn: Callable[[DAGNode], Any]) -> Any:
        """Call a function with each node of the graph, once, after those that it needs; return what it gave for this.

        Args:
            fn: Gets a copy of the node in whose arguments what it gave for other nodes stands in their place.
        """
        return self._visit(fn, {})

    def _visit(self, fn: Callable[[DAGNode], Any], results: dict[str, Any]) -> Any:
        input_uuids = set()
        waiting: list[tuple[DAGNode, bool]] = [(self, False)]
        while waiting:
            node, is_ready = waiting.pop()
            if node._stable_uuid in results:
                continue
            if not is_ready:
                waiting.append((node, True))
                waiting.extend((child, False) for child in reversed(node._children()))
                continue
            if node._is_input:
                input_uuids.add(node._stable_uuid)
            if len(input_uuids) > 1:
                raise AssertionError("Each DAG should only have one unique InputNode.")
            results[node._stable_uuid] = fn(node._with_results(results))
        return results[self._stable_uuid]

    _is_input = False

    def _children(self) -> list[DAGNode]:
        """Return the nodes that this one needs, in the order of a run."""
        return find_nodes([self._bound_args, self._bound_kwargs, self._bound_other_args_to_resolve])

    def _with_results(self, results: Mapping[str, Any]) -> Self:
        """Return a copy whose arguments hold results in the place of nodes."""

        def replaced(value: Any) -> Any:
            return replace_nodes(value, lambda node: results[node._stable_uuid])

        copy = object.__new__(type(self))
        copy.__dict__.update(
            self.__dict__,
            _bound_args=replaced(self._bound_args),
            _bound_kwargs=replaced(self._bound_kwargs),
            _bound_other_args_to_resolve=replaced(self._bound_other_args_to_resolve),
        )
        return copy

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call of this node, whose arguments are results."""
        raise NotImplementedError

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> NoReturn:
        """Refuse: compiled graphs are channels between machines and GPUs; ``execute`` runs the graph."""
        raise_later("compiled graphs (experimental_compile)")

    def with_tensor_transport(
        self,
        transport: Any = "auto",
        device: str = "default",
        _static_shape: bool = False,
        _direct_return: bool = False,
    ) -> NoReturn:
        """Refuse: there is no transport but shared memory."""
        raise_later("tensor transports of graphs")

    def __getattr__(self, name: str) -> Any:
        if name == "bind":
            raise AttributeError(f".bind() cannot be used again on {type(self)} ")
        if name == "remote":
            raise AttributeError(
                f".remote() cannot be used on {type(self)}. To execute the task graph for this node, use .execute()."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._title()}, {self._stable_uuid})"

    def _title(self) -> str:
        """Return what people call the node."""
        return ""
