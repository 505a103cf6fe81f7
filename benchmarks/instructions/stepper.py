"""Builds and runs the stepper, which counts the instructions of a process between marks that the process sets."""

import ctypes
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import floor

_SOURCE = Path(__file__).with_name("stepper.cpp")
_TARGET = Path(__file__).resolve().parents[2] / "build" / "benchmarks" / "stepper"
_REFUSED = 77
_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)

mark = os.getppid  # a system call that nothing else makes


class RefusedError(Exception):
    """This system does not let processes trace each other, or the processor is of another kind."""


def build() -> Path:
    """Return the program, compiled now if its source is newer."""
    if os.uname().machine != "x86_64" or sys.platform != "linux":
        raise RefusedError(f"the stepper knows x86_64 Linux, this is {os.uname().machine} {sys.platform}")
    if not _TARGET.exists() or _TARGET.stat().st_mtime < _SOURCE.stat().st_mtime:
        _TARGET.parent.mkdir(parents=True, exist_ok=True)
        partial = _TARGET.with_suffix(f".{os.getpid()}")
        subprocess.run([floor.compiler() or "c++", "-O2", "-std=c++20", str(_SOURCE), "-o", str(partial)], check=True)
        partial.replace(_TARGET)
    return _TARGET


def allow() -> None:
    """Let the stepper trace this process, where the system asks for that."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)


def instructions(pid: int, count: int, run: Callable[[], object]) -> int:
    """Return the median of the instructions that the main thread of a process takes between two marks.

    Args:
        pid: The process, which has called ``allow``.
        count: Intervals to take, after the first mark.
        run: Makes the process set ``count + 1`` marks.
    """
    with subprocess.Popen([build(), str(pid), str(count)], stdout=subprocess.PIPE, text=True) as stepper:
        assert stepper.stdout is not None
        if stepper.stdout.readline() != "attached\n":
            if stepper.wait() == _REFUSED:
                raise RefusedError("processes may not trace each other here (ptrace is refused)")
            raise RuntimeError(f"the stepper ended with status {stepper.returncode}")
        run()
        return round(statistics.median(int(line) for line in stepper.stdout))
