# _api/deprecation.py - the warning about what Ray is going to remove.
"""RayDeprecationWarning; public in ``miniray.util.annotations``."""

from __future__ import annotations

__all__ = ["RayDeprecationWarning"]


class RayDeprecationWarning(DeprecationWarning):
    """Something of Ray's API that will go."""


RayDeprecationWarning.__module__ = "miniray.util.annotations"
