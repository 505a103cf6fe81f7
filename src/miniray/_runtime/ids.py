# _runtime/ids.py - the ids of the session, of this process and of what runs in it, as hex digits.
"""Ids, for the runtime context and for logs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._runtime.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JOB_ID", "actor_id", "node_id", "running", "task_bytes", "task_id", "worker_id"]

JOB_ID = "01000000"
"""A session runs one job."""


def running() -> tuple[int, str | None, Mapping[str, int], bool, Any] | None:
    """Return what the core knows of the task or call that runs here; None where none does."""
    return core._running_task()


def node_id() -> str:
    """Return the id of this machine in this session: 56 digits."""
    return digest(f"node\0{core._session_name()}".encode(), 28).hex()


def worker_id() -> str:
    """Return the id of this process in this session: 56 digits."""
    return digest(f"worker\0{core._session_name()}\0{os.getpid()}".encode(), 28).hex()


def task_bytes(number: int) -> bytes:
    """Return the 24 bytes of the id of a task or a call of this session; the last 16 say: of no actor, and the job.

    Args:
        number: What it counts as, modulo 2**32; 0: the program itself.
    """
    number &= 0xFFFFFFFF
    own = b"\xff" * 8
    if number != 0:
        counted = b"own" + core._session_name().encode() + number.to_bytes(8, "little")
        own = digest(counted, 8)
    return own + b"\xff" * 12 + bytes.fromhex(JOB_ID)


def task_id() -> str | None:
    """Return the id of the task or call that runs here, 48 digits; None where none does."""
    found = running()
    return None if found is None else task_bytes(found[0]).hex()


def actor_id() -> str | None:
    """Return the id of the actor of this process, that of its handles; None without one."""
    own = core._own_actor()
    return None if own is None else own.hex()
