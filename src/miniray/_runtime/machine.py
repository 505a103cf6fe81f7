# _runtime/machine.py - what this computer lets one program use: processors, memory, shared memory.
#
# Invariants  M1 nothing here fails: a fact that cannot be read is a limit that does not exist, and the plain figure of
#                the operating system stands in its place.
#             M2 every answer is a positive number that the kernel will honour (gpu_count may be 0).
#             M3 files are only read, never cached: a test gives another root folder, a container may change its limits.
# Source      Linux control groups, kernel documentation of versions 1 and 2; the fractions are those of Ray 2.60.0.
"""Processors, memory and shared memory that this process may use, containers included."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, TypeAlias

from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "StorePlan",
    "cgroup_folders",
    "cpu_count",
    "gpu_count",
    "memory_limit_bytes",
    "plan_store",
    "read_integer",
    "read_text",
    "shared_memory_bytes",
]

OBJECT_STORE_FRACTION = 0.3
"""Share of the memory that the object store may use by default."""

OBJECT_STORE_CAP_BYTES = 200_000_000_000
"""The default store never gets larger; ``init(object_store_memory=...)`` may."""

SHARED_MEMORY_FRACTION = 0.95
"""Share of the free shared memory file system that a session may use."""

TABLE_BYTES = 32 << 20
"""Room in the shared memory file system for the tables of a session, beside its store."""

LARGEST_FRACTION = 0.8
"""Share of the memory that a store gets whose wanted size is more than all of it."""

_FALLBACK_MEMORY_BYTES = 1 << 30
_ROOT = "/"
Folder: TypeAlias = "str | os.PathLike[str]"


def cpu_count(root: Folder = _ROOT) -> int:
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
        with contextlib.suppress(OSError):  # a filter of system calls
            count = min(count, len(os.sched_getaffinity(0)) or 1)
    quota = _cgroup_cpu_quota(root)
    if quota is not None:
        count = min(count, int(quota))
    return max(1, count)


def memory_limit_bytes(root: Folder = _ROOT) -> int:
    """Return how much memory this process and its workers may use together, in bytes.

    The smaller of the memory of the machine and the memory limits of the control groups of this process. What other
    programs use is not subtracted.

    Args:
        root: Folder that stands for ``/``; tests give their own.

    Returns:
        Bytes, at least 1.
    """
    limits = [_physical_memory_bytes()]
    for folder in cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = read_integer(f"{folder}/{name}")
            if limit is not None and limit > 0:  # "max" and -1 mean that there is no limit
                limits.append(limit)
    return min(limits)


def shared_memory_bytes(folder: Folder = "/dev/shm") -> int | None:
    """Return the free bytes of the shared memory file system, None where there is none (macOS).

    Args:
        folder: Where shared memory files live.
    """
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


class StorePlan(Record):
    """Size and place of an object store.

    Attributes:
        size_bytes: How large it may get.
        anonymous: Whether it is in memory without a name, which the limit of the shared memory file system does not
            concern, in place of files there.
        reason: How the size came about: one sentence.
        warning: What the user should know about it, None for nothing.
    """

    size_bytes: int
    anonymous: bool
    reason: str
    warning: str | None = None


def plan_store(
    requested: int | None = None, shared_memory_folder: Folder = "/dev/shm", root: Folder = _ROOT
) -> StorePlan:
    """Return how large the object store gets, and where it is.

    Without a wish, 30% of :func:`memory_limit_bytes`, but no more than 200 GB. A wish above the memory limit becomes
    80% of the limit: the kernel would kill the program long before the store is full. A store that the shared memory
    file system has no room for becomes anonymous; on systems without anonymous files (macOS) it becomes smaller.

    Args:
        requested: ``init(object_store_memory=...)`` in bytes, None for the default.
        shared_memory_folder: Where the segments would live.
        root: Folder that stands for ``/``; tests give their own.
    """
    limit = memory_limit_bytes(root)
    warnings = []
    if requested is None:
        size = max(1, min(int(limit * OBJECT_STORE_FRACTION), OBJECT_STORE_CAP_BYTES))
        source = f"{OBJECT_STORE_FRACTION:.0%} of the {_text(limit)} of memory that this program may use"
        if size == OBJECT_STORE_CAP_BYTES:
            source = "the most that a store gets by itself"
    elif requested <= limit:
        size = requested
        source = "as object_store_memory says"
    else:
        size = max(1, int(limit * LARGEST_FRACTION))
        source = (
            f"{LARGEST_FRACTION:.0%} of the {_text(limit)} of memory that this program may use, less than the "
            f"{_text(requested)} that object_store_memory says"
        )
        warnings.append(
            f"object_store_memory={requested} ({_text(requested)}) is more than the {_text(limit)} of memory that this "
            f"program may use (memory of the machine, or the limit of its control group): the object store gets "
            f"{_text(size)}. Ask for less, or give the program more memory (in a container: --memory)."
        )
    free = shared_memory_bytes(shared_memory_folder)
    anonymous = False
    if (0 if free is None else int(free * SHARED_MEMORY_FRACTION)) < size + TABLE_BYTES:
        found = f"{shared_memory_folder} does not exist" if free is None else f"{_text(free)} are free there"
        if hasattr(os, "memfd_create"):
            anonymous = True
            source += f"; in anonymous memory and not in {shared_memory_folder}, because {found}"
            wanted_gib = int((size + TABLE_BYTES) / SHARED_MEMORY_FRACTION) // (1 << 30) + 1
            warnings.append(
                f"The object store of {_text(size)} does not fit into {shared_memory_folder}, because {found}. It is "
                "in anonymous memory now: programs run as they would, but tools cannot open it by its name. To have "
                f"it there, give {shared_memory_folder} more memory (docker run --shm-size={wanted_gib}g), or ask for "
                "a smaller store (object_store_memory)."
            )
        elif free is not None and int(free * SHARED_MEMORY_FRACTION) < size:
            size = max(1, int(free * SHARED_MEMORY_FRACTION))
            source = f"{SHARED_MEMORY_FRACTION:.0%} of what is free in {shared_memory_folder}"
    return StorePlan(
        size, anonymous, f"The object store has {_text(size)}: {source}.", " ".join(warnings) if warnings else None
    )


def gpu_count(root: Folder = _ROOT) -> int:
    """Return how many NVIDIA GPUs this process may use, 0 if none.

    ``CUDA_VISIBLE_DEVICES`` decides when it is set (an empty value or "NoDevFiles" means none); else the driver's list.

    Args:
        root: Folder that stands for ``/``; tests give their own.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        present = len(os.listdir(os.path.join(root, "proc/driver/nvidia/gpus")))
    except OSError:
        return 0
    if visible is None:
        return present
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if names == ["NoDevFiles"]:
        return 0
    return min(present, len(names))


def _text(size_bytes: int) -> str:
    """Return a size for people."""
    if size_bytes >= 1 << 30:
        return f"{size_bytes / (1 << 30):.1f} GiB"
    return f"{size_bytes / (1 << 20):.1f} MiB"


def _physical_memory_bytes() -> int:
    """Return the memory of the machine in bytes; 1 GiB when the system does not say."""
    try:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _FALLBACK_MEMORY_BYTES
    return pages * page_bytes if pages > 0 and page_bytes > 0 else _FALLBACK_MEMORY_BYTES


def _cgroup_cpu_quota(root: Folder) -> float | None:
    """Return the smallest processor quota of the control groups of this process, None without one."""
    quotas = []
    for folder in cgroup_folders(root, "cpu"):
        words = _read_words(f"{folder}/cpu.max")  # version 2: "QUOTA PERIOD" or "max PERIOD"
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
        quota = read_integer(f"{folder}/cpu.cfs_quota_us")  # version 1: -1 is no quota
        period = read_integer(f"{folder}/cpu.cfs_period_us")
        if quota is not None and period is not None and quota > 0 and period > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def cgroup_folders(root: Folder, controller: str) -> Iterator[str]:
    """Yield the existing control group folders that limit this process, from its own up to the top.

    A limit of any level counts, so each level is listed. In a container ``/proc/self/cgroup`` may name a path of the
    host that is not visible here: the levels that do not exist are left out, the top one is the container's own.
    """
    mount = os.path.join(root, "sys/fs/cgroup")
    for line in read_text(os.path.join(root, "proc/self/cgroup")).splitlines():
        hierarchy, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if hierarchy == "0" and names == "":
            tops = [mount, f"{mount}/unified"]  # version 2, alone or beside version 1
        elif controller in names.split(","):
            tops = [f"{mount}/{controller}", f"{mount}/{names}"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for top in tops:
            for depth in range(len(parts), -1, -1):
                folder = "/".join([top, *parts[:depth]])
                if os.path.isdir(folder):
                    yield folder


def read_text(path: str) -> str:
    """Return the text of a small file, an empty string when it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _read_words(path: str) -> list[str]:
    """Return the words of a small file, none when it cannot be read."""
    return read_text(path).split()


def read_integer(path: str) -> int | None:
    """Return the number that a small file holds, None for anything else."""
    try:
        return int(read_text(path))
    except ValueError:
        return None
