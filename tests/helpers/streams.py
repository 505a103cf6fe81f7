"""Actors that yield for tests of streams, and what there is of everything."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from helpers.states import wait_until
from miniray import _miniray_core as core

COUNTED = ("actors", "tasks", "objects", "used_bytes", "running")


def counts() -> dict[str, int]:
    """Return how much there is of what streams use."""
    gc.collect()
    statistics = core._statistics()
    return {name: statistics[name] for name in COUNTED}


def expect_counts(before: dict[str, int]) -> None:
    """Wait until there is no more of anything than before."""
    wait_until(lambda: all(counts()[name] <= before[name] for name in COUNTED), f"{counts()} comes back to {before}")
    assert core._validate() is None


class Source:
    """An actor that yields."""

    def endless(self) -> Iterator[bytes]:
        """Yield for ever."""
        while True:
            yield bytes(1000)

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()


class AsyncSource:
    """An actor whose coroutines yield."""

    async def endless(self, path: Path) -> AsyncIterator[bytes]:
        """Yield for ever; log the end."""
        try:
            while True:
                await asyncio.sleep(0)
                yield bytes(1000)
        finally:
            with open(path, "a") as file:
                file.write("closed\n")

    async def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()
