# _api/warn_once.py - a warning that a program sees once.
#
# Invariants  W1 the log, not the warnings module, carries it: a program that turns warnings into errors must not fail
#                over an option that is accepted.
"""Log each warning once in the life of a process."""

from __future__ import annotations

from miniray._runtime import log

__all__ = ["warn_once"]

_shown: set[str] = set()


def warn_once(key: str, message: str) -> None:
    """Log a warning unless one with this key was logged before.

    Args:
        key: Names the warning.
        message: The text, for people.
    """
    if key not in _shown:
        _shown.add(key)
        log.warn(message)
