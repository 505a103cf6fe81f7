# util/joblib - Ray's module: ``from miniray.util.joblib import register_ray``.
"""joblib, and with it scikit-learn, on miniray."""

from __future__ import annotations

__all__ = ["register_miniray", "register_ray"]


def register_ray() -> None:
    """Let joblib know the backend ``"ray"``: ``with joblib.parallel_backend("ray"): ...``.

    Raises:
        ImportError: joblib is not installed.
    """
    _register("ray")


def register_miniray() -> None:
    """Do the same under the name ``"miniray"``.

    Raises:
        ImportError: joblib is not installed.
    """
    _register("miniray")


def _register(name: str) -> None:
    try:
        import joblib
    except ImportError as error:
        raise ImportError(
            f"The joblib backend {name!r} needs joblib: pip install 'miniray[joblib]', or pip install joblib."
        ) from error
    from miniray.util.joblib.ray_backend import RayBackend

    joblib.register_parallel_backend(name, RayBackend)
