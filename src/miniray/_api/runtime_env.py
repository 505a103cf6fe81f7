# _api/runtime_env.py - RuntimeEnv and RuntimeEnvConfig, Ray's words for what tasks and actors find around them.
#
# Invariants  R1 a RuntimeEnv is a dict of checked fields; what is None, or empty where Ray says so, is no field.
#             R2 fields that miniray cannot honour are checked as in Ray and kept: refused where one is used
#                (environments.py), not where one is made.
# Source      Ray 2.60.0, python/ray/runtime_env/runtime_env.py.
"""``RuntimeEnv(env_vars=..., working_dir=..., ...)``."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from miniray._api import runtime_env_fields
from miniray._runtime import log

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_SETUP_S = 600


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is set up; accepted and checked as in Ray.

    Args:
        setup_timeout_seconds: How long that may take; -1: any time.
        eager_install: Accepted and ignored: nothing is installed.
        log_files: Accepted and ignored.
    """

    known_fields: frozenset[str] = frozenset(("setup_timeout_seconds", "eager_install", "log_files"))

    def __init__(
        self,
        setup_timeout_seconds: int = _LONGEST_SETUP_S,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        """Check the values; see the class."""
        super().__init__()
        if not isinstance(setup_timeout_seconds, int):
            raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(setup_timeout_seconds)}")
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                f"setup_timeout_seconds must be greater than zero or equals to -1, got: {setup_timeout_seconds}"
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a boolean. got {type(eager_install)}")
        if log_files is not None and not isinstance(log_files, list):
            raise TypeError(
                f"log_files must be a list of strings or None, got {log_files} with type {type(log_files)}."
            )
        if not all(isinstance(each, str) for each in log_files or ()):
            raise TypeError("Each item in log_files must be a string.")
        self.update(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=list(log_files or ())
        )

    @staticmethod
    def parse_and_validate_runtime_env_config(config: dict[str, Any] | RuntimeEnvConfig) -> RuntimeEnvConfig:
        """Return a config of a dict; keys that are not known are ignored, with a warning.

        Args:
            config: Values by name.

        Raises:
            TypeError: Not a dict, or a value of a wrong type.
        """
        if isinstance(config, RuntimeEnvConfig):
            return config
        if not isinstance(config, dict):
            raise TypeError(f"runtime_env['config'] must be of type dict or RuntimeEnvConfig, got: {type(config)}")
        unknown = set(config) - RuntimeEnvConfig.known_fields
        if unknown:
            log.warn(f"The following unknown entries in the runtime_env_config dictionary will be ignored: {unknown}.")
        return RuntimeEnvConfig(**{name: config[name] for name in RuntimeEnvConfig.known_fields & set(config)})

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """Return the config that is used without one."""
        return cls()

    def build_proto_runtime_env_config(self) -> None:
        """Refuse: there are no protocol buffers."""
        raise runtime_env_fields.unsupported("RuntimeEnvConfig.build_proto_runtime_env_config()")

    @classmethod
    def from_proto(cls, runtime_env_config: Any) -> RuntimeEnvConfig:
        """Refuse: there are no protocol buffers.

        Args:
            runtime_env_config: Ray's message.
        """
        raise runtime_env_fields.unsupported("RuntimeEnvConfig.from_proto()")

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a plain dict."""
        return dict(deepcopy(self))


class RuntimeEnv(dict[str, Any]):
    """An environment for tasks and actors; a dict with the same keys does as well.

    Args:
        py_modules: Folders of packages, ``.py`` files or archives that can be imported.
        py_executable: Not supported: needs real Ray.
        working_dir: Folder or archive that becomes the working folder, and is searched first for modules.
        pip: Not supported: needs real Ray.
        conda: Not supported: needs real Ray.
        container: Not supported: needs real Ray.
        env_vars: Environment variables; ``${NAME}`` in a value stands for what that variable is before.
        worker_process_setup_hook: Called once in each worker; a function, or its name as ``"module.function"``.
        nsight: Not supported: needs real Ray.
        rocprof_sys: Not supported: needs real Ray.
        config: How it is set up.
        _validate: Whether to check the values.
        image_uri: Not supported: needs real Ray.
        uv: Not supported: needs real Ray.
        **kwargs: More fields; those of plugins are kept and have no effect.
    """

    known_fields: frozenset[str] = frozenset(
        (
            "py_modules",
            "py_executable",
            "java_jars",
            "working_dir",
            "conda",
            "pip",
            "uv",
            "container",
            "excludes",
            "env_vars",
            "_ray_release",
            "_ray_commit",
            "_inject_current_ray",
            "config",
            "worker_process_setup_hook",
            "_nsight",
            "_rocprof_sys",
            "image_uri",
        )
    )
    extensions_fields: frozenset[str] = frozenset(("_ray_release", "_ray_commit", "_inject_current_ray"))

    def __init__(
        self,
        *,
        py_modules: list[str] | None = None,
        py_executable: str | None = None,
        working_dir: str | None = None,
        pip: list[str] | None = None,
        conda: dict[str, str] | str | None = None,
        container: dict[str, str] | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Callable[..., object] | str | None = None,
        nsight: dict[str, str] | str | None = None,
        rocprof_sys: dict[str, dict[str, str]] | str | None = None,
        config: dict[str, Any] | RuntimeEnvConfig | None = None,
        _validate: bool = True,
        image_uri: str | None = None,
        uv: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the values; see the class."""
        super().__init__()
        given: dict[str, Any] = {
            "py_modules": py_modules,
            "py_executable": py_executable,
            "working_dir": working_dir,
            "pip": pip,
            "uv": uv,
            "conda": conda,
            "_nsight": nsight,
            "_rocprof_sys": rocprof_sys,
            "container": container,
            "env_vars": env_vars,
            "config": config,
            "worker_process_setup_hook": worker_process_setup_hook,
            "image_uri": image_uri,
        }
        self.update({**kwargs, **{name: value for name, value in given.items() if value is not None}})
        if not _validate:
            return
        runtime_env_fields.check_combination(self)
        for name in runtime_env_fields.CHECKED:
            if self.get(name) is not None:
                self[name] = self.pop(name)
        if all(value is None for value in self.values()):
            self.clear()

    def __setitem__(self, key: str, value: Any) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if key == "config":
            value = RuntimeEnvConfig.parse_and_validate_runtime_env_config(value)
        elif key in runtime_env_fields.CHECKED:
            value = runtime_env_fields.CHECKED[key](value)
            if value is None:
                return
        super().__setitem__(key, value)

    def set(self, name: str, value: Any) -> None:
        """Set a field; it is checked.

        Args:
            name: Of the field.
            value: For it.
        """
        self[name] = value

    def get(self, name: str, default: Any = None, data_class: Any = None) -> Any:
        """Return a field.

        Args:
            name: Of the field.
            default: Returned when it is not set.
            data_class: A dataclass to make of it.
        """
        if name not in self:
            return default
        return self[name] if data_class is None else data_class(**self[name])

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """Return what was serialized.

        Args:
            serialized_runtime_env: By ``serialize``.
        """
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def serialize(self) -> str:
        """Return the environment as JSON.

        Raises:
            TypeError: A value is no JSON, such as a function.
        """
        return json.dumps(type(self)(_validate=True, **self), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict, a copy."""
        plain = dict(deepcopy(self))
        if plain.get("config"):
            plain["config"] = dict(plain["config"])
        return plain

    def has_working_dir(self) -> bool:
        """Return whether there is a working folder."""
        return self.get("working_dir") is not None

    def working_dir_uri(self) -> str | None:
        """Return the working folder."""
        found: str | None = self.get("working_dir")
        return found

    def working_dir(self) -> str:
        """Return the working folder, empty without one."""
        found: str = self.get("working_dir", "")
        return found

    def py_modules_uris(self) -> list[str]:
        """Return the modules."""
        return list(self.get("py_modules") or ())

    def py_modules(self) -> list[str]:
        """Return the modules."""
        return self.py_modules_uris()

    def env_vars(self) -> dict[str, str]:
        """Return the environment variables."""
        found: dict[str, str] = self.get("env_vars", {})
        return found

    def plugin_uris(self) -> list[str]:
        """Return an empty list, as Ray does."""
        return []

    def plugins(self) -> list[tuple[str, Any]]:
        """Return the fields that Ray does not know."""
        return [(name, value) for name, value in self.items() if name not in self.known_fields]

    def py_executable(self) -> str | None:
        """Return the Python to use."""
        found: str | None = self.get("py_executable")
        return found

    def java_jars(self) -> list[str]:
        """Return the jars."""
        return list(self.get("java_jars") or ())

    def nsight(self) -> dict[str, str] | str | None:
        """Return the options of nsight."""
        found: dict[str, str] | str | None = self.get("_nsight")
        return found

    def rocprof_sys(self) -> dict[str, dict[str, str]] | str | None:
        """Return the options of rocprof-sys."""
        found: dict[str, dict[str, str]] | str | None = self.get("_rocprof_sys")
        return found

    def image_uri(self) -> str | None:
        """Return the image of the container."""
        found: str | None = self.get("image_uri")
        return found

    def get_extension(self, key: str) -> str | None:
        """Return a field that Ray keeps for itself.

        Args:
            key: Its name.

        Raises:
            ValueError: There is no such field.
        """
        if key not in self.extensions_fields:
            raise ValueError(f"Extension key must be one of {set(self.extensions_fields)}, got: {key}")
        found: str | None = self.get(key)
        return found

    # --- packages and containers, for those who read what they have made ---------------------------------------------

    def has_conda(self) -> bool:
        """Return whether there is a conda environment."""
        return bool(self.get("conda"))

    def conda_env_name(self) -> str | None:
        """Return its name, None without one."""
        conda = self.get("conda")
        return conda if isinstance(conda, str) else None

    def conda_config(self) -> str | None:
        """Return its description as JSON, None without one."""
        conda = self.get("conda")
        return json.dumps(conda, sort_keys=True) if isinstance(conda, dict) else None

    def conda_uri(self) -> str | None:
        """Return a name for it."""
        return self._uri("conda")

    def has_pip(self) -> bool:
        """Return whether there are packages of pip."""
        return bool(self.get("pip"))

    def pip_config(self) -> dict[str, Any]:
        """Return them."""
        return self.get("pip") or {}

    def pip_uri(self) -> str | None:
        """Return a name for them."""
        return self._uri("pip")

    def virtualenv_name(self) -> str | None:
        """Return None: packages are a dict here."""
        return None

    def has_uv(self) -> bool:
        """Return whether there are packages of uv."""
        return bool(self.get("uv"))

    def uv_config(self) -> dict[str, Any]:
        """Return them."""
        return self.get("uv") or {}

    def uv_uri(self) -> str | None:
        """Return a name for them."""
        return self._uri("uv")

    def has_py_container(self) -> bool:
        """Return whether there is a container."""
        return bool(self.get("container"))

    def py_container_image(self) -> str | None:
        """Return its image."""
        return self["container"].get("image", "") if self.has_py_container() else None

    def py_container_worker_path(self) -> str | None:
        """Return the path of its worker."""
        return self["container"].get("worker_path", "") if self.has_py_container() else None

    def py_container_run_options(self) -> list[str] | None:
        """Return its options."""
        return self["container"].get("run_options", []) if self.has_py_container() else None

    def _uri(self, kind: str) -> str | None:
        if kind not in self:
            return None
        import hashlib

        text = json.dumps(self[kind], sort_keys=True)
        return f"{kind}://{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}"
