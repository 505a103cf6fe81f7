"""Segments of the low-level module, by name."""

from __future__ import annotations

from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")

# A process that hangs is killed after this many seconds. It is a watchdog, not a bound on speed.
HANG_SECONDS = 60


def segments_of(name: str) -> list[str]:
    """Return the files in /dev/shm whose name holds ``name``."""
    return sorted(path.name for path in SHARED_MEMORY.iterdir() if name in path.name)
