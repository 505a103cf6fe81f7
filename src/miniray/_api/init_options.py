# _api/init_options.py - the arguments of init(): Ray's names, defaults and errors, and what they mean on one machine.
#
# Invariants  N1 names, order and defaults equal those of ray.init in Ray 2.60.0 (tests/unit/data/ray_init.json); the
#                words of miniray alone (num_workers, object_capacity, ...) are keywords that Ray does not have.
#             N2 an InitOptions is complete: no field is left for the runtime to guess, machine facts are read here.
#             N3 nothing is started, created or changed; only the environment and facts of the machine are read.
# Source      Ray 2.60.0, python/ray/_private/worker.py (init), resource_and_label_spec.py, parameter.py.
"""Resolve the arguments of ``init()``."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from miniray._api.environments import describe_job
from miniray._api.settings import (
    MemorySettings,
    env_flag,
    logging_config,
    logging_level,
    memory_settings,
    record_call_sites,
    stop_limit_s,
    temp_folder,
)
from miniray._api.unsupported import raise_later
from miniray._api.warn_once import warn_once
from miniray._record import Record
from miniray._runtime import machine, spill_file
from miniray._runtime.environment import Description
from miniray._runtime.preload import checked_preload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.logging_config import LoggingConfig

__all__ = [
    "CAPACITY_DEFAULTS",
    "HIDDEN_DEFAULTS",
    "INIT_DEFAULTS",
    "InitOptions",
    "auto_connect_enabled",
    "resolve_backend",
    "resolve_init_options",
]

Backend = Literal["local", "ray"]
"""What runs the tasks: the engine of miniray on this machine, or an installed Ray."""

MIN_OBJECT_STORE_BYTES = 1 << 20
"""A smaller store would hold no object worth one."""

MAX_RESOURCE_QUANTITY = 100e12

MAX_GPUS = 64
"""A word of bits: scheduler/resources.hpp kGpuCapacity."""

INIT_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "address": None,
        "num_cpus": None,
        "num_gpus": None,
        "resources": None,
        "labels": None,
        "object_store_memory": None,
        "local_mode": False,
        "ignore_reinit_error": False,
        "include_dashboard": None,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": None,
        "job_config": None,
        "configure_logging": True,
        "logging_level": "info",
        "logging_format": None,
        "logging_config": None,
        "log_to_driver": None,
        "namespace": None,
        "runtime_env": None,
        "enable_resource_isolation": False,
        "cgroup_path": None,
        "system_reserved_cpu": None,
        "system_reserved_memory": None,
        "proxy_server_url": None,
    }
)
"""Parameters of ``ray.init``, in its order; all but the first are keyword-only."""

HIDDEN_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "_enable_object_reconstruction": False,
        "_plasma_directory": None,
        "object_spilling_directory": None,
        "_node_ip_address": None,
        "_driver_object_store_memory": None,
        "_memory": None,
        "_redis_username": "",
        "_redis_password": "",
        "_temp_dir": None,
        "_metrics_export_port": None,
        "_system_config": None,
        "_tracing_startup_hook": None,
        "_node_name": None,
        "_skip_env_hook": False,
    }
)
"""Keywords that ``ray.init`` takes without naming them; those of clusters are accepted and ignored."""

CAPACITY_DEFAULTS: Mapping[str, int] = MappingProxyType(
    {"object_capacity": 1 << 20, "task_capacity": 1 << 20, "worker_capacity": 1024}
)
"""How many entries the tables of the session have: keywords of miniray alone."""

# runtime/domain.hpp kMostRows and kMostProcesses, less those that are no workers
_MOST: Mapping[str, int] = MappingProxyType(
    {"object_capacity": 1 << 30, "task_capacity": 1 << 30, "worker_capacity": (1 << 16) - 32}
)
_KNOWN = frozenset(
    (*INIT_DEFAULTS, *HIDDEN_DEFAULTS, *CAPACITY_DEFAULTS, "num_workers", "object_spilling_limit", "preload")
)
_NONE: Mapping[str, Any] = {}
_RESERVED_RESOURCES = {
    "CPU": "num_cpus",
    "GPU": "num_gpus",
    "memory": "_memory",
    "object_store_memory": "object_store_memory",
}


class InitOptions(Record):
    """What a session starts with.

    Attributes:
        backend: What runs the tasks; only ``"local"`` in this release.
        num_cpus: CPUs that tasks may hold together.
        processors: What this process may keep busy.
        num_gpus: GPUs that tasks may hold together.
        resources: Custom resources by name.
        memory_bytes: Memory that tasks may hold together; bookkeeping only.
        store: Size and place of the object store.
        object_capacity: Most objects that may exist at a time.
        task_capacity: Most tasks that may be unfinished at a time.
        worker_capacity: Most processes that may be attached at a time.
        namespace: Where named actors live; a random one unless given.
        labels: Labels of this machine, kept for the context.
        ignore_reinit_error: Whether a second ``init`` returns the first session.
        log_to_driver: Whether the output of workers appears in the driver.
        configure_logging: Whether the logger "miniray" is set up.
        logging_level: Its level, as a number of the logging module.
        logging_format: Its format, None for the default.
        include_dashboard: None for "if it is installed".
        dashboard_host: Address of the dashboard.
        dashboard_port: Its port, None for the default or the next free one.
        shared_memory_folder: Where the segments live, None for the default.
        spill_folder: Where objects go that the store has no room for.
        spill_bytes: How many bytes may go there; 0 for none.
        spill_required: Whether the user asked for it: a folder that cannot be used is an error then.
        temp_folder: Where the session's folder is made, None for the default.
        node_name: Name of this machine in the context, None for its address.
        object_store_was_given: Whether the user gave the size of the store.
        record_call_sites: Whether objects remember the line that made them.
        memory: How the memory monitor acts.
        stop_limit_s: Seconds that a stopped worker may keep others waiting for the lock; 0: for ever.
        logging_config: How driver and workers log; None: as they do.
        environment: What tasks and actors find around them.
        preload: Modules that workers find imported.
    """

    num_cpus: int
    processors: int
    num_gpus: int
    memory_bytes: int
    store: machine.StorePlan
    namespace: str
    logging_level: int
    log_to_driver: bool
    backend: Backend = "local"
    resources: Mapping[str, int] = _NONE
    labels: Mapping[str, str] = _NONE
    object_capacity: int = CAPACITY_DEFAULTS["object_capacity"]
    task_capacity: int = CAPACITY_DEFAULTS["task_capacity"]
    worker_capacity: int = CAPACITY_DEFAULTS["worker_capacity"]
    ignore_reinit_error: bool = False
    configure_logging: bool = True
    logging_format: str | None = None
    include_dashboard: bool | None = None
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int | None = None
    shared_memory_folder: str | None = None
    spill_folder: str = ""
    spill_bytes: int = 0
    spill_required: bool = False
    temp_folder: str | None = None
    node_name: str | None = None
    object_store_was_given: bool = False
    record_call_sites: bool = False
    memory: MemorySettings = MemorySettings()
    stop_limit_s: float = 30.0
    logging_config: LoggingConfig | None = None
    environment: Description = Description()
    preload: tuple[str, ...] = ()


def resolve_init_options(address: str | None = None, **kwargs: Any) -> InitOptions:
    """Check the arguments of ``init()`` and fill in what was not given.

    Args:
        address: None or ``"local"`` for this machine; a cluster's address needs real Ray. ``RAY_ADDRESS`` takes the
            place of None and ``"auto"``.
        **kwargs: The other parameters of ``ray.init`` (:data:`INIT_DEFAULTS`, :data:`HIDDEN_DEFAULTS`), ``num_workers``
            as another word for ``num_cpus``, ``object_spilling_limit``, ``preload`` and capacities
            (:data:`CAPACITY_DEFAULTS`).

    Raises:
        RuntimeError: A keyword does not exist or is no longer supported.
        ConnectionError: The address is a cluster's and Ray is not installed.
        TypeError: A value has a wrong type.
        ValueError: A value cannot be.
        AssertionError: ``resources`` names a built-in resource, or a quantity is no number, as in Ray.
        UnsupportedFeatureError: Right in Ray, but not in this release of miniray.
    """
    _check_keywords(kwargs)
    given: dict[str, Any] = {**INIT_DEFAULTS, **HIDDEN_DEFAULTS, **CAPACITY_DEFAULTS, **kwargs}
    if given["local_mode"]:
        raise RuntimeError(
            "`local_mode` is no longer supported. For interactive debugging consider using the Ray distributed "
            "debugger."
        )
    backend = resolve_backend(address, kwargs)
    num_cpus = _merge_num_workers(kwargs)
    job_config = given["job_config"]
    if given["enable_resource_isolation"]:
        warn_once(
            "enable_resource_isolation",
            "init(enable_resource_isolation=True) is accepted and ignored: miniray makes no control groups.",
        )
    if not isinstance(given["_system_config"] or {}, dict):
        raise TypeError("The _system_config must be a dict.")
    processors = machine.cpu_count()
    memory = machine.memory_limit_bytes()
    wanted = given["object_store_memory"]
    store = machine.plan_store(None if wanted is None else _whole("object_store_memory", wanted, int))
    if store.size_bytes < MIN_OBJECT_STORE_BYTES:
        raise ValueError(
            f"Attempting to cap object store memory usage at {store.size_bytes} bytes, but the minimum allowed is "
            f"{MIN_OBJECT_STORE_BYTES} bytes."
        )
    spill_folder = _spill_folder(given["object_spilling_directory"], given["_temp_dir"])
    log_to_driver = given["log_to_driver"]
    return InitOptions(
        backend=backend,
        num_cpus=_whole("CPU", num_cpus, lambda: processors),
        processors=processors,
        num_gpus=_gpus(given["num_gpus"]),
        resources=_resources(given["resources"]),
        memory_bytes=_whole("memory", given["_memory"], lambda: max(0, memory - store.size_bytes)),
        store=store,
        **{name: _capacity(name, given[name]) for name in CAPACITY_DEFAULTS},
        namespace=_namespace(given["namespace"], job_config),
        labels=_labels(given["labels"]),
        ignore_reinit_error=bool(given["ignore_reinit_error"]),
        log_to_driver=env_flag("RAY_LOG_TO_DRIVER") if log_to_driver is None else bool(log_to_driver),
        configure_logging=bool(given["configure_logging"]),
        logging_level=logging_level(kwargs.get("logging_level") or os.environ.get("RAY_LOGGER_LEVEL", "info")),
        logging_format=given["logging_format"],
        include_dashboard=given["include_dashboard"],
        dashboard_host=given["dashboard_host"],
        dashboard_port=given["dashboard_port"],
        shared_memory_folder=given["_plasma_directory"],
        spill_folder=spill_folder,
        spill_bytes=_spill_bytes(kwargs.get("object_spilling_limit"), spill_folder),
        spill_required=bool(kwargs.get("object_spilling_limit"))
        or (given["object_spilling_directory"] is not None and kwargs.get("object_spilling_limit") is None),
        temp_folder=temp_folder(given["_temp_dir"]),
        node_name=given["_node_name"],
        object_store_was_given=given["object_store_memory"] is not None,
        record_call_sites=record_call_sites(given["_system_config"]),
        memory=memory_settings(given["_system_config"]),
        stop_limit_s=stop_limit_s(given["_system_config"]),
        logging_config=logging_config(given["logging_config"]),
        environment=describe_job(given["runtime_env"] or getattr(job_config, "runtime_env", None)),
        preload=checked_preload(kwargs.get("preload")),
    )


def resolve_backend(address: str | None, kwargs: Mapping[str, Any] | None = None) -> Backend:
    """Return what runs the tasks for an address.

    Args:
        address: As in ``init``; ``RAY_ADDRESS`` takes the place of None and ``"auto"``.
        kwargs: What else was given to ``init``: a cluster's resources cannot be set from here.

    Raises:
        ConnectionError: The address is a cluster's and Ray is not installed.
        TypeError: The address is no string.
        ValueError: The address is none, or settings were given that only a new session takes.
        UnsupportedFeatureError: Ray is installed: a later release of miniray hands over to it.
    """
    from_environment = os.environ.get("RAY_ADDRESS")
    if from_environment and address in (None, "auto"):
        address = from_environment
    if address is None or address == "local":
        return "local"
    if not isinstance(address, str):
        raise TypeError(f"address must be None or a string, not {type(address).__name__}")
    if address != "auto" and ":" not in address:
        raise ValueError(f"Invalid address format: {address}")
    import importlib.util  # few programs give an address

    if importlib.util.find_spec("ray") is None:
        raise ConnectionError(
            f"init(address={address!r}) needs a Ray cluster, and Ray is not installed. Install it with "
            "pip install 'miniray[ray]', or leave the address (and RAY_ADDRESS) out to run on this machine."
        )
    if "://" not in address:
        _check_cluster_arguments(kwargs or {})
    raise_later(f"init(address={address!r}), a Ray cluster")


def auto_connect_enabled() -> bool:
    """Return whether the first call of ``get``, ``put``, ``.remote()``, ... may start a session.

    ``RAY_ENABLE_AUTO_CONNECT=0`` forbids it.
    """
    return os.environ.get("RAY_ENABLE_AUTO_CONNECT", "") != "0"


def _check_keywords(kwargs: Mapping[str, Any]) -> None:
    """Refuse keywords that do not exist, or no longer."""
    if kwargs.get("allow_multiple"):
        raise RuntimeError(
            "`allow_multiple` argument is passed to `ray.init` when the ray client is not used. Do not pass the "
            "`allow_multiple` to `ray.init` to fix the issue."
        )
    if kwargs.get("storage"):
        raise RuntimeError(
            "Cluster-wide storage configuration has been removed. The last Ray version supporting the `storage` "
            "argument is `ray==2.47`."
        )
    unknown = ", ".join(name for name in kwargs if name not in _KNOWN)
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {unknown}")


def _check_cluster_arguments(kwargs: Mapping[str, Any]) -> None:
    """Refuse settings that a running cluster has already."""
    start = "When connecting to an existing cluster, "
    if kwargs.get("num_cpus") is not None or kwargs.get("num_gpus") is not None:
        raise ValueError(f"{start}num_cpus and num_gpus must not be provided.")
    for name in ("resources", "labels", "object_store_memory", "_system_config", "_node_name"):
        if kwargs.get(name) is not None:
            raise ValueError(f"{start}{name} must not be provided.")


def _gpus(quantity: object) -> int:
    """Return ``num_gpus``, checked."""
    found = _whole("GPU", quantity, machine.gpu_count)
    if found > MAX_GPUS:
        raise ValueError(f"A session has at most {MAX_GPUS} GPUs, which it tells apart; got num_gpus={found}.")
    return found


def _merge_num_workers(kwargs: Mapping[str, Any]) -> object:
    """Return ``num_cpus`` or its other word, ``num_workers``."""
    num_cpus, num_workers = kwargs.get("num_cpus"), kwargs.get("num_workers")
    if num_cpus is not None and num_workers is not None and num_cpus != num_workers:
        raise ValueError(
            f"num_workers={num_workers} and num_cpus={num_cpus} are two words for the same thing. Give one of them."
        )
    return num_workers if num_cpus is None else num_cpus


def _whole(name: str, quantity: object, default: Any) -> int:
    """Return a quantity of a resource as a whole number, ``default()`` for None."""
    if quantity is None:
        return int(default())
    if not isinstance(quantity, int | float):
        raise AssertionError(f"{name} ({type(quantity)}): {quantity}")  # Ray's
    problem = None
    if isinstance(quantity, float) and not quantity.is_integer():
        problem = "all be whole numbers"
    elif quantity < 0:
        problem = "be nonnegative"
    elif quantity > MAX_RESOURCE_QUANTITY:
        problem = f"be at most {MAX_RESOURCE_QUANTITY}"
    if problem is not None:
        raise ValueError(
            f"Resource quantities must {problem}. Violated by resource '{name}' in {{'{name}': {quantity}}}."
        )
    return int(quantity)


def _resources(resources: object) -> Mapping[str, int]:
    """Return the custom resources, those of zero left out."""
    if resources is None:
        return {}
    if not isinstance(resources, dict) or not all(isinstance(name, str) for name in resources):
        raise TypeError(f"resources must be a dict of names and quantities, not {resources!r}")
    for name, option in _RESERVED_RESOURCES.items():
        if name in resources:
            raise AssertionError(
                f"{resources} -> `{name}` cannot be a custom resource because it is one of the default resources. Use "
                f"`{option}` instead."
            )
    whole = {name: _whole(name, quantity, int) for name, quantity in resources.items()}
    return {name: quantity for name, quantity in whole.items() if quantity}


def _capacity(name: str, value: object) -> int:
    """Return a capacity of the session's tables."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    if value > _MOST[name]:
        raise ValueError(f"{name} must be at most {_MOST[name]}, not {value}")
    return value


def _spill_folder(folder: object, temporary: object) -> str:
    """Return where spilled objects go."""
    if folder is None:
        return temp_folder(temporary) or spill_file.default_folder()
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"object_spilling_directory must be a path or None, not {type(folder).__name__}")
    return str(os.fspath(folder))


def _spill_bytes(limit: object, folder: str) -> int:
    """Return how many bytes may be spilled."""
    if limit is None:
        return spill_file.default_limit_bytes(folder)
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"object_spilling_limit must be a number of bytes or None, not {type(limit).__name__}")
    if limit < 0:
        raise ValueError(f"object_spilling_limit must be at least 0 (0: nothing is spilled), not {limit}")
    return limit


def _namespace(namespace: object, job_config: object) -> str:
    """Return the namespace of the session, a random one unless given."""
    if namespace is None:
        namespace = getattr(job_config, "ray_namespace", None)
    if namespace is None:
        digits = os.urandom(16).hex()  # a uuid4, for which the module uuid need not be imported
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
    if not isinstance(namespace, str):
        raise TypeError("namespace must be None or a string.")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    return namespace


def _labels(labels: object) -> Mapping[str, str]:
    """Return the labels of this machine."""
    if labels is None:
        return {}
    if not isinstance(labels, dict) or not all(isinstance(word, str) for pair in labels.items() for word in pair):
        raise TypeError(f"labels must be a dict of strings, not {labels!r}")
    return dict(labels)
