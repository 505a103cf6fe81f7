"""Actors that yield for tests of streams, and what there is of everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from helpers.counts import COUNTED, counts


def counts_of_streams() -> dict[str, int]:
    """Return how much there is of what streams use."""
    return counts((*COUNTED, "running"))


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
