# _runtime/environment.py - what tasks and actors find in a worker: described once, entered once per process.
#
# Invariants  E1 a process is in one environment for its whole life, which its row in shared memory names; 0 is none.
#                What it starts inherits it.
#             E2 equal descriptions are one object of the store, and one environment of the scheduler.
#             E3 folders are used in place, as they are when a task looks; only archives are unpacked (packages.py).
# Layout      of the object: scheduler.hpp kFunctionFormat with the name "runtime_env", then the pickled Description.
# Source      Ray 2.60.0, python/ray/_private/utils.py (update_envs), _private/runtime_env/.
"""Runtime environments, as driver and workers see them."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime import closures
from miniray._runtime.digest import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Description", "current_fields", "current_number", "enter", "intern", "start"]

_FORMAT = struct.pack("<B3xI", 4, len(b"runtime_env")) + b"runtime_env".ljust(16, b"\0")
_MISSING = r"\$\{[A-Z0-9_]+\}"


class Description(Record):
    """An environment.

    Attributes:
        fields: As JSON, for the runtime context and for children that add to it.
        hook: A function that travelled as bytes, or its name; None without one.
    """

    fields: str = "{}"
    hook: bytes | str | None = None


class _Current:
    number: int = 0
    description: Description = Description()
    sets_threads: bool = False
    known: ClassVar[dict[Description, tuple[int, core.ObjectRef[Any]]]] = {}  # of this session


def intern(description: Description) -> int:
    """Return the number of an environment in this session; of equal ones the same.

    Raises:
        ValueError: There are too many in this session.
    """
    if description == Description():
        return 0
    if (found := _Current.known.get(description)) is not None:
        return found[0]
    pickled = pickle.dumps(description)
    payload = _FORMAT + struct.pack("<Q", len(pickled)) + pickled
    ref = core._put_named(payload, digest(payload, 16))
    number = core._find_environment(ref)
    if number == 0:
        raise ValueError(
            "There are too many different runtime environments in this session. Use the same dict for calls that may "
            "share workers, and pass what differs from call to call as an argument."
        )
    _Current.known[description] = number, ref
    return number


def pack_hook(hook: Callable[..., object] | str) -> bytes | str:
    """Return a hook as it travels.

    Raises:
        TypeError: It is no function and no name, or does not pickle.
    """
    if isinstance(hook, str):
        return hook
    if not callable(hook):
        raise TypeError(f"worker_process_setup_hook must be a function or its name, got {type(hook)}")
    return closures.dumps(hook)


def start(description: Description) -> int:
    """Make an environment this process's own, without entering it: the driver has it for its children only."""
    _Current.known.clear()
    _Current.number = intern(description)
    _Current.description = description
    return _Current.number


def current_number() -> int:
    """Return the environment of this process, for what it starts."""
    return _Current.number


def current_fields() -> dict[str, Any]:
    """Return its fields, a copy."""
    import json

    fields: dict[str, Any] = json.loads(_Current.description.fields)
    return fields


def current_hook() -> bytes | str | None:
    """Return its hook as it travels."""
    return _Current.description.hook


def sets_threads() -> bool:
    """Return whether the environment of this process says how many threads numeric libraries may use."""
    return _Current.sets_threads


def enter(number: int, folder: str) -> None:
    """Make this worker one of an environment.

    Args:
        number: Of the environment.
        folder: Where archives of this session are unpacked.

    Raises:
        Exception: Whatever goes wrong.
    """
    import importlib

    from miniray._runtime import packages  # few programs have environments with folders

    payload = core._environment_payload(number)
    _Current.number, _Current.description = number, pickle.loads(payload[len(_FORMAT) + 8 :])
    fields = current_fields()
    _set_variables(fields.get("env_vars") or {})
    for module in reversed(fields.get("py_modules") or []):
        sys.path.insert(0, packages.module_folder(module, folder))
    if fields.get("working_dir"):
        place = packages.working_folder(fields["working_dir"], folder)
        os.chdir(place)
        sys.path.insert(0, place)
    importlib.invalidate_caches()
    _call_hook(_Current.description.hook)


def _set_variables(variables: Mapping[str, str]) -> None:
    import re

    for name, value in variables.items():
        os.environ[name] = re.sub(_MISSING, "", os.path.expandvars(value))
    if "PYTHONPATH" in variables:  # Python reads it when it starts, and this one has
        sys.path[:0] = [each for each in os.environ["PYTHONPATH"].split(os.pathsep) if each]
    _Current.sets_threads = "OMP_NUM_THREADS" in variables
    if "TZ" in variables:
        time.tzset()


def _call_hook(hook: bytes | str | None) -> None:
    if hook is None:
        return
    if isinstance(hook, bytes):
        pickle.loads(hook)()
        return
    import importlib

    module, _, name = hook.rpartition(".")
    if not module:
        raise ValueError(f"worker_process_setup_hook {hook!r} does not name a function: write 'module.function'")
    getattr(importlib.import_module(module), name)()
