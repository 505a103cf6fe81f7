# _api/settings.py - settings of Ray that come from the environment or from dictionaries of its internals.
"""Settings that are not arguments of their own."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniray._api.logging_config import LoggingConfig

_LEVELS = {"CRITICAL": 50, "FATAL": 50, "ERROR": 40, "WARNING": 30, "WARN": 30, "INFO": 20, "DEBUG": 10, "NOTSET": 0}
"""The logging module's own names, for which it need not be imported."""
_MANY_RETRIES = 1 << 31  # Ray writes "no limit" as the largest number


def env_flag(name: str, default: str = "1") -> bool:
    """Return a flag of the environment, on where it is not set unless the default says otherwise."""
    return os.environ.get(name, default).lower() in ("1", "true")


def record_call_sites(system_config: Mapping[str, Any] | None) -> bool:
    """Return whether objects remember the line that made them.

    Args:
        system_config: ``record_ref_creation_sites`` in it goes before ``RAY_record_ref_creation_sites``, as in Ray.
    """
    default = env_flag("RAY_record_ref_creation_sites", "0")
    return bool((system_config or {}).get("record_ref_creation_sites", default))


class MemorySettings(Record):
    """How the memory monitor acts.

    Attributes:
        threshold: Share of the memory from which on workers are ended.
        refresh_s: Seconds between two looks; 0 for none.
        retries: How often a task that was ended is tried again; None for no limit.
    """

    threshold: float = 0.95
    refresh_s: float = 0.25
    retries: int | None = None


def memory_settings(system_config: Mapping[str, Any] | None) -> MemorySettings:
    """Return the settings of the memory monitor.

    Args:
        system_config: ``memory_usage_threshold``, ``memory_monitor_refresh_ms`` and ``task_oom_retries`` in it go
            before the variables of these names behind ``RAY_``.

    Raises:
        ValueError: One of them is no such number.
    """

    def number(name: str, default: float, least: float, most: float) -> float:
        return _number(system_config, name, f"RAY_{name}", default, least, most)

    retries = number("task_oom_retries", -1, -1, math.inf)
    return MemorySettings(
        threshold=number("memory_usage_threshold", 0.95, 0, 1),
        refresh_s=number("memory_monitor_refresh_ms", 250, 0, math.inf) / 1000,
        retries=None if retries < 0 or retries >= _MANY_RETRIES else int(retries),
    )


def stop_limit_s(system_config: Mapping[str, Any] | None) -> float:
    """Return how many seconds a stopped worker may keep others waiting for the lock; 0: for ever.

    Args:
        system_config: ``stop_timeout_s`` in it goes before ``MINIRAY_STOP_TIMEOUT_S``.

    Raises:
        ValueError: It is no such number.
    """
    return _number(system_config, "stop_timeout_s", "MINIRAY_STOP_TIMEOUT_S", 30, 0, 1e6)


def _number(
    system_config: Mapping[str, Any] | None, name: str, variable: str, default: float, least: float, most: float
) -> float:
    given = (system_config or {}).get(name, os.environ.get(variable, default))
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value <= most:
        raise ValueError(f"{variable} must be a number from {least:g} to {most:g}, not {given!r}")
    return value


def temp_folder(folder: object) -> str | None:
    """Return the folder for sessions, None for the default; ``RAY_TMPDIR`` is one."""
    if folder is None:
        return os.environ.get("RAY_TMPDIR") or None
    if not isinstance(folder, str) or not os.path.isabs(folder):
        raise ValueError("temp_dir must be absolute path or None.")
    return folder


def logging_config(given: object) -> LoggingConfig | None:
    """Return how driver and workers log, None for "as they do"."""
    if given is None and not os.environ.get("RAY_LOGGING_CONFIG_ENCODING"):
        return None
    from miniray._api.logging_config import resolve_logging_config  # it imports the logging module

    return resolve_logging_config(given)


def logging_level(level: object) -> int:
    """Return a level of the logging module by its number or name."""
    if isinstance(level, int):
        return level
    name = str(level).upper()
    if name in _LEVELS:
        return _LEVELS[name]
    import logging

    number = logging.getLevelName(name)
    if not isinstance(number, int):
        raise ValueError(f"Unknown level: {number!r}")  # as the logging module says it
    return number
