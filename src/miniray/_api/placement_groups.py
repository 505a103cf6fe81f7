# _api/placement_groups.py - placement groups: bundles of resources that are kept for the tasks and actors of a group.
#
# Invariants  P1 a handle is a value: it names the group, and does not keep it.
#             P2 a group lives until it is removed, or the session ends.
# Source      Ray 2.60.0, python/ray/util/placement_group.py.
"""Placement groups."""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

from miniray import _miniray_core as core
from miniray._api import cluster
from miniray._api.ids import NodeID, PlacementGroupID
from miniray._api.option_table import RESOURCE_UNIT
from miniray._api.placement_checks import (
    NODE_LABEL,
    VALID_PLACEMENT_GROUP_STRATEGIES,
    bundle_units,
    check_bundles,
    check_selectors,
    check_strategy,
)
from miniray._record import Record
from miniray._runtime import log
from miniray._runtime import namespace as namespaces
from miniray._runtime.digest import digest
from miniray._runtime.ids import node_id
from miniray.exceptions import RaySystemError, TaskPlacementGroupRemoved

__all__ = [
    "VALID_PLACEMENT_GROUP_STRATEGIES",
    "GroupFacts",
    "PlacementGroup",
    "all_groups",
    "check_placement_group_index",
    "get_current_placement_group",
    "get_placement_group",
    "group_resources",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

_CLAIM_PAUSE_SECONDS = 0.0005
_PLACED = 3  # placement_entry.hpp PlacementState


class _Description(Record):
    """What is known of a group; travels in an object that the group keeps."""

    name: str
    namespace: str
    strategy: str
    bundles: list[dict[str, float]]


class GroupFacts(Record):
    """A group as it is now.

    Attributes:
        id: Of the group.
        is_placed: Whether it has its resources.
        name: Empty for none.
        namespace: Where it was made.
        strategy: As given.
        bundles: As given.
        amounts: Of each bundle, by resource: how much it has, and how much of that nobody uses just now; in steps.
    """

    id: PlacementGroupID
    is_placed: bool
    name: str
    namespace: str
    strategy: str
    bundles: list[dict[str, float]]
    amounts: list[dict[str, tuple[int, int]]]


def all_groups() -> list[GroupFacts]:
    """Return the groups of this session that are not removed."""
    found = []
    for id_bytes, state, description_ref, amounts in core._placement_groups():
        known: _Description = pickle.loads(core._read_bytes(description_ref))
        found.append(
            GroupFacts(
                PlacementGroupID(id_bytes),
                state == _PLACED,
                known.name,
                known.namespace,
                known.strategy,
                known.bundles,
                amounts,
            )
        )
    return found


def _facts(group_id: PlacementGroupID) -> GroupFacts | None:
    return next((each for each in all_groups() if each.id == group_id), None)


class PlacementGroup:
    """A handle of a placement group; may travel and be compared.

    Args:
        id: Of the group.
        bundle_cache: Its bundles, if they are known.
    """

    @staticmethod
    def empty() -> PlacementGroup:
        """Return the handle of no group."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, Any]] | None = None) -> None:  # noqa: A002
        """Make a handle; see the class."""
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        """Whether it names no group."""
        return self.id.is_nil()

    def ready(self) -> core.ObjectRef[Any]:
        """Return a ref of this handle that is there when the group has its resources.

        Of a group that is removed before, ``get`` raises TaskPlacementGroupRemoved.
        """
        core._require_session()
        if self.is_empty:
            return core._put(self)
        ref = core._placement_ready(self.id.binary())
        return core._put(TaskPlacementGroupRemoved()) if ref is None else ref

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Return whether the group got its resources in time.

        Args:
            timeout_seconds: How long to wait at most.

        Raises:
            Exception: The group is removed.
        """
        core._require_session()
        if self.is_empty:
            return False
        ref = core._placement_ready(self.id.binary())
        is_ready = ref is not None and bool(core._wait([ref], 1, timeout_seconds))
        if ref is None or (is_ready and core._placement_ready(self.id.binary()) is None):
            raise Exception(f"Placement group {self.id!r} does not exist.")  # the type that Ray raises
        return is_ready

    @property
    def bundle_specs(self) -> list[dict[str, Any]]:
        """Its bundles.

        Raises:
            KeyError: The group is removed, and this handle does not know them.
        """
        if not self.bundle_cache:
            facts = _facts(self.id)
            if facts is None:
                raise KeyError(f"bundles: there is no placement group {self.id.hex()}, or it is removed")
            self.bundle_cache = [dict(bundle) for bundle in facts.bundles]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Make a placement group; returns at once, and the group gets its resources when they are free.

    Args:
        bundles: Resources by name, for each bundle; at most 1,024.
        strategy: PACK (the default), SPREAD or STRICT_PACK, which are the same on one machine. STRICT_SPREAD of more
            than one bundle waits for ever, with a warning.
        name: By which :func:`get_placement_group` finds it.
        lifetime: None or ``"detached"``: until it is removed or the session ends, both.
        _soft_target_node_id: Accepted as in Ray.
        bundle_label_selector: Labels of machines for each bundle; checked, then ignored.
        topology_strategy: Of machines; its entry for ``ray.io/node-id`` counts as ``strategy``.

    Raises:
        ValueError: Bundles that are none, or a word that does not exist.
        RaySystemError: The name is taken.
    """
    core._require_session()
    check_strategy(strategy, topology_strategy)
    chosen = strategy or (topology_strategy or {}).get(NODE_LABEL) or "PACK"
    if _soft_target_node_id:
        if chosen != "STRICT_PACK":
            raise ValueError(f"_soft_target_node_id currently only works with STRICT_PACK but got {chosen}")
        if NodeID.from_hex(_soft_target_node_id).is_nil():
            raise ValueError(f"Invalid hex ID of _soft_target_node_id, got {_soft_target_node_id}")
    check_bundles(bundles)
    check_selectors(bundles, bundle_label_selector)
    if lifetime not in (None, "detached"):
        raise ValueError(f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}.")
    units = [bundle_units(bundle) for bundle in bundles]
    specs = [{resource: float(amount) for resource, amount in bundle.items()} for bundle in bundles]
    is_alone = chosen == "STRICT_SPREAD" and len(bundles) > 1
    description = pickle.dumps(_Description(name, namespaces.current(), chosen, specs))
    keeper = _claim(name, description) if name else core._put_named(description, os.urandom(16))
    try:
        id_bytes, can_ever = core._create_placement_group(
            lambda id_bytes: PlacementGroup(PlacementGroupID(id_bytes), specs), keeper, units, is_alone
        )
    finally:
        del keeper  # from now on only the group keeps the name
        core._flush_releases()
    if is_alone:
        log.warn(
            f"The placement group {id_bytes.hex()} has {len(bundles)} bundles and the strategy STRICT_SPREAD, which "
            "wants a machine for each; this is one machine, so the group waits for ever. Use SPREAD."
        )
    elif not can_ever:
        log.warn(
            f"The placement group {id_bytes.hex()} asks for {_total(specs)}, more than this session has in all: "
            f"{cluster.machine_resources()}. It waits for ever. Raise init(num_cpus=..., num_gpus=..., "
            "resources=...), or ask for less."
        )
    return PlacementGroup(PlacementGroupID(id_bytes), specs)


def _claim(name: str, description: bytes) -> core.ObjectRef[Any]:
    """Return what keeps a name.

    Raises:
        RaySystemError: A group has it.
    """
    name_id = _name_id(name, namespaces.current())
    while (keeper := core._claim_name(description, name_id)) is None:
        if core._find_placement_group(name_id) is not None:
            raise RaySystemError(f"Failed to create placement group because name '{name}' already exists.")
        time.sleep(_CLAIM_PAUSE_SECONDS)  # another process is between its claim and its group, or died there
    return keeper


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Remove a placement group: its tasks and actors are ended, its resources free; again does nothing.

    What waits for the group fails with TaskPlacementGroupRemoved or ActorUnschedulableError.

    Args:
        placement_group: The group.
    """
    assert placement_group is not None
    core._require_session()
    if not placement_group.is_empty:
        core._remove_placement_group(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Return the placement group of that name, in this session's namespace.

    Args:
        placement_group_name: Its name.

    Raises:
        ValueError: There is none.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    core._require_session()
    found = core._find_placement_group(_name_id(placement_group_name, namespaces.current()))
    if found is None:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID(found))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Return what is known of a placement group, or by id of all that are not removed.

    Args:
        placement_group: The group.
    """
    core._require_session()
    if placement_group is None:
        return {facts.id.hex(): _row(facts) for facts in all_groups()}
    facts = _facts(placement_group.id)
    if facts is not None:
        return _row(facts)
    if placement_group.is_empty:
        return {}
    bundles = placement_group.bundle_cache or []
    gone = GroupFacts(placement_group.id, False, "", "", "PACK", bundles, [])
    return {**_row(gone), "state": "REMOVED", "stats": _stats("REMOVED")}


def get_current_placement_group() -> PlacementGroup | None:
    """Return the placement group that this task or actor is in; None without one, and in the driver."""
    core._require_session()
    current = core._current_placement()
    return None if current is None else PlacementGroup(PlacementGroupID(current[0]))


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Check the number of a bundle.

    Raises:
        ValueError: The group has no such bundle.
    """
    assert placement_group is not None
    if placement_group.id.is_nil():
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif bundle_index >= placement_group.bundle_count or bundle_index < -1:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. Valid placement group indexes: "
            f"0-{placement_group.bundle_count}"
        )


def group_resources(which: int) -> dict[str, float]:
    """Return what groups have, under Ray's names: of a bundle, and of all bundles of a group together.

    Args:
        which: 0: how much there is; 1: how much nobody uses.
    """
    found: dict[str, float] = {}

    def add(name: str, quantity: float) -> None:
        found[name] = found.get(name, 0.0) + quantity

    for facts in all_groups():
        for number, bundle in enumerate(facts.amounts if facts.is_placed else ()):
            amounts = {name: amount[which] / RESOURCE_UNIT for name, amount in bundle.items()}
            for name, quantity in {**amounts, "bundle": 1000.0}.items():
                add(f"{name}_group_{number}_{facts.id.hex()}", quantity)
                add(f"{name}_group_{facts.id.hex()}", quantity)
    return {name: quantity for name, quantity in found.items() if quantity > 0}


def _row(facts: GroupFacts) -> dict[str, Any]:
    node = node_id() if facts.is_placed else ""
    return {
        "placement_group_id": facts.id.hex(),
        "name": facts.name,
        "bundles": dict(enumerate(facts.bundles)),
        "bundles_to_node_id": dict.fromkeys(range(len(facts.bundles)), node),
        "strategy": facts.strategy,
        "state": "CREATED" if facts.is_placed else "PENDING",
        "stats": _stats("FINISHED" if facts.is_placed else "PENDING"),
    }


def _stats(state: str) -> dict[str, Any]:
    return {
        "end_to_end_creation_latency_ms": 0.0,
        "scheduling_latency_ms": 0.0,
        "scheduling_attempt": 1,
        "highest_retry_delay_ms": 0.0,
        "scheduling_state": state,
    }


def _name_id(name: str, namespace: str) -> bytes:
    return digest(f"placement group\0{namespace}\0{name}".encode(), 16)


def _total(bundles: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for bundle in bundles for name in bundle)
    return {name: sum(bundle.get(name, 0.0) for bundle in bundles) for name in names}
