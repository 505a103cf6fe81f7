# stress/report.py - what happened, what is there now, and waiting for it.
"""Counts, states and waiting of the soak."""

from __future__ import annotations

import collections
import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from miniray import _miniray_core as core

LOST_SECONDS = 60  # without what must come: a hang


class Counts(collections.Counter[str]):
    """What happened; threads add to it under its lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def note(self, **numbers: float) -> None:
        """Add to some counts."""
        with self.lock:
            self.update(numbers)

    def longest(self, name: str, value: float) -> None:
        """Keep the largest of all values."""
        if value > self[name]:
            with self.lock:
                self[name] = max(self[name], round(value))


def state() -> dict[str, int]:
    """Return how much of the tables and of the memory is in use."""
    gc.collect()
    statistics = core._statistics()
    return {name: statistics[name] for name in ("objects", "tasks", "actors", "used_bytes", "spilled_bytes")}


def own_resources() -> dict[str, int]:
    """Return what this process has of the system."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "children": sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir()),
    }


def resident_megabytes() -> int:
    """Return this process's own memory, without shared pages."""
    resident, shared = (int(word) for word in Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") >> 20


def wait_for(condition: Callable[[], object], what: Callable[[], object]) -> None:
    """Poll a condition; fail when it does not come true."""
    end = time.monotonic() + LOST_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen: {what()}")
        time.sleep(0.02)


def must_be_valid(counts: Counts) -> None:
    """Compare truth and derived state of the session."""
    fault = core._validate()
    if fault is not None:
        raise AssertionError(f"after {dict(counts)}: {fault}")
    counts.note(validations=1)
