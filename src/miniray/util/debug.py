# util/debug.py - messages that a process logs once.
"""``log_once`` and its switches."""

from __future__ import annotations

import time
from typing import ClassVar

__all__ = ["disable_log_once_globally", "enable_periodic_logging", "log_once", "reset_log_once"]

_PERIOD_SECONDS = 60.0


class _State:
    seen: ClassVar[set[str]] = set()
    is_disabled: bool = False
    is_periodic: bool = False
    last_time: float = 0.0


def log_once(key: str) -> bool:
    """Return True the first time that this process asks for a key.

    Args:
        key: Names the place that wants to log.
    """
    if _State.is_disabled:
        return False
    if key not in _State.seen:
        _State.seen.add(key)
        _State.last_time = time.monotonic()
        return True
    if _State.is_periodic and time.monotonic() - _State.last_time > _PERIOD_SECONDS:
        _State.seen.clear()
        _State.last_time = time.monotonic()
    return False


def disable_log_once_globally() -> None:
    """Make ``log_once`` return False from now on, in this process."""
    _State.is_disabled = True


def enable_periodic_logging() -> None:
    """Make ``log_once`` forget all keys each minute, in this process."""
    _State.is_periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget a key.

    Args:
        key: None: all of them.
    """
    if key is None:
        _State.seen.clear()
    else:
        _State.seen.discard(key)
