# _api/places.py - where a task or an actor is to run: what its options and the task that makes it say, for the core.
#
# Invariants  L1 the errors belong to the call: Ray raises them from .remote().
#             L2 what is captured depends on who calls: the core prepares a function again when that has changed.
# Source      Ray 2.60.0, python/ray/remote_function.py, actor.py, util/placement_group.py.
"""Placement groups and nodes of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.options import TaskDemand
    from miniray._api.placement_groups import PlacementGroup

_NO_SUCH_NODE = 7  # scheduler.hpp DeathCause


class Place(Record):
    """Where something is to run.

    Attributes:
        group: Id of a placement group; None: anywhere.
        bundle: Which of its bundles; -1: any.
        captures: Whether what is made there belongs to the group, too.
        refusal: Why it can run nowhere, as the core counts causes; 0: it can.
    """

    group: bytes | None = None
    bundle: int = -1
    captures: bool = False
    refusal: int = 0

    def find_shape(self, demand: TaskDemand, environment: int = 0) -> tuple[int, bool]:
        """Return the core's number of a demand at this place, and whether it can ever be met.

        Args:
            demand: What is to be there.
            environment: Number of the runtime environment of the worker.
        """
        return core._find_shape(demand.units(), environment, self.group, self.bundle, self.captures)


def resolve_place(
    options: Mapping[str, Any], what: str, demand: TaskDemand, placing: TaskDemand | None = None
) -> Place:
    """Return where a task or an actor is to run.

    Args:
        options: Its options, checked.
        what: Its name, for errors.
        demand: What it holds.
        placing: What placing an actor takes, if that is more.

    Raises:
        ValueError: The group has no such bundle, or none that is large enough.
    """
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    bundle = options.get("placement_group_bundle_index", -1)
    is_plain = strategy is None and bundle == -1 and isinstance(group, str | None)
    if isinstance(strategy, str) or (is_plain and core._current_placement() is None):
        return Place()
    return _resolve_group(options, what, demand, placing)


def _resolve_group(options: Mapping[str, Any], what: str, demand: TaskDemand, placing: TaskDemand | None) -> Place:
    from miniray._api.ids import PlacementGroupID  # few programs say where
    from miniray._api.placement_groups import PlacementGroup, check_placement_group_index
    from miniray._api.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy
    from miniray._runtime.ids import node_id

    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, NodeAffinitySchedulingStrategy):
        is_here = strategy.soft or strategy.node_id == node_id()
        return Place(refusal=0 if is_here else _NO_SUCH_NODE)
    if strategy is None:
        group = options.get("placement_group", "default")
        bundle = options.get("placement_group_bundle_index", -1)
        captures = options.get("placement_group_capture_child_tasks")
    elif isinstance(strategy, PlacementGroupSchedulingStrategy):
        group = strategy.placement_group
        bundle = strategy.placement_group_bundle_index
        captures = strategy.placement_group_capture_child_tasks
    else:
        return Place()
    current = core._current_placement()
    if captures is None:
        captures = current is not None and current[1]
    if group == "default":
        group = PlacementGroup(PlacementGroupID(current[0])) if captures and current is not None else None
    if group is None or group.is_empty:
        check_placement_group_index(PlacementGroup.empty(), bundle)
        return Place()
    check_placement_group_index(group, bundle)
    _check_fit(group, what, demand, placing)
    return Place(group.id.binary(), bundle, bool(captures))


def _check_fit(group: PlacementGroup, what: str, demand: TaskDemand, placing: TaskDemand | None) -> None:
    bundles = group.bundle_specs
    if not _fits_some(demand, bundles):
        raise ValueError(
            f"Cannot schedule {what} with the placement group because the resource request {demand.quantities()} "
            f"cannot fit into any bundles for the placement group, {bundles}."
        )
    if placing is not None and not _fits_some(placing, bundles):
        raise ValueError(
            f"Cannot schedule {what} with the placement group because the actor requires "
            f"{placing.quantities().get('CPU', 0):g} CPU for creation, but it cannot fit into any bundles for the "
            f"placement group, {bundles}. Consider creating a placement group with CPU resources."
        )


def _fits_some(demand: TaskDemand, bundles: list[dict[str, Any]]) -> bool:
    wanted = demand.quantities()
    return any(all(bundle.get(name, 0) >= amount for name, amount in wanted.items()) for bundle in bundles)
