"""Ray's API for one machine, at the speed of shared memory: ``import miniray as ray``."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from miniray import actor, exceptions
from miniray._api import absent_modules as _absent_modules
from miniray._api import unsupported as _unsupported
from miniray._api.actors import get_actor, kill, method
from miniray._api.cancel import cancel
from miniray._api.ids import (
    ActorClassID,
    ActorID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)
from miniray._api.object_ref_generator import ObjectRefGenerator
from miniray._api.objects import ObjectRef, get, put, wait
from miniray._api.remote_function import remote
from miniray._api.session import init, is_initialized, shutdown
from miniray._api.unsupported import (
    client,
    cpp_function,
    java_actor_class,
    java_function,
    timeline,
)
from miniray._miniray_core import __version__
from miniray._runtime.generators import DynamicObjectRefGenerator

if TYPE_CHECKING:
    from typing import Any

    from miniray._api.accelerators import get_gpu_ids
    from miniray._api.cluster import available_resources, cluster_resources, nodes
    from miniray._api.logging_config import LoggingConfig
    from miniray._api.runtime_context import get_runtime_context
    from miniray._api.store_arrays import create, empty, empty_like, zeros

ObjectID = ObjectRef
SCRIPT_MODE = 0
WORKER_MODE = 1

__all__ = [
    "SCRIPT_MODE",
    "WORKER_MODE",
    "ActorClassID",
    "ActorID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "LoggingConfig",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "available_resources",
    "cancel",
    "client",
    "cluster_resources",
    "cpp_function",
    "create",
    "empty",
    "empty_like",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "java_actor_class",
    "java_function",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "wait",
    "zeros",
]


_LAZY_MODULES = (
    "cloudpickle",
    "dag",
    "runtime_context",
    "runtime_env",
    "types",
    "util",
)  # imported when somebody asks: `import miniray` stays quick, docs/design/start-up.md
_LAZY_NAMES = {
    "LoggingConfig": "logging_config",
    "available_resources": "cluster",
    "cluster_resources": "cluster",
    "create": "store_arrays",
    "empty": "store_arrays",
    "empty_like": "store_arrays",
    "get_gpu_ids": "accelerators",
    "get_runtime_context": "runtime_context",
    "nodes": "cluster",
    "zeros": "store_arrays",
}

_absent_modules.install()


def __dir__() -> "list[str]":
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})


def __getattr__(name: str) -> "Any":
    if name in _LAZY_MODULES:
        return _import_module(f"miniray.{name}")
    if name in _LAZY_NAMES:
        found = globals()[name] = getattr(_import_module(f"miniray._api.{_LAZY_NAMES[name]}"), name)
        return found
    if name.startswith("__"):
        raise AttributeError(f"module 'miniray' has no attribute {name!r}")
    return _unsupported.raise_unsupported_attribute(name)
