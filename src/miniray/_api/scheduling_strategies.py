# _api/scheduling_strategies.py - where tasks and actors are to run: placement groups; nodes and labels, of which this
# machine is the only one.
#
# Invariants  G1 what Ray refuses when a strategy is made is refused here, with the same error.
# Source      Ray 2.60.0, python/ray/util/scheduling_strategies.py.
"""Scheduling strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray._api.ids import NodeID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.placement_groups import PlacementGroup


class PlacementGroupSchedulingStrategy:
    """Run in a placement group.

    Args:
        placement_group: The group; None for none.
        placement_group_bundle_index: Which of its bundles; -1: whichever has room.
        placement_group_capture_child_tasks: Whether tasks and actors that are made there belong to the group, too.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        """Keep what is given; see the class."""
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """Run on that machine: this one, or a task or an actor that can never be placed.

    Args:
        node_id: Its id, as ``nodes()`` and ``get_runtime_context().get_node_id()`` tell it.
        soft: Whether another machine will do.

    Raises:
        ValueError: No id of a node, or options that contradict each other.
    """

    def __init__(
        self, node_id: str, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ) -> None:
        """Keep what is given; see the class."""
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            is_nil = NodeID.from_hex(self.node_id).is_nil()
        except ValueError:
            is_nil = True
        if is_nil:
            raise ValueError(
                f"Invalid node_id '{self.node_id}'. Node ID must be a valid hex string. To get a list of all nodes and "
                "their IDs in your cluster, use ray.nodes()."
            )
        if _spill_on_unavailable and not soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False. Please set soft to True to use "
                "_spill_on_unavailable."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True. Please set soft to False to use "
                "_fail_on_unavailable."
            )


class In:
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        """Keep the values."""
        _check_values(values, "In")
        self.values = list(values)


class NotIn:
    """The label has none of these values."""

    def __init__(self, *values: str) -> None:
        """Keep the values."""
        _check_values(values, "NotIn")
        self.values = list(values)


class Exists:
    """The label is there."""

    def __init__(self) -> None:
        """Make one."""


class DoesNotExist:
    """The label is not there."""

    def __init__(self) -> None:
        """Make one."""


class _LabelMatchExpression:
    def __init__(self, key: str, operator: In | NotIn | Exists | DoesNotExist) -> None:
        self.key = key
        self.operator = operator


class NodeLabelSchedulingStrategy:
    """Run on a machine with certain labels: checked as in Ray, then ignored, as there is one machine.

    Args:
        hard: What must hold, by label.
        soft: What should.

    Raises:
        ValueError: Neither is given, or no labels and operators.
    """

    def __init__(
        self,
        hard: Mapping[str, In | NotIn | Exists | DoesNotExist],
        *,
        soft: Mapping[str, In | NotIn | Exists | DoesNotExist] | None = None,
    ) -> None:
        """Keep what is given; see the class."""
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not (self.hard or self.soft):
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")


def _check_values(values: tuple[Any, ...], operator: str) -> None:
    if not values:
        raise ValueError(
            f"The variadic parameter of the {operator} operator must be a non-empty tuple: e.g. "
            f'{operator}("value1", "value2").'
        )
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {position} for the {operator} operator must be str (e.g. "
                f'{operator}("value1", "value2")) but got {value} of type {type(value)}.'
            )


def _expressions(given: object, parameter: str) -> list[_LabelMatchExpression]:
    if given is None:
        return []
    if not isinstance(given, dict):
        raise ValueError(
            f'The {parameter} parameter must be a map (e.g. {{"key1": In("value1")}}) but got type {type(given)}.'
        )
    for key, value in given.items():
        if not isinstance(key, str):
            raise ValueError(
                f'The map key of the {parameter} parameter must be of type str (e.g. {{"key1": In("value1")}}) but got '
                f"{key} of type {type(key)}."
            )
        if not isinstance(value, In | NotIn | Exists | DoesNotExist):
            raise ValueError(
                f"The map value for key {key} of the {parameter} parameter must be one of the `In`, `NotIn`, `Exists` "
                f'or `DoesNotExist` operator (e.g. {{"key1": In("value1")}}) but got {value} of type {type(value)}.'
            )
    return [_LabelMatchExpression(key, value) for key, value in given.items()]
