# dag/input_node.py - where Ray defines these; only a re-export.
"""Re-exports of ``miniray.dag``."""

from __future__ import annotations

from miniray.dag import DAGInputData, InputAttributeNode, InputNode

__all__ = ["DAGInputData", "InputAttributeNode", "InputNode"]
