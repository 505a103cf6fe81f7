# _runtime/machine.py - what this computer lets one program use: processors, memory, shared memory.
#
# Invariants  M1 nothing here fails: a fact that cannot be read is a limit that does not exist, and the plain figure of
#                the operating system stands in its place.
#             M2 every answer is a positive number that the kernel will honour (gpu_count may be 0).
#             M3 files are only read, never cached: a test gives another root folder, a container may change its limits.
# Source      Linux control groups, kernel documentation of versions 1 and 2; the fractions are those of Ray 2.60.0.
"""Processors, memory and shared memory that this process may use, containers included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_count", "default_object_store_bytes", "gpu_count", "memory_limit_bytes", "shared_memory_bytes"]

OBJECT_STORE_FRACTION = 0.3
"""Share of the memory that the object store may use by default."""

OBJECT_STORE_CAP_BYTES = 200_000_000_000
"""The default store never gets larger; ``init(object_store_memory=...)`` may."""

SHARED_MEMORY_FRACTION = 0.95
"""Share of the free shared memory file system that the default store may use."""

_FALLBACK_MEMORY_BYTES = 1 << 30
_ROOT = Path("/")


def cpu_count(root: Path = _ROOT) -> int:
    """Return how many processors this process may keep busy.

    The smallest of the processors of the machine, the affinity mask of this process (``taskset``, cpusets) and the
    processor quota of its control groups (``docker --cpus``), the quota rounded down to whole processors as in Ray.

    Args:
        root: Folder that stands for ``/``; tests give their own.

    Returns:
        At least 1.
    """
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)) or 1)
    quota = _cgroup_cpu_quota(root)
    if quota is not None:
        count = min(count, int(quota))
    return max(1, count)


def memory_limit_bytes(root: Path = _ROOT) -> int:
    """Return how much memory this process and its workers may use together, in bytes.

    The smaller of the memory of the machine and the memory limits of the control groups of this process. What other
    programs use is not subtracted.

    Args:
        root: Folder that stands for ``/``; tests give their own.

    Returns:
        Bytes, at least 1.
    """
    limits = [_physical_memory_bytes()]
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read_integer(folder / name)
            if limit is not None and limit > 0:  # "max" and -1 mean that there is no limit
                limits.append(limit)
    return min(limits)


def shared_memory_bytes(folder: str | Path = "/dev/shm") -> int | None:
    """Return the free bytes of the shared memory file system, None where there is none (macOS).

    Args:
        folder: Where shared memory files live.
    """
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def default_object_store_bytes(root: Path = _ROOT, shared_memory_folder: str | Path = "/dev/shm") -> int:
    """Return the size of the object store when ``init(object_store_memory=...)`` does not say.

    30% of :func:`memory_limit_bytes`, but no more than 95% of the free shared memory file system and than 200 GB.

    Args:
        root: Folder that stands for ``/``; tests give their own.
        shared_memory_folder: Where the segments will live.

    Returns:
        Bytes, at least 1.
    """
    size = min(int(memory_limit_bytes(root) * OBJECT_STORE_FRACTION), OBJECT_STORE_CAP_BYTES)
    free = shared_memory_bytes(shared_memory_folder)
    if free is not None:
        size = min(size, int(free * SHARED_MEMORY_FRACTION))
    return max(1, size)


def gpu_count(root: Path = _ROOT) -> int:
    """Return how many NVIDIA GPUs this process may use, 0 if none.

    ``CUDA_VISIBLE_DEVICES`` decides when it is set (an empty value or "NoDevFiles" means none); else the driver's list.

    Args:
        root: Folder that stands for ``/``; tests give their own.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        present = sum(1 for _ in (root / "proc/driver/nvidia/gpus").iterdir())
    except OSError:
        return 0
    if visible is None:
        return present
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if names == ["NoDevFiles"]:
        return 0
    return min(present, len(names))


def _physical_memory_bytes() -> int:
    """Return the memory of the machine in bytes; 1 GiB when the system does not say."""
    try:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _FALLBACK_MEMORY_BYTES
    return pages * page_bytes if pages > 0 and page_bytes > 0 else _FALLBACK_MEMORY_BYTES


def _cgroup_cpu_quota(root: Path) -> float | None:
    """Return the smallest processor quota of the control groups of this process, None without one."""
    quotas = []
    for folder in _cgroup_folders(root, "cpu"):
        words = _read_words(folder / "cpu.max")  # version 2: "QUOTA PERIOD" or "max PERIOD"
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
        quota = _read_integer(folder / "cpu.cfs_quota_us")  # version 1: -1 is no quota
        period = _read_integer(folder / "cpu.cfs_period_us")
        if quota is not None and period is not None and quota > 0 and period > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the existing control group folders that limit this process, from its own up to the top.

    A limit of any level counts, so each level is listed. In a container ``/proc/self/cgroup`` may name a path of the
    host that is not visible here: the levels that do not exist are left out, the top one is the container's own.
    """
    mount = root / "sys/fs/cgroup"
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if hierarchy == "0" and names == "":
            tops = [mount, mount / "unified"]  # version 2, alone or beside version 1
        elif controller in names.split(","):
            tops = [mount / controller, mount / names]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for top in tops:
            for depth in range(len(parts), -1, -1):
                folder = top.joinpath(*parts[:depth])
                if folder.is_dir():
                    yield folder


def _read_text(path: Path) -> str:
    """Return the text of a small file, an empty string when it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _read_words(path: Path) -> list[str]:
    """Return the words of a small file, none when it cannot be read."""
    return _read_text(path).split()


def _read_integer(path: Path) -> int | None:
    """Return the number that a small file holds, None for anything else."""
    try:
        return int(_read_text(path))
    except ValueError:
        return None
