# _runtime/preload.py - modules that workers find imported: the process that forks them imports them once.
#
# Invariants  M1 a module that cannot be preloaded costs nothing but its import: the user is told, and workers import it
#                themselves when they need it.
#             M2 the process that forks stays with one thread. Numeric libraries start theirs when they are imported,
#                unless they are told to have one; so they have one in all workers.
"""``init(preload=[...])``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def checked_preload(names: object) -> tuple[str, ...]:
    """Return the names of modules that ``init`` was given.

    Args:
        names: A list or tuple of names; None for none.

    Raises:
        TypeError: Something else.
        ValueError: This program has no such module.
    """
    if names is None:
        return ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"preload must be a list of names of modules, such as ['numpy'], got {names!r}")
    import importlib.util  # few programs preload

    for name in names:
        top = name.partition(".")[0]
        if top == "__main__" or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"preload takes modules that can be imported by their names, not {name!r}")
        if importlib.util.find_spec(top) is None:
            raise ValueError(f"preload names {name!r}, but there is no module {top!r} here: install it or leave it out")
    return tuple(names)


def preload(names: Sequence[str], tell: Callable[[str], None]) -> None:
    """Import modules into this process, which forks workers.

    Args:
        names: Of the modules.
        tell: Takes a line for the user.
    """
    import importlib

    with _one_thread():
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as error:
                tell(
                    f"cannot preload {name}: {type(error).__name__}: {error}; workers that need it import it themselves"
                )
    if len(os.listdir("/proc/self/task")) > 1:
        tell(f"one of the modules in preload={list(names)} has started threads, which workers will not have")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
