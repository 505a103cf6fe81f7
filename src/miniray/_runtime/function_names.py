# _runtime/function_names.py - what Ray calls the function of a running task: its module and its name.
#
# Source      Ray 2.60.0, python/ray/_private/function_descriptor or python/ray/includes/function_descriptor.pxi.
"""Names of functions, apart from the names of tasks."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from miniray._runtime.concurrency import Runnable


def full_name(function: Any) -> str:
    """Return ``module.function``, of a method ``module.Class.method``; ``__main__`` is called like its file.

    Args:
        function: What the core runs.
    """
    if isinstance(function, Runnable):
        function = function.function
        if not hasattr(function, "__self__"):
            function = getattr(function, "__wrapped__", function)  # generators.stream_of
    named = getattr(function, "__miniray_names__", None)  # of a constructor
    instance = getattr(function, "__self__", None)
    if named is None and instance is not None and not isinstance(instance, types.ModuleType):
        owner = instance if isinstance(instance, type) else type(instance)
        named = owner.__module__, f"{owner.__name__}.{function.__name__}"
    module, name = named or (function.__module__, function.__qualname__)
    if module == "__main__":
        module = os.path.splitext(os.path.basename(sys.argv[0]))[0] or module
    return f"{module}.{name}"
