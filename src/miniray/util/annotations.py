# util/annotations.py - Ray's marks on parts of an API, for libraries that put them on their own.
"""Decorators that say how stable a class or function is."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

from miniray._api.deprecation import RayDeprecationWarning

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deprecated", "DeveloperAPI", "PublicAPI", "RayDeprecationWarning"]


def PublicAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a class or function as public: ``@PublicAPI`` or ``@PublicAPI(stability="alpha")``.

    Args:
        *args: The class or function, when used without options.
        **kwargs: ``stability`` (``"stable"``, ``"beta"``, ``"alpha"``), ``api_group``.

    Raises:
        ValueError: Another stability.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return PublicAPI(stability="stable")(args[0])
    stability = kwargs.get("stability", "stable")
    if stability not in ("stable", "beta", "alpha"):
        raise ValueError(f"stability must be 'stable', 'beta' or 'alpha', not {stability!r}")
    return _marker("PublicAPI")


def DeveloperAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a class or function as made for libraries: ``@DeveloperAPI`` or ``@DeveloperAPI()``.

    Args:
        *args: The class or function, when used without brackets.
        **kwargs: None are known.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return DeveloperAPI()(args[0])
    return _marker("DeveloperAPI")


def Deprecated(*args: Any, **kwargs: Any) -> Any:
    """Mark a class or function as one that will go: ``@Deprecated`` or ``@Deprecated(message="...", warning=True)``.

    Args:
        *args: The class or function, when used without options.
        **kwargs: ``message``; ``warning``: whether each use gives a RayDeprecationWarning.

    Raises:
        ValueError: Another option.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return Deprecated()(args[0])
    unknown = set(kwargs) - {"message", "warning"}
    if unknown:
        raise ValueError(f"Unknown kwargs: {sorted(unknown)}")
    message = kwargs.get("message", "This API is deprecated and may be removed in a future release.")

    def mark(marked: Any) -> Any:
        if kwargs.get("warning"):
            marked = _warning(marked, message)
        return _marker("Deprecated")(marked)

    return mark


def _marker(kind: str) -> Callable[[Any], Any]:
    def mark(marked: Any) -> Any:
        marked._annotated = marked.__name__
        marked._annotated_type = kind
        return marked

    return mark


def _warning(marked: Any, message: str) -> Any:
    """Return the function, or the class with its ``__init__``, so that each use warns."""
    function = marked.__init__ if inspect.isclass(marked) else marked

    @functools.wraps(function)
    def warn(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(message, RayDeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    if not inspect.isclass(marked):
        return warn
    setattr(marked, "__init__", warn)  # noqa: B010 - a method cannot be assigned, says mypy
    return marked
