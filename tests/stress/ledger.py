# stress/ledger.py - which run of a task began last, which finished last, and which one's result was read.
#
# Invariants  L1 a row is [runs begun, number of the run that began last, of the one that finished last, of the result
#                that was read]; 0 is none. A run's number is random, never 0.
#             L2 tasks write the first three words, the driver the last one, so nobody needs a lock.
#             L3 once a result was read, no run of its task may begin or finish: at the end the last three are equal.
# Crash       the file is mapped, so what a killed worker wrote stays.
"""Finds results that are doubled, and side effects that come after the result was read."""

from __future__ import annotations

import mmap
import os
import struct

_ROW = struct.Struct("<qqqq")
_WORD = struct.Struct("<q")
CAPACITY = 1 << 26  # tasks; the file is sparse

_mapped: dict[str, mmap.mmap] = {}


def _map(path: str) -> mmap.mmap:
    if path not in _mapped:
        with open(path, "r+b") as file:
            _mapped[path] = mmap.mmap(file.fileno(), 0)
    return _mapped[path]


def create(path: str) -> None:
    """Make an empty ledger."""
    with open(path, "xb") as file:
        file.truncate(CAPACITY * _ROW.size)


def begin_run(path: str, ticket: int) -> int:
    """Write that a run of a task begins; return the run's number. Called by the task."""
    number = int.from_bytes(os.urandom(7), "little") + 1
    rows, place = _map(path), ticket * _ROW.size
    _WORD.pack_into(rows, place, _WORD.unpack_from(rows, place)[0] + 1)
    _WORD.pack_into(rows, place + 8, number)
    return number


def finish_run(path: str, ticket: int, number: int) -> None:
    """Write that a run is about to return. Called by the task."""
    _WORD.pack_into(_map(path), ticket * _ROW.size + 16, number)


def read_result(path: str, ticket: int, number: int) -> None:
    """Write that the driver has read the result of that run, which must be the last one that began and finished."""
    _WORD.pack_into(_map(path), ticket * _ROW.size + 24, number)
    _check(path, ticket)


def runs_of(path: str, ticket: int) -> int:
    """Return how many runs of a task began."""
    return _ROW.unpack_from(_map(path), ticket * _ROW.size)[0]


def _check(path: str, ticket: int) -> None:
    runs, begun, finished, read = _ROW.unpack_from(_map(path), ticket * _ROW.size)
    if read != 0 and not begun == finished == read:
        raise AssertionError(
            f"task {ticket} went on after its result was read: run {read:x} was read, {finished:x} finished last, "
            f"{begun:x} began last, of {runs} runs"
        )


def check_all(path: str, tickets: int) -> int:
    """Check all tasks whose result was read, when nothing runs any more; return how many runs were repeats."""
    repeats = 0
    for ticket in range(tickets):
        _check(path, ticket)
        repeats += max(0, runs_of(path, ticket) - 1)
    return repeats


def close(path: str) -> None:
    """Unmap the ledger in this process."""
    _mapped.pop(path).close()
