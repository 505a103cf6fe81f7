# _api/actors.py - kill, get_actor, method.
"""Functions of the top level that are about actors."""

from __future__ import annotations

from typing import Any

from miniray import _miniray_core as core
from miniray._api.actor_class import find_actor, list_named
from miniray._api.actor_handle import ActorHandle
from miniray._api.actor_options import check_num_returns
from miniray._runtime import namespace as namespaces

_METHOD_KEYWORDS = (
    "num_returns",
    "concurrency_group",
    "max_task_retries",
    "retry_exceptions",
    "_generator_backpressure_num_objects",
    "_num_objects_per_yield",
    "enable_task_events",
    "tensor_transport",
)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once, without its exit handlers; running and later calls give RayActorError.

    Args:
        actor: Its handle.
        no_restart: False: it is started again as after a crash, if it has restarts left.

    Raises:
        ValueError: Not the handle of an actor.
        OSError: Its process could not be told, as when this one has no file descriptor left: kill it again.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}.")
    core._kill_actor(actor._ref, not no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """Return the handle of a named actor; it does not keep the actor alive.

    Args:
        name: Given as ``Class.options(name=...)``.
        namespace: Where it lives; None: this session's.

    Raises:
        ValueError: No such actor lives, or the name is empty.
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError("namespace must be None or a string.")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    core._require_session()
    found = find_actor(name, namespace or namespaces.current())
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a named "
            "actor you didn't create. 2. The named actor died. 3. You did not use a namespace matching the "
            "namespace of the actor."
        )
    return found


def list_names(all_namespaces: bool) -> list[Any]:
    """Return what ``miniray.util.list_named_actors`` does."""
    core._require_session()
    if all_namespaces:
        return [{"namespace": namespace, "name": name} for namespace, name in list_named()]
    return [name for namespace, name in list_named() if namespace == namespaces.current()]


def method(*args: Any, **kwargs: Any) -> Any:
    """Set options of a method of an actor class: ``@method(num_returns=2)``.

    Args:
        *args: The method, when used without options.
        **kwargs: ``num_returns``, ``max_task_retries``, ``retry_exceptions`` and more as in Ray.

    Raises:
        AssertionError: An unknown option; the type that Ray raises.
        ValueError: ``num_returns`` is negative, or ``"streaming"`` for a function that yields nothing.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return args[0]
    unknown = [keyword for keyword in kwargs if keyword not in _METHOD_KEYWORDS]
    if args or unknown:
        raise AssertionError(
            "The @ray.method decorator must be applied using no arguments or at least one of the arguments in the list "
            f"{list(_METHOD_KEYWORDS)}, for example '@ray.method(num_returns=2)'."
            + (f" Unexpected: {unknown}." if unknown else "")
        )

    def annotate(function: Any) -> Any:
        if "num_returns" in kwargs:
            import inspect  # it takes long to import

            is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
            check_num_returns(kwargs["num_returns"], is_generator)
        function.__ray_method_options__ = dict(kwargs)
        return function

    return annotate
