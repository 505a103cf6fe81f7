"""Places with little shared memory or little memory, for the programs of tests that run as root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.states import wait_until

_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs /dev/shm && shift && exec "$@"'
_JOIN = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'


def in_small_shared_memory(size: str) -> list[str]:
    """Return a command that runs what is written behind it with a /dev/shm of its own, of that size (``"64m"``)."""
    command = ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", size]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.fail(f"this root may not mount a file system of its own (CAP_SYS_ADMIN): {tried.stderr.strip()}")
    return command


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[list[str]]:
    """Make a control group with a memory limit; give a command that runs what is written behind it in there."""
    version_one = Path("/sys/fs/cgroup/memory")
    parent = version_one if version_one.is_dir() else Path("/sys/fs/cgroup")
    folder = parent / f"miniray-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.fail(f"this root may not make control groups: {error}")
    try:
        limit = folder / ("memory.limit_in_bytes" if parent == version_one else "memory.max")
        try:
            limit.write_text(str(limit_bytes))
        except OSError as error:
            pytest.fail(f"this root may not limit the memory of control groups: {error}")
        yield ["sh", "-c", _JOIN, "sh", str(folder)]
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), "the control group is empty")
        folder.rmdir()
