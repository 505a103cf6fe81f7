# _runtime/unread_errors.py - errors that nobody asked for.
"""What is told of an error whose last ref went before anybody read it."""

from __future__ import annotations

import os
import sys

from miniray.exceptions import RayActorError, TaskCancelledError


def tell(error: BaseException) -> None:
    """Write an error to standard error, unless it says what its program wanted: a cancellation, the end of an actor.

    Args:
        error: It was the result of a call.
    """
    if isinstance(error, RayActorError | TaskCancelledError):  # as in Ray
        return
    if os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1":
        sys.stderr.write(f"Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): {error}\n")
        sys.stderr.flush()
