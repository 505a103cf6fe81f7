"""Changes to the shared memory of this process's session, as foreign code would make them."""

from __future__ import annotations

from pathlib import Path

from miniray import _miniray_core as core
from miniray._runtime import runtime

# Of scheduler/resources.hpp: a Shape, and where its queue is in it.
SHAPE_BYTES = 144
QUEUE_START, QUEUE_BYTES = 4, 12


def overwrite(table: str, content: bytes, at: int = 0) -> None:
    """Write bytes into a table of ``core._layout()``."""
    offset, size = core._layout()[table]
    assert at + len(content) <= size
    with control_file().open("r+b", buffering=0) as file:
        file.seek(offset + at)
        file.write(content)


def control_file() -> Path:
    """Return the file of the session's tables."""
    return Path(f"/dev/shm/miniray_{runtime.current().name}_scheduler")


def fill(table: str, byte: int, most: int = 1 << 16) -> None:
    """Fill the first rows of a table; rows behind them are holes that stay holes."""
    overwrite(table, bytes([byte]) * min(most, core._layout()[table][1]))


def lose_queues() -> None:
    """Empty all queues of tasks without a trace: the tasks are in none any more."""
    for start in range(0, core._layout()["shapes"][1], SHAPE_BYTES):
        overwrite("shapes", bytes(QUEUE_BYTES), start + QUEUE_START)
    overwrite("queued_count", bytes(4))
