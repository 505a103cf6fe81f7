# dag/ - Ray's module of task graphs: ``from miniray.dag import InputNode``.
"""Task graphs: ``f.bind(...)`` builds, ``.execute(...)`` makes the calls."""

from __future__ import annotations

from miniray._api.dag.calls import ClassMethodNode, ClassNode, FunctionNode
from miniray._api.dag.inputs import DAGInputData, InputAttributeNode, InputNode, MultiOutputNode
from miniray._api.dag.node import DAGNode

__all__ = [
    "ClassMethodNode",
    "ClassNode",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
]
