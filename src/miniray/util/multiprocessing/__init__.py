# util/multiprocessing - Ray's module: ``from miniray.util.multiprocessing import Pool``.
"""``multiprocessing.Pool`` on actors."""

from __future__ import annotations

from multiprocessing import JoinableQueue, TimeoutError  # noqa: A004 - as Ray has it

from miniray.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
