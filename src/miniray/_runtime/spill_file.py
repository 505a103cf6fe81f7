# _runtime/spill_file.py - the file that objects go to when the store is full.
#
# Invariants  F1 the file has no name: the kernel removes it, and what is in it, with the last process of the session,
#                however that ends. Nobody can open, truncate or replace it by a path.
#             F2 it is sparse and as long as it may ever get, so that a mapping of it never ends early; the disk gives
#                space only to what is written, and gets it back when the object goes.
# Crash       nothing to do (F1).
"""Where spilled objects live on disk."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from miniray._runtime.fault_points import fault_point
from miniray._runtime.temp_folder import temp_folder

if TYPE_CHECKING:
    from miniray._runtime.machine import Folder

__all__ = ["DISK_FRACTION", "default_folder", "default_limit_bytes", "open_spill_file"]

DISK_FRACTION = 0.9
"""Share of the free disk space that spilled objects may take by default."""

_LARGEST_DEFAULT_BYTES = 1 << 40
_PAGE_BYTES = 4096  # page_heap.hpp
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def default_folder(mounts: Folder = "/proc/self/mounts") -> str:
    """Return the folder for spilled objects when ``init(object_spilling_directory=...)`` does not say.

    The folder for temporary files (``TMPDIR``), or ``/var/tmp`` where that one is kept in memory: spilling there would
    free nothing.

    Args:
        mounts: The list of mounted file systems; tests give their own.
    """
    folder = temp_folder()
    if _file_system(folder, mounts) in _MEMORY_FILE_SYSTEMS and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return folder


def default_limit_bytes(folder: str) -> int:
    """Return how many bytes may be spilled when ``init(object_spilling_limit=...)`` does not say.

    90% of what is free on the disk now, 1 TiB at most; 0 where the folder cannot be used.

    Args:
        folder: Folder on that disk.
    """
    path = os.path.abspath(folder)
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)  # it will be made there
    try:
        status = os.statvfs(path)
    except OSError:
        return 0
    longest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]  # ulimit -f
    if longest == resource.RLIM_INFINITY:
        longest = _LARGEST_DEFAULT_BYTES
    free = int(status.f_bavail * status.f_frsize * DISK_FRACTION)
    return max(0, min(free, _LARGEST_DEFAULT_BYTES, longest - 2 * _PAGE_BYTES))


def open_spill_file(folder: str, size_bytes: int) -> int:
    """Make the nameless spill file and return its descriptor, which programs that are started do not inherit.

    Args:
        folder: A folder that this user may write to; made, for this user alone, where there is none.
        size_bytes: How much may be written; that takes no space on the disk until objects come.

    Raises:
        OSError: The folder cannot be used, or the file system has no files of that length.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        fault_point("spill_file.open")
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise
    except OSError:
        path = os.path.join(folder, f"miniray_spill_{os.urandom(8).hex()}")  # a file system without O_TMPFILE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    try:
        fault_point("spill_file.truncate")
        os.ftruncate(fd, size_bytes // _PAGE_BYTES * _PAGE_BYTES + _PAGE_BYTES)  # page 0 holds nothing
    except OSError:
        os.close(fd)
        raise
    return fd


def _file_system(folder: str, mounts: Folder) -> str:
    """Return the type of the file system that a folder lies on, an empty string when the system does not say."""
    best, found = "", ""
    path = os.path.realpath(folder)
    try:
        with open(mounts, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        words = line.split()
        if len(words) < 3:
            continue
        mount = words[1].encode().decode("unicode_escape")
        is_below = path == mount or path.startswith(mount.rstrip("/") + "/")
        if is_below and len(mount) >= len(best):
            best, found = mount, words[2]
    return found
