# _api/dag/calls.py - nodes that are calls: of functions, of classes, of methods.
#
# Invariants  C1 the calls that were bound to one class node run in the order of bind(): each needs the one before.
# Source      Ray 2.60.0, python/ray/dag/function_node.py, class_node.py.
"""Function, class and method nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray._api.dag.inputs import InputNode
from miniray._api.dag.node import DAGNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ClassMethodNode", "ClassNode", "FunctionNode", "bind_method"]

_PARENT = "parent_class_node"
_PREVIOUS = "prev_class_method_call"
_IS_OUTPUT = "is_class_method_output"


class FunctionNode(DAGNode):
    """A call of a remote function; made by ``f.bind(...)``.

    Args:
        function: The remote function.
        args: Arguments by position.
        kwargs: Arguments by name.
        options: Of the call.
    """

    def __init__(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Make the node; see the class."""
        self._function = function
        super().__init__(args, kwargs, options)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._function.remote(*self._bound_args, **self._bound_kwargs)

    def _title(self) -> str:
        return str(self._function.__name__)


class ClassNode(DAGNode):
    """An actor that is not made yet; made by ``C.bind(...)``. Its methods have ``bind``, too.

    Args:
        actor_class: The actor class.
        args: Arguments by position.
        kwargs: Arguments by name.
        options: Of the actor.

    Raises:
        ValueError: An argument is the InputNode, which has no value when the actor is made.
    """

    def __init__(
        self, actor_class: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Make the node; see the class."""
        self._actor_class = actor_class
        self._last_call: ClassMethodNode | None = None
        super().__init__(args, kwargs, options)
        if any(isinstance(child, InputNode) for child in self._children()):
            raise ValueError(
                "InputNode handles user dynamic input the DAG, and cannot be used as args, kwargs, or "
                "other_args_to_resolve in ClassNode constructor because it is not available at class construction or "
                "binding time."
            )

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._actor_class.remote(*self._bound_args, **self._bound_kwargs)

    def __getattr__(self, name: str) -> Any:
        actor_class = self.__dict__.get("_actor_class")
        if actor_class is None or (name == "bind" and not hasattr(actor_class.__ray_actor_class__, "bind")):
            return super().__getattr__(name)
        getattr(actor_class.__ray_actor_class__, name)  # AttributeError when there is no such method
        return _UnboundMethod(self, name)

    def _title(self) -> str:
        return str(self._actor_class.__name__)


class _UnboundMethod:
    """A method of a class node; has ``bind`` and ``options``."""

    def __init__(self, class_node: ClassNode, name: str, options: Mapping[str, Any] | None = None) -> None:
        self._class_node = class_node
        self._name = name
        self._options = options or {}

    def options(self, **options: Any) -> _UnboundMethod:
        """Return the method with options for its call."""
        return _UnboundMethod(self._class_node, self._name, options)

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """Return the node of a call, which runs after those that were bound before."""
        others = {_PARENT: self._class_node, _PREVIOUS: self._class_node._last_call}
        node = ClassMethodNode(self._name, args, kwargs, self._options, others)
        self._class_node._last_call = node
        return node

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(
                ".remote() cannot be used on ClassMethodNodes. Use .bind() instead to express an symbolic actor call."
            )
        raise AttributeError(f"a method of a class node has no attribute {name!r}")


class ClassMethodNode(DAGNode):
    """A call of a method of an actor, or one of its several results.

    Args:
        method_name: The method.
        method_args: Arguments by position.
        method_kwargs: Arguments by name.
        method_options: Of the call.
        other_args_to_resolve: The actor or its node, and the call before.
    """

    def __init__(
        self,
        method_name: str,
        method_args: Sequence[Any],
        method_kwargs: Mapping[str, Any],
        method_options: Mapping[str, Any],
        other_args_to_resolve: Mapping[str, Any],
    ) -> None:
        """Make the node; see the class."""
        self._method_name = method_name
        self._class_method_call = method_args[0] if other_args_to_resolve.get(_IS_OUTPUT) else None
        self._output_index = method_args[1] if other_args_to_resolve.get(_IS_OUTPUT) else None
        super().__init__(method_args, method_kwargs, method_options, other_args_to_resolve)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._output_index is not None:
            return self._bound_args[0][self._output_index]
        method = getattr(self._bound_other_args_to_resolve[_PARENT], self._method_name)
        return method.options(**self._bound_options).remote(*self._bound_args, **self._bound_kwargs)

    def get_method_name(self) -> str:
        """Return the name of the method."""
        return self._method_name

    @property
    def num_returns(self) -> int:
        """How many results the call gives."""
        call = self._class_method_call
        return int(self._bound_options.get("num_returns") or 1) if call is None else call.num_returns

    @property
    def is_class_method_call(self) -> bool:
        """Whether this is a call."""
        return self._class_method_call is None

    @property
    def is_class_method_output(self) -> bool:
        """Whether this is one of several results of a call."""
        return self._class_method_call is not None

    @property
    def class_method_call(self) -> ClassMethodNode | None:
        """The call that this is a result of; None for a call."""
        return self._class_method_call

    @property
    def output_idx(self) -> int | None:
        """Which of its results this is; None for a call."""
        return self._output_index

    def _title(self) -> str:
        return f"{self._method_name}()"


def bind_method(
    handle: Any, name: str, options: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> ClassMethodNode | tuple[ClassMethodNode, ...]:
    """Return the node of a call of a living actor; of a method with several results a tuple, a node for each.

    Args:
        handle: Of the actor.
        name: Of the method.
        options: Of the call.
        args: Arguments by position.
        kwargs: Arguments by name.
    """
    node = ClassMethodNode(name, args, kwargs, options, {_PARENT: handle, _PREVIOUS: None})
    if node.num_returns <= 1:
        return node
    others = {_IS_OUTPUT: True, _PARENT: handle}
    return tuple(
        ClassMethodNode(f"return_idx_{index}", (node, index), {}, {}, others) for index in range(node.num_returns)
    )
