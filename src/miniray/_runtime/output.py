# _runtime/output.py - what workers print, on its way to the driver.
#
# Worker      stdout and stderr are pipes to the driver. Python's streams write a marker line with the task's name
#             before the first output under a new name; what C code writes carries the last marker.
# Driver      the monitor thread (monitor.py) reads, and prints each line as "(name pid=N) text".
# Invariants  O1 a marker is one write of less than PIPE_BUF bytes, so it is never torn.
#             O2 the last lines of each worker are kept, for the error of a worker that dies.
"""Forwarding of worker output."""

from __future__ import annotations

import collections
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MARKER = b"\x01miniray:"
_TAIL_LINES = 20
_MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16

_tails: dict[int, collections.deque[str]] = {}
_sources: dict[int, OutputSource] = {}  # by file descriptor, in the driver
_lock = threading.Lock()


class _TaskStream(io.RawIOBase):
    """Raw stream of a worker that marks its output with the name of the running task."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._marked: str | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def write(self, data: Buffer, /) -> int:
        name = core._current_task_name()
        if name is not None and name != self._marked:
            self._marked = name
            os.write(self._fd, _MARKER + name.encode("utf-8", "replace")[:400].replace(b"\n", b" ") + b"\n")
        return os.write(self._fd, data)


def redirect_worker_streams(stdout_fd: int, stderr_fd: int) -> None:
    """Make the pipes this worker's stdout and stderr, for Python and for C."""
    os.dup2(stdout_fd, 1)
    os.dup2(stderr_fd, 2)
    for fd in (stdout_fd, stderr_fd):
        if fd > 2:
            os.close(fd)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(
            io.BufferedWriter(_TaskStream(fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class OutputSource:
    """The driver's end of one stream of one worker.

    Args:
        fd: Read end of the pipe; owned by this object.
        pid: The worker.
        target: Name of the stream of ``sys`` to print to.
        forward: Whether to print; the last lines are kept either way.
    """

    def __init__(self, fd: int, pid: int, target: str, forward: bool) -> None:
        """Watch a pipe; see the class."""
        self.fd = fd
        self.pid = pid
        self._target = target
        self._forward = forward
        self._name = ""
        self._rest = b""
        os.set_blocking(fd, False)
        with _lock:
            _sources[fd] = self
            _tails.setdefault(pid, collections.deque(maxlen=_TAIL_LINES))

    def read(self) -> bool:
        """Print what is there; does not block. False at the end of the stream."""
        with _lock:
            return self._read_locked()

    def _read_locked(self) -> bool:
        while self.fd >= 0:
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                if self._rest:
                    self._lines([self._rest])
                    self._rest = b""
                _sources.pop(self.fd, None)
                os.close(self.fd)
                self.fd = -1
                return False
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            if len(self._rest) > _MAX_LINE_BYTES:
                lines.append(self._rest)
                self._rest = b""
            self._lines(lines)
        return False

    def _lines(self, lines: list[bytes]) -> None:
        printed = []
        for line in lines:
            # A marker may follow text of C code that ended without a newline.
            text, marker, name = line.partition(_MARKER)
            if marker:
                if text:
                    printed.append(self._prefix() + text.decode("utf-8", "replace"))
                self._name = name.decode("utf-8", "replace")
                continue
            decoded = line.decode("utf-8", "replace")
            _tails[self.pid].append(decoded)
            printed.append(self._prefix() + decoded)
        if printed and self._forward:
            _print(getattr(sys, self._target), "\n".join(printed) + "\n")

    def _prefix(self) -> str:
        return f"({self._name} pid={self.pid}) " if self._name else f"(pid={self.pid}) "


def _print(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # the program closed its stream: its output has nowhere to go
        return


def tail_of(pid: int) -> str | None:
    """Return the last lines that a worker printed, None when this process does not know."""
    with _lock:
        for source in [source for source in _sources.values() if source.pid == pid]:
            source._read_locked()
        lines = _tails.get(pid)
        return "\n".join(lines) if lines else None


def forget_all() -> None:
    """Drop what is known of workers; the session has ended."""
    with _lock:
        for source in list(_sources.values()):
            os.close(source.fd)
            source.fd = -1
        _sources.clear()
        _tails.clear()
