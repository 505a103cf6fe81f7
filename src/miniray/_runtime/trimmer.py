# _runtime/trimmer.py - when memory that came free goes back to the system: of emptied tables, and of the object store.
#
# Invariants  W1 what came free a moment ago is not given back: bursts use it again. Tables go after a second. Of the
#                store half goes after five seconds, half of the rest every two, less what was used in the meantime
#                (PageHeap::begin_trim).
#             W2 the store's memory goes in parts, with pauses: each part holds the lock of the session.
"""Giving memory back."""

from __future__ import annotations

import time

from miniray import _miniray_core as core

__all__ = ["Trimmer"]

_TABLES_SECONDS = 1.0
_HEAP_SECONDS = 5.0
_NEXT_HEAP_SECONDS = 2.0
_PAUSE_SECONDS = 0.002


class Trimmer:
    """Gives memory back in the supervisor, which calls ``tend`` at ``look_at`` and whenever it wakes.

    Attributes:
        look_at: When to call ``tend`` next, in monotonic seconds; None: when the doorbell rings.
    """

    def __init__(self) -> None:
        """Make one that has given nothing back."""
        self.look_at: float | None = None
        self._tables_at: float | None = None
        self._heap_at: float | None = None
        self._has_parts = False

    def tend(self) -> None:
        """Give back what has been free for long enough, or a part of it."""
        now = time.monotonic()
        self._tend_tables(now)
        self._tend_heap(now)
        self.look_at = min((at for at in (self._tables_at, self._heap_at) if at is not None), default=None)

    def _tend_tables(self, now: float) -> None:
        if self._tables_at is not None and now >= self._tables_at:
            core._trim()
            self._tables_at = None
        if self._tables_at is None and core._trim_wanted():
            self._tables_at = now + _TABLES_SECONDS

    def _tend_heap(self, now: float) -> None:
        if self._heap_at is None:
            self._heap_at = now + _HEAP_SECONDS if core._is_heap_trimmable() else None
            return
        if now < self._heap_at:
            return
        if not self._has_parts:
            core._begin_heap_trim()
        self._has_parts = core._trim_heap() > 0
        if self._has_parts:
            self._heap_at = now + _PAUSE_SECONDS
        else:
            self._heap_at = now + _NEXT_HEAP_SECONDS if core._is_heap_trimmable() else None
