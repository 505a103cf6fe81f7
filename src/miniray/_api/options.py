# _api/options.py - the options of a task: checked, merged, and turned into a demand of resources.
#
# Invariants  O1 what Ray refuses when decorating or calling .options() is refused here, with the same type of error.
#             O2 an option that a later release of miniray will bring is checked as Ray does, then refused by name; an
#                option that only a cluster can honour is checked, then ignored.
#             O3 a demand is exact: integers in steps of 1/10000 of a resource, whole bytes of memory, no zero entries.
# Source      Ray 2.60.0, python/ray/_common/ray_option_utils.py, python/ray/remote_function.py.
"""Validate, merge and resolve the options of ``@remote`` and ``.options()`` for tasks."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from miniray._api.environments import check_option, without_empty
from miniray._api.option_table import RESOURCE_UNIT, TASK_OPTIONS
from miniray._api.warn_once import warn_once
from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEFAULT_TASK_OPTIONS",
    "RESOURCE_UNIT",
    "TaskDemand",
    "default_max_retries",
    "merge_task_options",
    "resolve_demand",
    "resolve_max_calls",
    "validate_task_options",
]

DEFAULT_TASK_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {name: option.default for name, option in TASK_OPTIONS.items()}
)
"""Every option of a task with the value it has when nobody gives one."""

_RESERVED_RESOURCES = ("memory", "object_store_memory")


class TaskDemand(Record):
    """What a task needs before it may run.

    Equal demands are equal and hash alike, so a demand may key a ready queue.

    Attributes:
        cpu_units: CPUs, in steps of 1/10000.
        gpu_units: GPUs, in steps of 1/10000; whole above one.
        memory_bytes: Memory in bytes; bookkeeping only, nothing is limited.
        custom_units: Other resources by name, sorted, in steps of 1/10000.
    """

    cpu_units: int = RESOURCE_UNIT
    gpu_units: int = 0
    memory_bytes: int = 0
    custom_units: tuple[tuple[str, int], ...] = ()

    def units(self) -> dict[str, int]:
        """Return the demand under Ray's names (CPU, GPU, memory, ...), each in steps of 1/10000, without zeros."""
        every = {"CPU": self.cpu_units, "GPU": self.gpu_units, "memory": self.memory_bytes * RESOURCE_UNIT}
        every.update(self.custom_units)
        return {name: units for name, units in every.items() if units}

    def quantities(self) -> dict[str, float]:
        """Return the demand as people write it: ``{"CPU": 0.5, "GPU": 1.0}``, without zeros."""
        return {name: units / RESOURCE_UNIT for name, units in self.units().items()}


def validate_task_options(
    options: Mapping[str, Any],
    in_options: bool,
    is_generator_callable: bool | None = None,
) -> None:
    """Check the options of a task.

    Args:
        options: Name and value of each option given.
        in_options: True for ``.options()``, False for the decorator.
        is_generator_callable: Whether the function is a generator function, None if unknown.

    Raises:
        ValueError: An option does not exist or has a bad value.
        TypeError: A value has a wrong type.
        UnsupportedFeatureError: Right in Ray, but not in this release of miniray.
    """
    for keyword, value in options.items():
        option = TASK_OPTIONS.get(keyword)
        if option is None:
            raise ValueError(
                f"Invalid option keyword {keyword} for remote functions. Valid ones are {list(TASK_OPTIONS)}."
            )
        option.validate(keyword, value)
    for keyword in options:
        if in_options and TASK_OPTIONS[keyword].decorator_only:
            raise ValueError(f"Setting '{keyword}' is not supported in '.options()'.")
    check_placement_group(options)
    check_generator(options.get("num_returns"), is_generator_callable)
    check_option(options.get("runtime_env"))
    if options.get("accelerator_type") is not None:
        warn_once(
            "accelerator_type",
            f"accelerator_type={options['accelerator_type']!r} is accepted and ignored: miniray runs every task on "
            "this machine and does not check the type of its accelerators.",
        )


def merge_task_options(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``f.options(**override)`` for a function decorated with ``base``.

    Args:
        base: Options of the decorator.
        override: Options of the call; they win, key by key.

    Returns:
        A new dict.

    Raises:
        ValueError: ``_num_objects_per_yield`` differs from the decorator's.
    """
    if "_num_objects_per_yield" in override:
        decorated = base.get("_num_objects_per_yield") or 1
        if override["_num_objects_per_yield"] != decorated:
            raise ValueError(
                "_num_objects_per_yield cannot be overridden per task call. Use "
                "@ray.remote(_num_objects_per_yield=...) instead."
            )
    return {**base, **without_empty(override)}


def resolve_demand(options: Mapping[str, Any]) -> TaskDemand:
    """Return what a task with these options needs; without ``num_cpus`` one CPU, with ``num_cpus=None`` none.

    Its errors belong to the call: Ray raises them from ``.remote()``, not when decorating.

    Args:
        options: Options that passed :func:`validate_task_options`.

    Raises:
        ValueError: A name in ``resources`` belongs to another option, a number of GPUs above 1 is not whole, or a word
            for ``scheduling_strategy`` or ``placement_group`` does not exist.
    """
    _check_words(options)
    resources = options.get("resources") or {}
    for name in ("CPU", "GPU"):
        if name in resources:
            raise ValueError("The resources dictionary must not contain the key 'CPU' or 'GPU'")
    for name in _RESERVED_RESOURCES:
        if name in resources:
            raise ValueError("The resources dictionary must not contain the key 'memory' or 'object_store_memory'")
    if "bundle" in resources:
        raise ValueError(f"The resource should not include `bundle` which is reserved for Ray. resources: {resources}")
    gpus = options.get("num_gpus") or 0
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"GPU resource quantities >1 must be whole numbers. The specified quantity {gpus} is invalid.")
    custom = ((name, _to_units(quantity)) for name, quantity in sorted(resources.items()))
    return TaskDemand(
        cpu_units=_to_units(options.get("num_cpus", TASK_OPTIONS["num_cpus"].default) or 0),
        gpu_units=_to_units(gpus),
        memory_bytes=int(options.get("memory") or 0),
        custom_units=tuple((name, units) for name, units in custom if units),
    )


def default_max_retries() -> int:
    """Return how often a task is started again after its worker died, unless it says so itself.

    The environment variable ``RAY_TASK_MAX_RETRIES`` changes it; it is read at each call, as in Ray.

    Raises:
        ValueError: The variable is not an integer.
    """
    return int(os.environ.get("RAY_TASK_MAX_RETRIES", TASK_OPTIONS["max_retries"].default))


def resolve_max_calls(options: Mapping[str, Any]) -> int:
    """Return after how many runs of the function its worker exits, 0 for never.

    Args:
        options: Options of the decorator; a function that asks for GPUs and does not say runs once per worker.
    """
    max_calls = options.get("max_calls")
    if max_calls is None:
        return 1 if (options.get("num_gpus") or 0) > 0 else 0
    return int(max_calls)


def _to_units(quantity: float) -> int:
    """Return a quantity in steps of 1/10000, rounded down, free of binary noise (0.0003 is 3, not 2)."""
    if isinstance(quantity, int):
        return quantity * RESOURCE_UNIT
    return int(round(quantity * RESOURCE_UNIT, 4))


def check_placement_group(options: Mapping[str, Any]) -> None:
    """Refuse both spellings of a placement group at once."""
    group = options.get("placement_group", "default")
    if group not in ("default", None) and options.get("scheduling_strategy") is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. The placement_group option is "
            "deprecated."
        )


def _check_words(options: Mapping[str, Any]) -> None:
    """Refuse words that name no strategy and no placement group."""
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, str) and strategy not in ("DEFAULT", "SPREAD"):
        raise ValueError(
            f'Invalid scheduling_strategy value {strategy}. Valid values are ["DEFAULT" | "SPREAD" | '
            "PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy]"
        )
    group = options.get("placement_group", "default")
    if isinstance(group, str) and group != "default":
        raise ValueError(f"Invalid placement_group {group!r}: it is a PlacementGroup, None or 'default'.")


def check_generator(num_returns: object, is_generator_callable: bool | None) -> None:
    """Refuse a stream of results from a function that has only one."""
    if is_generator_callable is False and num_returns in ("streaming", "dynamic"):
        raise ValueError(
            f"num_returns='{num_returns}' can only be used with generator functions (functions that use 'yield'). The "
            "decorated function is not a generator function."
        )
