# _api/placement_checks.py - what a placement group is asked to be: refused where Ray refuses it, and where it makes no
# sense.
#
# Source      Ray 2.60.0, python/ray/util/placement_group.py.
"""Checks of the arguments of placement_group()."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from miniray._api.option_table import RESOURCE_UNIT, label_selector_problem
from miniray.exceptions import RaySystemError

if TYPE_CHECKING:
    from collections.abc import Mapping

VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}
"""What ``strategy`` may be. On one machine they differ in one thing: STRICT_SPREAD wants a machine for each bundle."""

MOST_BUNDLES = 1024  # placement_entry.hpp kBundlesOfGroup
NODE_LABEL = "ray.io/node-id"
"""The label that tells machines apart."""


def check_strategy(strategy: str | None, topology: object) -> None:
    """Refuse strategies that do not exist."""
    if topology is not None and strategy is not None:
        raise ValueError(
            "`strategy` and `topology_strategy` cannot both be specified. Pass node-level packing via "
            f"`topology_strategy['{NODE_LABEL}']`."
        )
    words = sorted(VALID_PLACEMENT_GROUP_STRATEGIES)
    if strategy is not None and strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(f"Invalid placement group strategy {strategy}. Supported strategies are: {words}.")
    if topology is None:
        return
    if not isinstance(topology, dict):
        raise ValueError(f"`topology_strategy` must be a dict, got {type(topology).__name__}.")
    for key, value in topology.items():
        if not isinstance(key, str) or not key:
            raise ValueError(f"`topology_strategy` keys must be non-empty strings, got {key!r}.")
        if value not in VALID_PLACEMENT_GROUP_STRATEGIES:
            raise ValueError(
                f"Invalid topology strategy {value!r} for label {key!r}. Supported strategies are: {words}."
            )
        if key != NODE_LABEL and value != "STRICT_PACK":
            raise ValueError(
                f"Topology strategy {value!r} for label {key!r} is not supported yet; only 'STRICT_PACK' is supported "
                f"for topology labels other than `{NODE_LABEL}` for now."
            )
    others = [key for key in topology if key != NODE_LABEL]
    if len(others) > 1:
        raise ValueError(
            f"`topology_strategy` currently supports at most one topology label other than `{NODE_LABEL}`. Got "
            f"{others}."
        )


def check_bundles(bundles: object) -> None:
    """Refuse what is no list of resources by name."""
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError(
            "Bundles must be a non-empty list of resource dictionaries. For example: "
            '`[{"CPU": 1.0}, {"GPU": 1.0}]`. Got empty list instead.'
        )
    if len(bundles) > MOST_BUNDLES:
        raise ValueError(f"A placement group has at most {MOST_BUNDLES} bundles, got {len(bundles)}.")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(name, str) and isinstance(amount, int | float) for name, amount in bundle.items()
        ):
            raise ValueError(
                "Bundles must be a non-empty list of resource dictionaries. For example: "
                '`[{"CPU": 1.0}, {"GPU": 1.0}]`.'
            )
        if not any(bundle.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}"
            )
        if "bundle" in bundle:
            raise RaySystemError(
                "bundle is a system reserved resource, which is not allowed to be used in placement group."
            )


def check_selectors(bundles: list[dict[str, float]], selectors: object) -> None:
    """Refuse what are no labels for each bundle."""
    if selectors is None:
        return
    if not isinstance(selectors, list):
        raise ValueError(f"Placement group bundle_label_selector must be a list, got {type(selectors)}.")
    if len(selectors) != len(bundles):
        raise ValueError(
            f"Invalid bundle label selector {selectors}. The length of `bundle_label_selector` should equal the "
            "length of `bundles`."
        )
    for selector in selectors:
        if not isinstance(selector, dict) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in selector.items()
        ):
            raise ValueError(
                "Bundle label selector must be a list of string dictionary label selectors. For example: "
                '`[{"ray.io/market_type": "spot"}, {"ray.io/accelerator-type": "A100"}]`.'
            )
        problem = label_selector_problem(selector)
        if problem:
            raise ValueError(
                f"Invalid label selector provided in bundle_label_selector list. Detailed error: '{problem}'"
            )


def bundle_units(bundle: Mapping[str, float]) -> dict[str, int]:
    """Return a bundle in steps of 1/10000, without zeros.

    Args:
        bundle: Resources by name.

    Raises:
        ValueError: An amount that cannot be.
    """
    units = {}
    for name, amount in bundle.items():
        if not math.isfinite(amount) or amount < 0:
            raise ValueError(f"The amount of {name} in a bundle must be a finite number of at least 0, got {amount}.")
        if name == "GPU" and amount > 1 and amount != int(amount):
            raise ValueError(
                f"GPU resource quantities >1 must be whole numbers. The specified quantity {amount} is invalid."
            )
        steps = int(round(amount * RESOURCE_UNIT, 4))
        if amount and not steps:
            raise ValueError(f"The amount of {name} in a bundle cannot be finer than 0.0001, got {amount}.")
        if steps:
            units[name] = steps
    return units
