# _runtime/ids.py - the ids of the session, of this process and of what runs in it, as hex digits.
"""Ids, for the runtime context and for logs."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from miniray import _miniray_core as core
from miniray._runtime.concurrency import current_call

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JOB_ID", "actor_id", "node_id", "running", "task_id", "worker_id"]

JOB_ID = "01000000"
"""A session runs one job."""


def running() -> tuple[int, str | None, Mapping[str, int], bool] | None:
    """Return what the core knows of the task or call that runs here; None where none does."""
    return core._running_task(current_call.get(None))


def node_id() -> str:
    """Return the id of this machine in this session: 56 digits."""
    return hashlib.blake2b(f"node\0{core._session_name()}".encode(), digest_size=28).hexdigest()


def worker_id() -> str:
    """Return the id of this process in this session: 56 digits."""
    return hashlib.blake2b(f"worker\0{core._session_name()}\0{os.getpid()}".encode(), digest_size=28).hexdigest()


def task_id() -> str | None:
    """Return the id of the task or call that runs here, 48 digits, its number first; None where none does."""
    found = running()
    if found is None:
        return None
    session = hashlib.blake2b(core._session_name().encode(), digest_size=16).hexdigest()
    return f"{found[0]:016x}{session}"


def actor_id() -> str | None:
    """Return the id of the actor of this process, that of its handles; None without one."""
    own = core._own_actor()
    return None if own is None else own.hex()
