# util/__init__.py - Ray's module of utilities: ``from miniray.util import ActorPool``.
#
# Invariants  U1 only re-exports, but for list_named_actors and get_node_ip_address, which Ray defines here, too.
#             U2 nothing here is called `annotations`, not even what __future__ has: so is a module below.
"""Actor pools, queues, process pools and other things that are built on tasks and actors."""

import typing

from miniray._api import actors as _actors
from miniray._api import unsupported as _unsupported
from miniray.util.actor_pool import ActorPool
from miniray.util.check_serialize import inspect_serializability
from miniray.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from miniray.util.helpers import as_completed, map_unordered
from miniray.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from miniray.util.serialization import deregister_serializer, register_serializer

__all__ = [
    "ActorPool",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]


def list_named_actors(all_namespaces: bool = False) -> list[typing.Any]:
    """Return the names of the named actors that live.

    Args:
        all_namespaces: False: those of this session's namespace, as strings. True: those of all, each as a dict of
            ``name`` and ``namespace``.
    """
    return _actors.list_names(all_namespaces)


def get_node_ip_address(address: str | None = None) -> str:
    """Return the address of this machine, which miniray does not need: that of the machine itself.

    Args:
        address: Accepted as in Ray.
    """
    return "127.0.0.1"


def __getattr__(name: str) -> typing.Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'miniray.util' has no attribute {name!r}")
    return _unsupported.raise_unsupported_attribute(f"util.{name}")
