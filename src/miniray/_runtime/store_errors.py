# _runtime/store_errors.py - why the store had no room, with the sizes, who holds the most, and what to do.
"""Errors of a full store."""

from __future__ import annotations

import os

from miniray import _miniray_core as core
from miniray.exceptions import ObjectLostError, ObjectStoreFullError, OutOfDiskError, RayError

__all__ = ["DamagedObjectError", "make"]

_TOP_HOLDERS = 3


class DamagedObjectError(ObjectLostError):
    """The bytes of a spilled object on the disk are not those that were written."""

    def _reason(self) -> str:
        return (
            f"The spilled bytes of {self.object_ref_hex} cannot be read back as they were written: the disk or its "
            "file system is at fault. Run the task that made the object again, and name another disk in "
            "init(object_spilling_directory=...)."
        )


def make(reason: str, needed: int, used: int, capacity: int, system_error: int) -> RayError:
    """Return the error for an object that found no room; the arguments are those of ``hooks.store_full``."""
    free = max(capacity - used, 0)
    sizes = f"{needed:,} bytes are needed for one object; {free:,} of the store's {capacity:,} bytes are free"
    if reason == "too large":
        text = (
            f"{needed:,} bytes are needed for one object, but the whole store has only {capacity:,}. Raise "
            "init(object_store_memory=...), or split the object."
        )
        return ObjectStoreFullError(text, needed_bytes=needed, free_bytes=free, capacity_bytes=capacity)
    if reason == "full":
        can_spill = _statistics().get("spill_capacity_bytes", 0) > 0
        why = "all of them are in use, so that none can be spilled" if can_spill else "spilling is off"
        step = "" if can_spill else ", or allow spilling: init(object_spilling_limit=...)"
        text = (
            f"{sizes}, perhaps not in one piece; as to the objects in it, {why}. {_holders()}Drop unused ObjectRefs "
            f"and arrays made from them, raise init(object_store_memory=...){step}."
        )
        return ObjectStoreFullError(text, needed_bytes=needed, free_bytes=free, capacity_bytes=capacity)
    if reason == "result":
        text = f"{sizes}: a task's result of that size, and the error about it, found no room. {_holders()}"
        spills = _statistics().get("spill_capacity_bytes", 0) > 0
        return OutOfDiskError(text.rstrip()) if spills else ObjectStoreFullError(text.rstrip(), needed_bytes=needed)
    if reason in ("spill limit", "disk"):
        facts = _statistics()
        why = os.strerror(-system_error) if system_error else "the limit init(object_spilling_limit=...)"
        text = (
            f"{sizes}, and nothing more can be spilled: {facts.get('spilled_bytes', 0):,} of "
            f"{facts.get('spill_capacity_bytes', 0):,} bytes are on disk ({why}). {_holders()}"
        )
        return OutOfDiskError(text.rstrip())
    return ObjectStoreFullError(
        f"{reason}. The file system of /dev/shm has no room: drop unused ObjectRefs, or give it more memory "
        "(in a container: --shm-size)"
    )


def _statistics() -> dict[str, int]:
    return core._statistics() if core._is_attached() else {}


def _holders() -> str:
    """Return a sentence about the largest objects in memory and who keeps them, empty when nothing is known."""
    from miniray._runtime import observation  # it imports much, and few programs come here

    try:
        rows = observation.observe_objects(None)
    except (OSError, RuntimeError):  # the error about the store must not become another
        return ""
    largest = sorted((row for row in rows if row.location == "heap"), key=lambda row: -row.size_bytes)[:_TOP_HOLDERS]
    if not largest:
        return ""
    texts = []
    for row in largest:
        keepers = ", ".join(f"{holder.kind} of {holder.process} {holder.pid}" for holder in row.holders)
        keepers += f"{', ' * bool(keepers)}{row.task_count} tasks" if row.task_count else ""
        site = f" from {row.call_site}" if row.call_site else ""
        texts.append(f"{row.size_bytes:,} bytes{site} ({keepers or 'other objects'})")
    return f"The largest objects in memory: {'; '.join(texts)}; all of them: python -m miniray memory. "
