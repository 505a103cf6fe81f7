# _api/cancel.py - cancel.
"""Tasks that are not wanted any more."""

from __future__ import annotations

from typing import Any

from miniray import _miniray_core as core
from miniray._api.object_ref_generator import ObjectRefGenerator
from miniray._miniray_core import ObjectRef


def cancel(ray_waitable: ObjectRef[Any] | ObjectRefGenerator, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task or the call of an actor that makes an object.

    One that has not begun never runs. In a task that runs, ``KeyboardInterrupt`` is raised in the main thread of its
    worker: what it returns or raises then is its result. In a coroutine of an async actor ``asyncio.CancelledError`` is
    raised; another method that runs is let finish. Their refs then raise TaskCancelledError, and so do those of tasks
    that have them as arguments. A finished task stays what it is. Nothing that is cancelled is tried again. Returns at
    once.

    Args:
        ray_waitable: A result of the task, or its generator.
        force: End the worker of a running task.
        recursive: Also what the running task has started.

    Raises:
        TypeError: Neither an ObjectRef nor an ObjectRefGenerator.
        ValueError: ``force`` of a call of an actor, or a ref of an earlier session.
        OSError: Its worker could not be told, as when this process has no file descriptor left: cancel it again.
    """
    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if not isinstance(ray_waitable, ObjectRef):
        raise TypeError(
            f"ray.cancel() only supported for object refs. For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    core._require_session()
    core._cancel(ray_waitable, force, recursive)
