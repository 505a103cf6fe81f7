# _api/environments.py - from the runtime_env= of init, tasks and actors to an environment of the session.
#
# Invariants  N1 a call without runtime_env= runs in the environment of the process that makes it; with one in that
#                environment changed by it: env_vars key by key, other fields as a whole.
#             N2 what only real Ray honours is refused when it is given, by name.
# Source      Ray 2.60.0, python/ray/runtime_env/runtime_env.py (_merge_runtime_env).
"""Check, merge and intern runtime environments."""

from __future__ import annotations

import os
import types
from typing import TYPE_CHECKING, Any

from miniray._runtime import environment
from miniray._runtime.environment import Description
from miniray.exceptions import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.runtime_env import RuntimeEnv

__all__ = ["check_option", "current", "describe_job", "number_for", "without_empty"]

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.xz")


def without_empty(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a call without a ``runtime_env`` that is empty: that of the decorator stays."""
    if "runtime_env" in options and not options["runtime_env"]:
        return {name: value for name, value in options.items() if name != "runtime_env"}
    return options


def check_option(given: Mapping[str, Any] | None) -> RuntimeEnv | None:
    """Check the ``runtime_env=`` of a task or an actor.

    Args:
        given: The option; None or empty for none.

    Raises:
        ValueError: A field cannot be; folders are for ``init`` alone, as in Ray.
        TypeError: A field has a wrong type.
        UnsupportedFeatureError: A field needs real Ray.
    """
    if not given:
        return None
    from miniray._api import runtime_env_fields  # here and below: few programs have environments
    from miniray._api.runtime_env import RuntimeEnv

    fields = RuntimeEnv(**given)
    _refuse(fields)
    runtime_env_fields.check_no_local_paths(fields)
    if "worker_process_setup_hook" in fields:
        environment.pack_hook(fields["worker_process_setup_hook"])
    return fields


def describe_job(given: Mapping[str, Any] | None) -> Description:
    """Return the environment of a session.

    Args:
        given: ``runtime_env=`` of ``init``.

    Raises:
        TypeError: Not a dict, or a field has a wrong type.
        ValueError: A field cannot be.
        UnsupportedFeatureError: A field needs real Ray.
    """
    if not given:
        return Description()
    if not isinstance(given, dict):
        raise TypeError(f"runtime_env must be dict or RuntimeEnv, but got: {type(given)}")
    from miniray._api.runtime_env import RuntimeEnv

    places = {**given}
    if places.get("py_modules"):
        places["py_modules"] = [_module_path(each) for each in places["py_modules"]]
    if isinstance(places.get("working_dir"), str | os.PathLike):
        places["working_dir"] = _existing(os.fspath(places["working_dir"]))
    fields = RuntimeEnv(**places)
    _refuse(fields)
    return _describe(fields, None)


def number_for(given: Mapping[str, Any] | None) -> int:
    """Return the environment of a call.

    Args:
        given: An option that passed :func:`check_option`.
    """
    if not given:
        return environment.current_number()
    fields = environment.current_fields()
    own = dict(given)
    variables = {**fields.pop("env_vars", {}), **(own.pop("env_vars", None) or {})}
    merged = {**fields, **own, **({"env_vars": variables} if variables else {})}
    inherits_hook = "worker_process_setup_hook" not in own
    return environment.intern(_describe(merged, environment.current_hook() if inherits_hook else None))


def current() -> RuntimeEnv:
    """Return the environment of this process."""
    from miniray._api.runtime_env import RuntimeEnv

    return RuntimeEnv(_validate=False, **environment.current_fields())


def _describe(fields: Mapping[str, Any], hook: bytes | str | None) -> Description:
    import json

    shown = dict(fields)
    if hook is None and shown.get("worker_process_setup_hook") is not None:
        given = shown["worker_process_setup_hook"]
        hook = environment.pack_hook(given)
        shown["worker_process_setup_hook"] = getattr(given, "__name__", str(given))
    shown.pop("config", None)  # how it is set up makes no other environment, as in Ray
    return Description(json.dumps(shown, sort_keys=True), hook)


def _refuse(fields: Mapping[str, Any]) -> None:
    from miniray._api import runtime_env_fields

    for name, feature in runtime_env_fields.UNSUPPORTED.items():
        if fields.get(name):
            raise UnsupportedFeatureError(f"the field {feature!r} of runtime_env")
    for place in (fields.get("working_dir"), *(fields.get("py_modules") or ())):
        scheme = place.partition("://")[0] if place and "://" in place else "local"
        if scheme not in ("file", "local"):
            raise UnsupportedFeatureError(f"runtime_env with {place} ({scheme}, remote files)")


def _existing(place: str) -> str:
    """Return the full path of a working folder."""
    from miniray._api import runtime_env_fields

    if runtime_env_fields.has_scheme(place):
        return place
    path = os.path.abspath(os.path.expanduser(place))
    if not os.path.isdir(path) and not (os.path.isfile(path) and path.endswith(_ARCHIVES)):
        raise ValueError(
            f"directory {place} must be an existing directory or a supported archive ({', '.join(_ARCHIVES)})"
        )
    return path


def _module_path(module: Any) -> Any:
    """Return where a module or package is; a module object may stand for it."""
    from miniray._api import runtime_env_fields

    if isinstance(module, types.ModuleType):
        paths = list(getattr(module, "__path__", ())) or [module.__file__]
        if len(paths) != 1 or paths[0] is None:
            raise ValueError(f"py_modules only supports modules with one folder, {module.__name__} has {paths}")
        return os.path.abspath(paths[0])
    if isinstance(module, str) and not runtime_env_fields.has_scheme(module):
        return os.path.abspath(os.path.expanduser(module))
    return module
