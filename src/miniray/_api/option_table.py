# _api/option_table.py - name, type, rule and default of every option of a task.
#
# Invariants  P1 names, types, rules, defaults and texts are those of Ray 2.60.0, checked against
#                tests/unit/data/ray_task_options.json.
#             P2 a rule returns the text of a ValueError, or None for a good value; it is asked after the type.
# Source      Ray 2.60.0, python/ray/_common/ray_option_utils.py and _private/label_utils.py.
"""The table of task options: types, rules and defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from miniray._record import Record

__all__ = [
    "RESOURCE_UNIT",
    "STRATEGY_TYPE_NAMES",
    "TASK_OPTIONS",
    "Option",
    "backpressure_problem",
    "count_rule",
]

RESOURCE_UNIT = 10_000
"""Resource quantities are counted in steps of 1/10000."""

STRATEGY_TYPE_NAMES = (
    "PlacementGroupSchedulingStrategy",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
)
"""Classes of Ray whose objects say where a task runs."""

NoneType = type(None)
Rule = Callable[[Any], str | None]


class Option(Record):
    """What one option accepts.

    Attributes:
        types: Accepted types.
        default: Value when it is not given.
        rule: Text of the error for a bad value, None for a good one.
        type_names: Accepted types of Ray that miniray does not have, by name.
        decorator_only: Whether ``.options()`` refuses it.
    """

    types: tuple[type, ...]
    default: Any = None
    rule: Rule | None = None
    type_names: tuple[str, ...] = ()
    decorator_only: bool = False

    def validate(self, keyword: str, value: object) -> None:
        """Check one value.

        Args:
            keyword: Name of the option.
            value: What was given for it.

        Raises:
            TypeError: The value has another type.
            ValueError: The value breaks the rule.
        """
        if not isinstance(value, self.types) and type(value).__name__ not in self.type_names:
            raise TypeError(f"The type of keyword '{keyword}' must be {self.types}, but received type {type(value)}")
        problem = None if self.rule is None else self.rule(value)
        if problem:
            raise ValueError(problem)


def count_rule(name: str, *, infinite: bool) -> Rule:
    """Return the rule of a count; -1 is for ever where ``infinite``."""

    def rule(value: int | None) -> str | None:
        if value is None or value >= (-1 if infinite else 0):
            return None
        if infinite:
            return f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, where -1 represents infinity."
        return f"The keyword '{name}' only accepts None, 0 or a positive integer."

    return rule


def _quantity_problem(name: str, quantity: float) -> str | None:
    """Return what is wrong with a quantity of a resource."""
    if isinstance(quantity, float) and not math.isfinite(quantity):
        return f"The quantity of resource {name} must be a finite number, not {quantity}"
    if quantity < 0:
        return f"The quantity of resource {name} cannot be negative"
    if isinstance(quantity, float) and quantity != 0.0 and int(quantity * RESOURCE_UNIT) == 0:
        return f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001"
    return None


def _quantity(name: str) -> Rule:
    """Return the rule of an option that is a quantity of a resource."""

    def rule(value: float | None) -> str | None:
        return None if value is None else _quantity_problem(name, value)

    return rule


def _resources_problem(resources: dict[Any, Any] | None) -> str | None:
    """Return what is wrong with ``resources=``."""
    if resources is None:
        return None
    if "CPU" in resources or "GPU" in resources:
        return "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
    for name, quantity in resources.items():
        if not isinstance(name, str) or not isinstance(quantity, int | float):
            raise TypeError(
                f"The keyword 'resources' maps names (str) to quantities (int or float), not {name!r} to {quantity!r}"
            )
        problem = _quantity_problem(name, quantity)
        if problem:
            return problem
    return None


def _num_returns_problem(value: int | str | None) -> str | None:
    """Return what is wrong with ``num_returns=``."""
    if value is None or value in ("dynamic", "streaming"):
        return None
    if isinstance(value, str):
        # Ray compares the word with 0, which is a TypeError too, without a word on what would be right.
        raise TypeError(
            f"The keyword 'num_returns' accepts a non-negative integer, 'streaming', 'dynamic' or None, not {value!r}"
        )
    if value >= 0:
        return None
    return (
        "Default None. When None is passed, The default value is 1 for a task and actor task, and 'streaming' for "
        "generator tasks and generator actor tasks. The keyword 'num_returns' only accepts None, a non-negative "
        "integer, 'streaming' (for generators), or 'dynamic'. 'dynamic' flag will be deprecated in the future, and it "
        "is recommended to use 'streaming' instead."
    )


def _retry_exceptions_problem(value: bool | list[Any] | tuple[Any, ...]) -> str | None:
    """Return what is wrong with ``retry_exceptions=``."""
    if isinstance(value, bool) or all(isinstance(each, type) and issubclass(each, Exception) for each in value):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def backpressure_problem(value: int | None) -> str | None:
    """Return what is wrong with ``_generator_backpressure_num_objects=``."""
    if value != 0:
        return None
    return (
        "_generator_backpressure_num_objects=0 is not allowed. Use a value > 0. If the value is equal to 1, the "
        "behavior is identical to Python generator (generator 1 object whenever `next` is called). Use -1 to disable "
        "this feature. "
    )


def _objects_per_yield_problem(value: int | None) -> str | None:
    """Return what is wrong with ``_num_objects_per_yield=``."""
    if value is None or value > 0:
        return None
    return "_num_objects_per_yield is a private streaming generator option that must be set to a positive integer."


def _object_store_memory_problem(value: int | None) -> str | None:
    """Return that ``object_store_memory=`` is not for tasks."""
    return None if value is None else "Setting 'object_store_memory' is not implemented for tasks"


_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_PREFIX = rf"({_LABEL})?(\.({_LABEL})?)*"
_LABEL_SELECTOR = rf"!?(in)?\({_LABEL}(, ?{_LABEL})*\)|!?{_LABEL}"
_LABEL_SYNTAX = (
    "must be 63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) with dashes (-), "
    "underscores (_),dots (.), and alphanumerics between."
)


def label_selector_problem(selector: dict[Any, Any] | None) -> str | None:
    """Return what is wrong with ``label_selector=``: Kubernetes' syntax of labels, values with ``!`` and ``in(...)``.

    Args:
        selector: Names of labels and what their values must be.
    """
    import re

    for key, value in (selector or {}).items():
        if not isinstance(key, str) or not isinstance(value, str | None):
            raise TypeError(f"label_selector maps names (str) to values (str), not {key!r} to {value!r}")
        prefix, slash, name = key.rpartition("/")
        if slash and (len(prefix) > 253 or not re.fullmatch(_LABEL_PREFIX, prefix)):
            return (
                f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels separated by dots (.), "
                "not longer than 253 characters in total."
            )
        if len(name) > 63 or not re.fullmatch(_LABEL, name):
            return f"Invalid label key name `{name}`. Name {_LABEL_SYNTAX}"
        if value and not re.fullmatch(_LABEL_SELECTOR, value):
            return (
                f"Invalid label selector value `{value}`. The label selector value should contain optional operators "
                f"and a label value. Supported operators are: ! and {{'in'}}. Value {_LABEL_SYNTAX}"
            )
    return None


def _fallback_strategy_problem(strategies: list[Any] | None) -> str | None:
    """Return what is wrong with ``fallback_strategy=``."""
    for strategy in strategies or ():
        if not isinstance(strategy, dict):
            return "Each element in fallback_strategy must be a dictionary."
        if not strategy:
            return "Empty dictionary found in `fallback_strategy`."
        for option in strategy:
            if option != "label_selector":
                return f"Unsupported option found: '{option}'. Only ['label_selector'] is currently supported."
        selector = strategy["label_selector"]
        if selector:
            if not isinstance(selector, dict):
                return 'The value of "label_selector" must be a dictionary.'
            problem = label_selector_problem(selector)
            if problem:
                return problem
    return None


_QUANTITY_TYPES = (float, int, NoneType)

TASK_OPTIONS: dict[str, Option] = {
    "label_selector": Option((dict, NoneType), rule=label_selector_problem),
    "fallback_strategy": Option((list, NoneType), rule=_fallback_strategy_problem),
    "accelerator_type": Option((str, NoneType)),
    "memory": Option(_QUANTITY_TYPES, rule=_quantity("memory")),
    "name": Option((str, NoneType)),
    "num_cpus": Option(_QUANTITY_TYPES, default=1, rule=_quantity("num_cpus")),
    "num_gpus": Option(_QUANTITY_TYPES, rule=_quantity("num_gpus")),
    "object_store_memory": Option((int, NoneType), rule=_object_store_memory_problem),
    "placement_group": Option((NoneType, str), default="default", type_names=("PlacementGroup",)),
    "placement_group_bundle_index": Option((int,), default=-1),
    "placement_group_capture_child_tasks": Option((bool, NoneType)),
    "resources": Option((dict, NoneType), rule=_resources_problem),
    "runtime_env": Option((dict, NoneType)),
    "scheduling_strategy": Option((NoneType, str), type_names=STRATEGY_TYPE_NAMES),
    "enable_task_events": Option((bool,), default=True),
    "_labels": Option((dict, NoneType)),
    "max_calls": Option((int, NoneType), default=0, rule=count_rule("max_calls", infinite=False), decorator_only=True),
    "max_retries": Option((int, NoneType), default=3, rule=count_rule("max_retries", infinite=True)),
    "num_returns": Option((int, str, NoneType), rule=_num_returns_problem),
    "retry_exceptions": Option((bool, list, tuple), default=False, rule=_retry_exceptions_problem),
    "_generator_backpressure_num_objects": Option((int, NoneType), rule=backpressure_problem),
    "_num_objects_per_yield": Option((int, NoneType), default=1, rule=_objects_per_yield_problem),
}
