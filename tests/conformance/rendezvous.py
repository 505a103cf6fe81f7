"""How a test and its tasks wait for each other across processes, without polling and without sleeping."""

from __future__ import annotations

import fcntl
import os
import select
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

# A signal that does not come is a failure after this many seconds: a watchdog, not a bound on speed.
_LOST_SECONDS = 60


class Gate:
    """Holds tasks until the test opens it. A file lock, so that the test's death opens it too.

    Pickled into a task, it is only the path.
    """

    def __init__(self, path: Path) -> None:
        """Make the gate, closed."""
        self._path = str(path)
        self._held: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def __reduce__(self) -> tuple[object, ...]:
        return (_gate_in_task, (self._path,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        """Let all tasks pass, those that wait and those that come later. Harmless when it is open."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def wait(self) -> None:
        """Block, in a task, until the test opens the gate."""
        passing = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(passing, fcntl.LOCK_SH)
        finally:
            os.close(passing)


def _gate_in_task(path: str) -> Gate:
    gate = Gate.__new__(Gate)
    gate._path = path
    gate._held = None
    return gate


class Signal:
    """Carries short texts from tasks to the test. A named pipe: the test blocks until one is there.

    Pickled into a task, it is only the path.
    """

    def __init__(self, path: Path) -> None:
        """Make the pipe and open both ends, so that no task blocks in opening it."""
        self._path = str(path)
        os.mkfifo(self._path)
        self._reading = os.open(self._path, os.O_RDWR)
        self._received = b""

    def __reduce__(self) -> tuple[object, ...]:
        return (_signal_in_task, (self._path,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reading)

    def send(self, text: str = "here") -> None:
        """Send one line, in a task."""
        writing = os.open(self._path, os.O_WRONLY)
        try:
            os.write(writing, f"{text}\n".encode())
        finally:
            os.close(writing)

    def receive(self) -> str:
        """Block, in the test, until a line is there, and return it."""
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._reading], [], [], _LOST_SECONDS)
            assert ready, f"no task sent its signal within {_LOST_SECONDS} s"
            self._received += os.read(self._reading, 4096)
        line, self._received = self._received.split(b"\n", 1)
        return line.decode()


def _signal_in_task(path: str) -> Signal:
    signal = Signal.__new__(Signal)
    signal._path = path
    return signal


class RunLog:
    """A file to which each run of a task appends one line; whole even when the process dies right after."""

    def __init__(self, path: Path) -> None:
        """Make the file, empty."""
        self._path = str(path)
        Path(path).touch()

    def add(self, text: str = "run") -> int:
        """Append a line, in a task, and return how many lines there are now."""
        with open(self._path, "a+b", buffering=0) as file:
            file.write(f"{text}\n".encode())
            file.seek(0)
            return file.read().count(b"\n")

    def lines(self) -> list[str]:
        """Return the lines in the order in which they were written."""
        return Path(self._path).read_text().splitlines()
