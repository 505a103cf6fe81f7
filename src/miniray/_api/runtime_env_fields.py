# _api/runtime_env_fields.py - what each field of a runtime environment may be.
#
# Invariants  F1 errors are Ray's: same type, same words.
#             F2 a rule returns the value to keep, None for a field that is as if it were not given.
# Source      Ray 2.60.0, python/ray/_private/runtime_env/validation.py.
"""Rules of the fields of ``RuntimeEnv``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from miniray.exceptions import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import ParseResult

__all__ = ["CHECKED", "UNSUPPORTED", "check_combination", "check_no_local_paths", "has_scheme", "unsupported"]

_ARCHIVES = {
    "working_dir": (".zip", ".tar.gz", ".tgz", ".tar.xz"),
    "py_modules": (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz"),
}
_PROTOCOLS = ("gcs", "conda", "pip", "uv", "https", "http", "s3", "gs", "azure", "abfss", "file", "local")

UNSUPPORTED = {
    "pip": "pip",
    "uv": "uv",
    "conda": "conda",
    "container": "container",
    "image_uri": "image_uri",
    "py_executable": "py_executable",
    "java_jars": "java_jars",
    "_nsight": "nsight",
    "_rocprof_sys": "rocprof_sys",
}
"""Fields that only real Ray honours, and what users call them."""


def unsupported(feature: str) -> UnsupportedFeatureError:
    """Return the error for what needs real Ray."""
    return UnsupportedFeatureError(feature)


def _parse(uri: str) -> ParseResult:
    from urllib.parse import urlparse  # few environments have places

    return urlparse(uri)


def has_scheme(text: str) -> bool:
    """Return whether a text is a URI and no path."""
    return bool(_parse(text).scheme)


def _check_uri(uri: str, field: str) -> None:
    found = _parse(uri)
    if found.scheme not in _PROTOCOLS:
        raise ValueError(
            f"{uri} is not a valid URI. Passing directories or modules to be dynamically uploaded is only supported "
            "at the job level (i.e., passed to `ray.init`)."
        )
    if found.scheme != "local" and not found.path.endswith(_ARCHIVES[field]):
        raise ValueError(f"Only {', '.join(_ARCHIVES[field])} files are supported for {field} URIs; got {uri}.")


def _check_place(text: str, field: str) -> None:
    if has_scheme(text):
        _check_uri(text, field)
        return
    try:
        os.path.realpath(text, strict=True)
    except OSError:
        raise ValueError(f"{text} is not a valid path.") from None


def _working_dir(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`working_dir` must be a string, got {type(value)}.")
    _check_place(value, "working_dir")
    return value


def _py_modules(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(value)}.")
    for module in value:
        if not isinstance(module, str):
            raise TypeError(f"`py_module` must be a string, got {type(module)}.")
        _check_place(module, "py_modules")
    return value


def _excludes(value: Any) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(value)}")
    return value or None


def _env_vars(value: Any) -> dict[str, str] | None:
    if len(value) == 0:
        return None
    start = "runtime_env['env_vars'] must be of type Dict[str, str], "
    if not isinstance(value, dict):
        raise TypeError(f"{start}got {type(value)}")
    for key, text in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{start}but the key {key} is of type {type(key)}")
        if not isinstance(text, str):
            raise TypeError(f"{start}but the value {text} is of type {type(text)}")
    return value


def _conda(value: Any) -> str | dict[str, Any]:
    if not isinstance(value, str | dict):
        raise TypeError(f"runtime_env['conda'] must be of type str or dict, got {type(value)}.")
    if isinstance(value, str):
        from pathlib import Path

        path = Path(value)
        if path.suffix in (".yaml", ".yml") and not path.is_file():
            raise ValueError(f"Can't find conda YAML file {path}.")
        if path.is_absolute() and path.suffix not in (".yaml", ".yml") and not path.is_dir():
            raise ValueError(f"Can't find conda env directory {path}.")
    return value


def _packages(tool: str) -> Callable[[Any], dict[str, Any] | None]:
    """Return the rule of ``pip`` or ``uv``: a list of packages, a file of them, or a dict."""
    known = (
        "packages",
        f"{tool}_check",
        f"{tool}_version",
        "pip_install_options" if tool == "pip" else "uv_pip_install_options",
    )

    def rule(value: Any) -> dict[str, Any] | None:
        what = f"runtime_env['{tool}']"
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            found: dict[str, Any] = {"packages": value}
        elif isinstance(value, str):
            found = {"packages": _lines(value)}
        elif isinstance(value, dict):
            if set(value) - set(known):
                raise ValueError(
                    f"{what} can only have these fields: {', '.join(known[:-1])} and {known[-1]}, but got: "
                    f"{list(value.keys())}"
                )
            if "packages" not in value:
                raise ValueError(f"{what} must include field 'packages', but got {value}")
            _check_types(what, value, known)
            found = dict(value)
            if isinstance(found["packages"], str):
                found["packages"] = _lines(found["packages"])
        else:
            raise TypeError(f"{what} must be of type str or List[str], got {type(value)}")
        found.setdefault(f"{tool}_check", False)
        found["packages"] = list(dict.fromkeys(found["packages"]))
        return found if found["packages"] else None

    return rule


def _check_types(what: str, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    packages, check, version, options = (value.get(name) for name in known)
    if not isinstance(packages, list | str):
        raise ValueError(f"{what}['packages'] must be of type str of list, got: {type(packages)}")
    if check is not None and not isinstance(check, bool):
        raise TypeError(f"{what}['{known[1]}'] must be of type bool, got {type(check)}")
    if version is not None and not isinstance(version, str):
        raise TypeError(f"{what}['{known[2]}'] must be of type str, got {type(version)}")
    if options is not None and not (isinstance(options, list) and all(isinstance(each, str) for each in options)):
        raise TypeError(f"{what}['{known[3]}'] must be of type list[str] got {type(options)}")


def _lines(file: str) -> list[str]:
    from pathlib import Path

    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{path} is not a valid file")
    return path.read_text().strip().split("\n")


def _as_it_is(value: Any) -> Any:
    return value


CHECKED: dict[str, Callable[[Any], Any]] = {
    "py_modules": _py_modules,
    "working_dir": _working_dir,
    "excludes": _excludes,
    "conda": _conda,
    "pip": _packages("pip"),
    "uv": _packages("uv"),
    "env_vars": _env_vars,
    "container": _as_it_is,
    "config": _as_it_is,
}
"""The rule of each field that has one; ``config`` has its own class."""


def check_combination(fields: Mapping[str, Any]) -> None:
    """Refuse fields that exclude each other.

    Args:
        fields: All of an environment.

    Raises:
        ValueError: There are such fields.
    """
    pip, conda, uv = (fields.get(name) for name in ("pip", "conda", "uv"))
    if sum(each is not None for each in (pip, conda, uv)) > 1:
        raise ValueError(
            "The 'pip' field, 'uv' field, and 'conda' field of runtime_env cannot be specified at the same time.\n"
            f"specified pip field: {pip}\nspecified conda field: {conda}\nspecified uv field: {uv}\n"
            "To use pip with conda, please only set the 'conda' field, and specify your pip dependencies within the "
            "conda YAML config dict."
        )
    for name in ("container", "image_uri"):
        others = set(fields) - {name, "config", "env_vars"}
        if fields.get(name) and others:
            raise ValueError(
                f"The '{name}' field currently cannot be used together with other fields of runtime_env. Specified "
                f"fields: {others}"
            )


def check_no_local_paths(fields: Mapping[str, Any]) -> None:
    """Refuse folders in the environment of a task or an actor, as Ray does.

    Args:
        fields: All of the environment.

    Raises:
        ValueError: There is one.
    """
    if fields.get("working_dir"):
        _check_uri(fields["working_dir"], "working_dir")
    for module in fields.get("py_modules") or ():
        _check_uri(module, "py_modules")
