# _api/cluster.py - nodes, cluster_resources, available_resources: this machine, as a cluster of one.
#
# Invariants  C1 none of them starts a session.
"""What the cluster is made of."""

from __future__ import annotations

from typing import Any

from miniray import _miniray_core as core
from miniray._api.option_table import RESOURCE_UNIT
from miniray._runtime.ids import node_id
from miniray.exceptions import RaySystemError

_ADDRESS = "127.0.0.1"


def _require() -> None:
    if not core._is_attached():
        raise RaySystemError(
            "Ray has not been started yet. Trying to use state API before ray.init() has been called.", ""
        )


def machine_resources() -> dict[str, float]:
    """Return what tasks may ask for in all: CPUs, GPUs and the like, without the object store."""
    return {name: amounts[0] / RESOURCE_UNIT for name, amounts in core._resources().items() if amounts[0] > 0}


def _quantities(which: int) -> dict[str, float]:
    from miniray._api.placement_groups import group_resources  # which asks this module for the node

    resources = {name: amounts[which] / RESOURCE_UNIT for name, amounts in core._resources().items()}
    store = core._statistics()["capacity_bytes"]
    return {
        **{name: quantity for name, quantity in resources.items() if quantity > 0},
        **group_resources(which),
        "object_store_memory": float(store),
        f"node:{_ADDRESS}": 1.0,
        "node:__internal_head__": 1.0,
    }


def cluster_resources() -> dict[str, float]:
    """Return the resources of this session by name: CPUs and GPUs in units, memory in bytes.

    Raises:
        RaySystemError: No session is open.
    """
    _require()
    return _quantities(0)


def available_resources() -> dict[str, float]:
    """Return the resources that no task or actor holds just now; those that are used up are not named.

    Raises:
        RaySystemError: No session is open.
    """
    _require()
    return _quantities(1)


def nodes() -> list[dict[str, Any]]:
    """Return one dict, about this machine.

    Raises:
        RaySystemError: No session is open.
    """
    _require()
    import socket  # it takes long to import, as do the selectors that it imports

    own_id = node_id()
    return [
        {
            "NodeID": own_id,
            "Alive": True,
            "NodeManagerAddress": _ADDRESS,
            "NodeManagerHostname": socket.gethostname(),
            "NodeManagerPort": 0,
            "ObjectManagerPort": 0,
            "ObjectStoreSocketName": "",
            "RayletSocketName": "",
            "MetricsExportPort": -1,
            "MetricsAgentPort": -1,
            "DashboardAgentListenPort": -1,
            "NodeName": _ADDRESS,
            "RuntimeEnvAgentPort": 0,
            "DeathReason": 0,
            "DeathReasonMessage": "",
            "alive": True,
            "Resources": _quantities(0),
            "Labels": {"ray.io/node-id": own_id},
        }
    ]
