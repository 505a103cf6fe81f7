# _runtime/log.py - what miniray itself logs: to the logger "miniray".
#
# Invariants  L1 the logging module is imported when there is something to log: it takes long, and most programs
#                never need it.
"""Messages to the log."""

from __future__ import annotations

import sys

__all__ = ["debug", "warn"]


def warn(message: str) -> None:
    """Log a warning.

    Args:
        message: The text, for people.
    """
    import logging

    logging.getLogger("miniray").warning("%s", message)


def debug(message: str) -> None:
    """Log what only people who look for it see: nothing, where nobody has imported logging to ask for it.

    Args:
        message: The text, for people.
    """
    if "logging" in sys.modules:
        import logging

        logging.getLogger("miniray").debug("%s", message)
