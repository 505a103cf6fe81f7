# util/joblib/spare_pool.py - the pool of the last Parallel waits for the next, with its modules imported.
#
# Invariants  S1 one pool waits at most, for _IDLE_SECONDS; it has no work. Who takes it has it alone.
#             S2 it serves only the same session, number of processes and settings.
# Locks       _lock guards _Spare; the timer's thread takes it, too.
"""A process pool that is used again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miniray.util.multiprocessing import Pool

__all__ = ["close", "keep", "take"]

_IDLE_SECONDS = 300.0  # as joblib's own processes
_lock = threading.Lock()


class _Spare:
    pool: Pool | None = None
    key: object = None
    timer: threading.Timer | None = None


def take(key: object) -> Pool | None:
    """Return the pool that was kept under an equal key, or None; one of another key is closed."""
    with _lock:
        pool = _remove()
        is_right = key == _Spare.key
    if pool is not None and not is_right:
        pool.close()
        return None
    return pool


def keep(key: object, pool: Pool) -> None:
    """Keep a pool for the next who asks.

    Args:
        key: What it was made for.
        pool: The pool, without work.
    """
    with _lock:
        before = _remove()
        _Spare.pool, _Spare.key = pool, key
        _Spare.timer = threading.Timer(_IDLE_SECONDS, close)
        _Spare.timer.daemon = True
        _Spare.timer.start()
    if before is not None:
        before.close()


def close() -> None:
    """Close the pool that waits, if any."""
    with _lock:
        pool = _remove()
    if pool is not None:
        pool.close()


def _remove() -> Pool | None:
    pool, _Spare.pool = _Spare.pool, None
    if _Spare.timer is not None:
        _Spare.timer.cancel()
    return pool
