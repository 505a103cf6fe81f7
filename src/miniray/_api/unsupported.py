# _api/unsupported.py - names of Ray's API that this release of miniray does not offer yet.
#
# Invariants  U1 one helper, raise_later, refuses every feature, so that all such errors read alike.
#             U2 the functions have Ray's parameters and defaults (Ray 2.60.0): a wrong call is a TypeError, a right one
#                an UnsupportedFeatureError. Checked against tests/unit/data/ray_functions.json.
#             U3 a feature that arrives leaves this file in the same commit.
"""Functions and attributes of Ray that raise a clear error until a later release brings them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from miniray.exceptions import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "UNSUPPORTED_ATTRIBUTES",
    "UNSUPPORTED_FUNCTIONS",
    "UNSUPPORTED_SUBMODULES",
    "raise_later",
    "raise_unsupported_attribute",
]


def raise_later(feature: str) -> NoReturn:
    """Refuse a feature that a later release of miniray brings.

    Args:
        feature: Its name, as the user would write it: ``"miniray.get_actor()"``.

    Raises:
        UnsupportedFeatureError: Always.
    """
    raise UnsupportedFeatureError(feature)


def raise_unsupported_attribute(name: str) -> NoReturn:
    """Answer the access to an attribute of ``miniray`` that does not exist: for the package's ``__getattr__``.

    Args:
        name: The attribute; of ``miniray.util`` with ``util.`` before it.

    Raises:
        UnsupportedFeatureError: Ray has this name.
        AttributeError: Ray has no such name either.
    """
    feature = UNSUPPORTED_ATTRIBUTES.get(name) or UNSUPPORTED_SUBMODULES.get(name)
    if feature is not None:
        raise_later(f"miniray.{name} ({feature})")
    module, _, attribute = f"miniray.{name}".rpartition(".")
    raise AttributeError(f"module {module!r} has no attribute {attribute!r}")


# Functions, with Ray's parameters -------------------------------------------------------------------------------------


def timeline(filename: str | None = None) -> NoReturn:
    """Return the trace of all tasks; a later release brings it."""
    raise_later("miniray.timeline()")


def client(address: str | None = None, _deprecation_warn_enabled: bool = True) -> NoReturn:
    """Connect to a cluster through Ray Client; a later release brings it."""
    raise_later("miniray.client()")


def java_function(class_name: str, function_name: str) -> NoReturn:
    """Call a Java function as a task; miniray runs Python only."""
    raise_later("miniray.java_function() (miniray runs Python only)")


def java_actor_class(class_name: str) -> NoReturn:
    """Use a Java class as an actor; miniray runs Python only."""
    raise_later("miniray.java_actor_class() (miniray runs Python only)")


def cpp_function(function_name: str) -> NoReturn:
    """Call a C++ function as a task; miniray runs Python only."""
    raise_later("miniray.cpp_function() (miniray runs Python only)")


UNSUPPORTED_FUNCTIONS = (
    timeline,
    client,
    java_function,
    java_actor_class,
    cpp_function,
)
"""Functions of the top level that this release refuses; the package exports those that the runtime does not define."""

# Names ----------------------------------------------------------------------------------------------------------------

UNSUPPORTED_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "ClientBuilder": "Ray Client",
        "Language": "other languages than Python",
        "_config": "Ray's internal settings",
        "util.connect": "Ray Client",
        "util.disconnect": "Ray Client",
        "util.get_node_instance_id": "clusters of several machines",
        "util.pdb": "the remote debugger",
        "util.ray_debugpy": "the remote debugger",
    }
)
"""Names of the top level that are no functions or modules, each with the feature that it belongs to.

``ObjectID``, another name of ``ObjectRef``, and the constants ``SCRIPT_MODE``, ``WORKER_MODE`` and ``__version__`` are
not among them.
"""

UNSUPPORTED_SUBMODULES: Mapping[str, str] = MappingProxyType(
    {
        "_private": "Ray's internals",
        "autoscaler": "clusters of several machines",
        "cluster_utils": "clusters of several machines",
        "dag.compiled_dag_node": "compiled graphs",
        "data": "Ray Data",
        "experimental": "Ray's experiments",
        "internal": "Ray's internals",
        "job_config": "job settings",
        "job_submission": "clusters of several machines",
        "rllib": "Ray RLlib",
        "serve": "Ray Serve",
        "train": "Ray Train",
        "tune": "Ray Tune",
        "util.accelerators": "names of accelerators",
        "util.actor_group": "actor groups, which Ray deprecated",
        "util.client": "Ray Client",
        "util.collective": "collective communication of several machines",
        "util.dask": "Dask on Ray",
        "util.debugpy": "the remote debugger",
        "util.iter": "parallel iterators, which Ray deprecated",
        "util.metrics": "metrics",
        "util.rpdb": "the remote debugger",
        "util.spark": "Ray on Spark",
        "util.state": "the state API",
        "util.tracing": "tracing",
        "widgets": "notebook widgets",
        "workflow": "workflows, which Ray itself removed",
    }
)
"""Modules of Ray, each with the feature that it belongs to."""
