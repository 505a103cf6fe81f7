# _api/actor_options.py - the options of an actor: checked, and turned into demands of resources.
#
# Invariants  options.py O1 to O3.
# Source      Ray 2.60.0, python/ray/_common/ray_option_utils.py, python/ray/actor.py.
"""Validate and resolve the options of ``@remote`` and ``.options()`` for actor classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray._api.environments import check_option
from miniray._api.option_table import (
    TASK_OPTIONS,
    Option,
    backpressure_problem,
    count_rule,
)
from miniray._api.options import (
    TaskDemand,
    check_generator,
    check_placement_group,
    resolve_demand,
)
from miniray._api.unsupported import raise_later
from miniray._api.warn_once import warn_once
from miniray._runtime.concurrency import Concurrency

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_NoneType = type(None)
_ASYNC_LIMIT = 1000


def _concurrency_problem(value: int | None) -> str | None:
    return None if value is None or value >= 0 else "max_concurrency must be None or an integer of at least 0"


def _lifetime_problem(value: str | None) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


def _name_problem(value: str | None) -> str | None:
    return "Actor name cannot be an empty string." if value == "" else None


def _namespace_problem(value: str | None) -> str | None:
    return '"" is not a valid namespace. Pass None to not specify a namespace.' if value == "" else None


_SHARED = (
    "label_selector",
    "fallback_strategy",
    "accelerator_type",
    "memory",
    "num_gpus",
    "placement_group",
    "placement_group_bundle_index",
    "placement_group_capture_child_tasks",
    "resources",
    "runtime_env",
    "scheduling_strategy",
    "enable_task_events",
    "_labels",
)

ACTOR_OPTIONS: dict[str, Option] = {
    **{name: TASK_OPTIONS[name] for name in _SHARED},
    "num_cpus": Option((float, int, _NoneType), rule=TASK_OPTIONS["num_cpus"].rule),
    "object_store_memory": Option((int, _NoneType)),
    "name": Option((str, _NoneType), rule=_name_problem),
    "namespace": Option((str, _NoneType), rule=_namespace_problem),
    "lifetime": Option((str, _NoneType), rule=_lifetime_problem),
    "get_if_exists": Option((bool,), default=False),
    "max_concurrency": Option((int, _NoneType), rule=_concurrency_problem),
    "max_pending_calls": Option((int, _NoneType), default=-1, rule=count_rule("max_pending_calls", infinite=True)),
    "max_restarts": Option((int, _NoneType), default=0, rule=count_rule("max_restarts", infinite=True)),
    "max_task_retries": Option((int, _NoneType), default=0, rule=count_rule("max_task_retries", infinite=True)),
    "concurrency_groups": Option((dict, list, _NoneType), decorator_only=True),
    "allow_out_of_order_execution": Option((bool, _NoneType)),
    "enable_tensor_transport": Option((bool, _NoneType)),
    "_actor_generator_backpressure_num_objects": Option((int, _NoneType), rule=backpressure_problem),
}
"""The table of actor options: types, rules and defaults."""


def validate_actor_options(options: Mapping[str, Any], given_in_options: Collection[str] = ()) -> None:
    """Check the options of an actor.

    Args:
        options: Name and value of each option given.
        given_in_options: Names of those that came through ``.options()``, not the decorator.

    Raises:
        ValueError: An option does not exist or has a bad value.
        TypeError: A value has a wrong type.
        UnsupportedFeatureError: Right in Ray, but not in this release of miniray.
    """
    for keyword, value in options.items():
        option = ACTOR_OPTIONS.get(keyword)
        if option is None:
            raise ValueError(f"Invalid option keyword {keyword} for actors. Valid ones are {list(ACTOR_OPTIONS)}.")
        option.validate(keyword, value)
    for keyword in given_in_options:
        if ACTOR_OPTIONS[keyword].decorator_only:
            raise ValueError(f"Setting '{keyword}' is not supported in '.options()'.")
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    check_placement_group(options)
    check_option(options.get("runtime_env"))
    if options.get("enable_tensor_transport"):
        raise_later("the actor option enable_tensor_transport")
    _check_groups(options.get("concurrency_groups"))
    if options.get("object_store_memory"):
        warn_once("object_store_memory", "object_store_memory of an actor is accepted and ignored, as in Ray.")


def _check_groups(groups: object) -> None:
    if not groups:
        return
    if not isinstance(groups, dict):
        raise TypeError(f"concurrency_groups must be a dict of names and limits, got {type(groups)}")
    for name, limit in groups.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"The name of a concurrency group must be a string that is not empty, got {name!r}")
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"The limit of the concurrency group {name!r} must be an integer above 0, got {limit!r}")


def resolve_concurrency(actor_class: type, options: Mapping[str, Any]) -> Concurrency:
    """Return how many calls of an actor run at once, and where.

    One ``async def`` makes all methods run in event loops, a thousand at once without ``max_concurrency``.

    Args:
        actor_class: As the user wrote it.
        options: Options that passed :func:`validate_actor_options`.
    """
    import inspect  # it takes long to import

    members = inspect.getmembers(actor_class, inspect.isroutine)
    is_async = any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for _, each in members)
    limit = options.get("max_concurrency") or (_ASYNC_LIMIT if is_async else 1)
    return Concurrency(is_async, limit, dict(options.get("concurrency_groups") or {}))


def check_num_returns(num_returns: object, is_generator: bool) -> None:
    """Check how many results calls of a method give.

    Args:
        num_returns: The option.
        is_generator: Whether the method yields.

    Raises:
        ValueError: It is negative, or a stream is wanted of a method that yields nothing.
    """
    if isinstance(num_returns, int) and num_returns < 0:
        raise ValueError(f"num_returns must be >= 0, but got {num_returns}.")
    check_generator(num_returns, is_generator)


def resolve_actor_demands(options: Mapping[str, Any]) -> tuple[TaskDemand, TaskDemand]:
    """Return what an actor needs to be placed and what it holds while it lives.

    Without ``num_cpus``: one CPU to be placed and none afterwards; with a GPU or a custom resource one for life, as in
    Ray.

    Args:
        options: Options that passed :func:`validate_actor_options`.
    """
    if options.get("num_cpus") is not None:
        demand = resolve_demand(options)
        return demand, demand
    given = {name: value for name, value in options.items() if name != "num_cpus"}
    one = resolve_demand({**given, "num_cpus": 1})
    if one.gpu_units or one.custom_units:
        return one, one
    return one, resolve_demand({**given, "num_cpus": 0})
