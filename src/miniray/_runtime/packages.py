# _runtime/packages.py - folders and archives that an environment brings: where their files are.
#
# Invariants  K1 an archive is unpacked once per session, beside its place, and moved there when it is whole: processes
#                that do it at the same time do not disturb each other.
#             K2 who uses an unpacked archive holds a shared lock on the session's folder while it lives: a folder that
#                nobody has locked belongs to nobody, and the next program removes it (remove_stale_folders).
# Source      Ray 2.60.0, python/ray/_private/runtime_env/packaging.py: one folder on top is left out, but not where
#             the archive is given to init() by its path.
"""Files of runtime environments."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from miniray._runtime.digest import digest
from miniray._runtime.temp_folder import temp_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["module_folder", "remove_folder", "remove_stale_folders", "session_folder", "working_folder"]

_PREFIX = "miniray_files_"
_SUFFIXES = (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz")

_locked: dict[str, int] = {}  # folders of sessions that this process uses, and the descriptors that lock them


def session_folder(session: str, parent: str | None = None) -> str:
    """Return where a session unpacks archives; nothing is made.

    Args:
        session: Its name.
        parent: A folder for temporary files; None: the system's.
    """
    return os.path.join(parent or temp_folder(), f"{_PREFIX}{session}")


def working_folder(place: str, folder: str) -> str:
    """Return the folder of a ``working_dir``; an archive is unpacked.

    Args:
        place: A path, ``local://`` and a path, or ``file://`` and the path of an archive.
        folder: Of the session.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is no folder and no archive.
    """
    path = _local_path(place)
    if not path.exists():
        raise FileNotFoundError(f"the folder or archive {path} does not exist")
    if path.is_dir():
        return str(path)
    return _unpacked(path, folder, leaves_top_out=place.startswith("file:"))


def module_folder(place: str, folder: str) -> str:
    """Return the folder to search for a module of ``py_modules``: the one that has its package, file or wheel in it.

    Of ``local://`` it is the folder itself.

    Args:
        place: As in ``working_folder``; also one ``.py`` file.
        folder: Of the session.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is no folder, module or archive.
    """
    path = _local_path(place)
    if not path.exists():
        raise FileNotFoundError(f"the module {path} does not exist")
    if place.startswith("local:"):
        return str(path)
    if path.is_dir() or path.suffix == ".py":
        return str(path.parent)
    return _unpacked(path, folder, leaves_top_out=place.startswith("file:") and path.suffix != ".whl")


def _local_path(place: str) -> Path:
    from pathlib import Path
    from urllib.parse import unquote, urlparse  # here and below: what few sessions need, and takes long to import

    uri = urlparse(place)
    return Path(unquote(uri.path)) if uri.scheme in ("file", "local") else Path(place)


def _unpacked(path: Path, folder: str, *, leaves_top_out: bool) -> str:
    import tempfile
    from pathlib import Path

    found = path.stat()
    key = f"{path.resolve()}\0{found.st_mtime_ns}\0{found.st_size}\0{leaves_top_out}"
    target = Path(folder) / digest(key.encode(), 12).hex()
    if not str(path).endswith(_SUFFIXES):
        raise ValueError(f"{path} is no folder and no archive ({', '.join(_SUFFIXES)})")
    _lock(folder)
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder, prefix="unpacking_") as made:
            inside = Path(made) / "files"
            inside.mkdir()
            _extract(path, inside)
            top = list(inside.iterdir())
            if leaves_top_out and len(top) == 1 and top[0].is_dir():
                inside = top[0]
            with contextlib.suppress(FileExistsError, OSError):  # another process was faster
                inside.rename(target)
        if not target.is_dir():
            raise FileNotFoundError(f"{path} cannot be unpacked to {target}")
    return str(target)


def _extract(path: Path, target: Path) -> None:
    import tarfile
    import zipfile

    if path.name.endswith((".zip", ".whl")):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                archive.extract(member, target)
                mode = member.external_attr >> 16
                if mode & 0o777 and not member.is_dir():
                    os.chmod(target / member.filename, mode & 0o777)
        return
    with tarfile.open(path) as archive:
        archive.extractall(target, filter="data")


def _lock(folder: str) -> None:
    if folder in _locked:
        return
    while True:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            is_there = os.stat(folder).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            is_there = False
        if is_there:
            _locked[folder] = descriptor
            return
        os.close(descriptor)  # another program took it for one that was left behind


def remove_folder(folder: str) -> None:
    """Remove what a session that ends has unpacked."""
    if os.path.isdir(folder):
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def remove_stale_folders() -> None:
    """Remove folders of sessions that nobody uses any more; those of other users are left alone."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(temp_folder()):
            if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        remove_folder(entry.path)
                finally:
                    os.close(descriptor)
