# dag/output_node.py - where Ray defines these; only a re-export.
"""Re-exports of ``miniray.dag``."""

from __future__ import annotations

from miniray.dag import MultiOutputNode

__all__ = ["MultiOutputNode"]
