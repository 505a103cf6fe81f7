# _api/settings.py - settings of Ray that come from the environment or from dictionaries of its internals.
"""Settings that are not arguments of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def temp_folder(folder: object) -> str | None:
    """Return the folder for sessions, None for the default; ``RAY_TMPDIR`` is one."""
    if folder is None:
        return os.environ.get("RAY_TMPDIR") or None
    if not isinstance(folder, str) or not os.path.isabs(folder):
        raise ValueError("temp_dir must be absolute path or None.")
    return folder
