# runtime_context.py - Ray's module: ``from miniray.runtime_context import get_runtime_context``.
"""What a task or an actor may know of itself."""

from miniray._api.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
