# _runtime/output.py - what workers print, on its way to the driver.
#
# Worker      stdout and stderr are pipes to the driver. Python's streams write a marker line with the task's name
#             before the first output under a new name; what C code writes carries the last marker.
# Driver      the monitor thread (monitor.py) reads, and prints each line as "(name pid=N) text".
# Invariants  O1 a marker is one write of less than PIPE_BUF bytes, so it is never torn.
#             O2 the last lines of each worker are kept, for the error of a worker that dies, and apart from them the
#                report of faulthandler. Those of dead workers go when there are many.
#             O3 what a dead worker wrote is in its pipes, whose descriptors are here or in the supervisor's socket:
#                both are read before the error is made. Nothing waits.
#             O4 output never stops a task for longer than _PATIENCE_MS: what nobody reads, or has no way out, is
#                dropped and counted. (C code that writes by itself waits, as it would anywhere.)
#             O5 nobody holds _lock while it prints: the program's own output may be stuck.
#             O6 the same line of several workers is printed once, with a number behind it (log_dedup.py); the prefix
#                and that number have a colour where the stream is a terminal.
"""Forwarding of worker output."""

from __future__ import annotations

import collections
import errno
import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from miniray._runtime.log_dedup import DedupSettings, Line, LogDeduplicator

_MARKER = b"\x01miniray:"
_TAIL_LINES = 20
_REPORT_LINES = 60
_REPORT_START = "Fatal Python error: "  # faulthandler's first line
_KEPT_LINE_CHARACTERS = 500
_KEPT_TAILS = 2000
_MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_PATIENCE_MS = 1000
_CYAN, _GREEN, _PLAIN = "\x1b[36m", "\x1b[32m", "\x1b[0m"
_MANY_COLOURS = ("\x1b[35m", _CYAN, _GREEN, "\x1b[90m", "\x1b[94m", "\x1b[92m", "\x1b[95m")


class _Tail:
    """The end of what a process printed."""

    def __init__(self) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self.report: list[str] = []

    def add(self, line: str, target: str) -> None:
        line = line[:_KEPT_LINE_CHARACTERS]
        if target == "stderr" and (self.report or line.startswith(_REPORT_START)):
            if len(self.report) < _REPORT_LINES:
                self.report.append(line)
        else:
            self.lines.append(line)


_tails: dict[int, _Tail] = {}
_take_in: Callable[[], None] | None = None  # reads the supervisor's socket
_sources: dict[int, OutputSource] = {}  # by file descriptor, in the driver
_dedups: dict[str, LogDeduplicator] = {}  # by the stream of sys
_unprinted: collections.deque[tuple[str, str]] = collections.deque()  # stream of sys, text
_lock = threading.Lock()
_print_lock = threading.Lock()


class _TaskStream(io.RawIOBase):
    """Raw stream of a worker that marks its output with the name of the running task, and never waits for long."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._marked: str | None = None
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._dropped = 0  # bytes since something was written

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data).cast("B")
        try:
            if self._has_room():
                name = core._current_task_name()
                if name is None or name == self._marked:
                    return os.write(self._fd, view[: select.PIPE_BUF])  # no more: that never waits where there is room
                os.write(self._fd, _MARKER + name.encode("utf-8", "replace")[:400].replace(b"\n", b" ") + b"\n")
                self._marked = name
                if self._has_room():
                    return os.write(self._fd, view[: select.PIPE_BUF])
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EPIPE):  # the task closed its stream, or the driver is gone
                raise
        self._dropped += len(view)
        return len(view)

    def _has_room(self) -> bool:
        if not self._poll.poll(0 if self._dropped else _PATIENCE_MS):
            return False
        if not self._dropped:
            return True
        dropped, self._dropped = self._dropped, 0
        os.write(self._fd, b"\nminiray: %d bytes of output were dropped here: nobody read them\n" % dropped)
        return bool(self._poll.poll(_PATIENCE_MS))


class _TaskBuffer(io.BufferedWriter):
    """The buffer before it: what is written has it flushed when the running task ends."""

    def write(self, data: Buffer, /) -> int:
        core._call_after_task()
        return super().write(data)


def redirect_worker_streams(stdout_fd: int, stderr_fd: int) -> None:
    """Make the pipes this worker's stdout and stderr, for Python and for C."""
    os.dup2(stdout_fd, 1)
    os.dup2(stderr_fd, 2)
    for fd in (stdout_fd, stderr_fd):
        if fd > 2:
            os.close(fd)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(
            _TaskBuffer(_TaskStream(fd)),
            encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class OutputSource:
    """The driver's end of one stream of one worker.

    Args:
        fd: Read end of the pipe; owned by this object.
        pid: The worker, or the supervisor.
        target: Name of the stream of ``sys`` to print to.
        forward: Whether to print; the last lines are kept either way.
        is_worker: Whether to print which task the lines come from.
    """

    def __init__(self, fd: int, pid: int, target: str, forward: bool, is_worker: bool = True) -> None:
        """Watch a pipe; see the class."""
        self.fd = fd
        self.pid = pid
        self._target = target
        self._forward = forward
        self._is_worker = is_worker
        self._name = ""
        self._rest = b""
        os.set_blocking(fd, False)
        with _lock:
            _sources[fd] = self
            if all(source.pid != pid for source in _sources.values() if source is not self):
                _tails.pop(pid, None)  # of an earlier process with that number
            _tails.setdefault(pid, _Tail())
            if len(_tails) > _KEPT_TAILS:
                living = {source.pid for source in _sources.values()}
                for old in [old for old in _tails if old not in living][: _KEPT_TAILS // 2]:
                    del _tails[old]

    def read(self) -> bool:
        """Print what is there; does not block. False at the end of the stream."""
        with _lock:
            is_open = self._read_locked()
        _print_waiting()
        return is_open

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
        printed: list[str] = []
        for line in lines:
            # A marker may follow text of C code that ended without a newline.
            text, marker, name = line.partition(_MARKER)
            if marker:
                if text:
                    printed.append(text.decode("utf-8", "replace"))
                if printed and self._forward:
                    self._print(printed)
                printed = []
                self._name = name.decode("utf-8", "replace")
                continue
            decoded = line.decode("utf-8", "replace")
            _tails[self.pid].add(decoded, self._target)
            printed.append(decoded)
        if printed and self._forward:
            self._print(printed)

    def _print(self, lines: list[str]) -> None:
        if not self._is_worker:
            _unprinted.append((self._target, "\n".join(lines) + "\n"))
            return
        prefix = f"({self._name} pid={self.pid})" if self._name else f"(pid={self.pid})"
        dedup = _dedups.get(self._target) or _set_up_default_dedup(self._target)
        _queue_lines(self._target, [told for line in lines for told in dedup.add(self.pid, prefix, line)])


def _print_waiting() -> None:
    """Print what has been read; does not wait for a thread that prints already, which takes this on too."""
    while _unprinted and _print_lock.acquire(blocking=False):
        try:
            while _unprinted:
                target, text = _unprinted.popleft()
                _print(getattr(sys, target), text)
        finally:
            _print_lock.release()


def _print(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # the program closed its stream: its output has nowhere to go
        return


def _queue_lines(target: str, lines: list[Line]) -> None:
    """Queue deduplicated lines for printing."""
    if not lines:
        return
    prefix_start, note_start, end = _colours(getattr(sys, target))
    text = "".join(
        f"{prefix_start(prefix)}{prefix}{end} {line}{note_start + note + end if note else ''}\n"
        for prefix, line, note in lines
    )
    _unprinted.append((target, text))


def _colours(stream: TextIO | None) -> tuple[Callable[[str], str], str, str]:
    """Return the codes before a prefix and before a number of repetitions, and after both; empty without a terminal."""
    wanted = os.environ.get("RAY_COLOR_PREFIX")
    try:
        is_terminal = stream is not None and stream.isatty()
    except ValueError:  # closed
        is_terminal = False
    if not is_terminal or wanted == "0":
        return (lambda prefix: ""), "", ""
    if wanted == "1":
        return (lambda prefix: _MANY_COLOURS[hash(prefix) % len(_MANY_COLOURS)]), _GREEN, _PLAIN
    return (lambda prefix: _CYAN), _GREEN, _PLAIN


def _set_up_default_dedup(target: str) -> LogDeduplicator:
    from miniray._runtime.log_dedup import DedupSettings, LogDeduplicator  # here and below: for drivers alone

    return _dedups.setdefault(target, LogDeduplicator(DedupSettings()))


def set_up_dedup(settings: DedupSettings) -> None:
    """Say how lines are deduplicated from now on."""
    from miniray._runtime.log_dedup import LogDeduplicator

    with _lock:
        for target in ("stdout", "stderr"):
            _dedups[target] = LogDeduplicator(settings)


def print_due() -> float | None:
    """Print repeated lines that were counted long enough; return the seconds until the next are, None for never."""
    with _lock:
        for target, dedup in _dedups.items():
            _queue_lines(target, dedup.take_due())
        waits = [wait_s for dedup in _dedups.values() if (wait_s := dedup.wait_s()) is not None]
    _print_waiting()
    return min(waits, default=None)


def print_counted() -> None:
    """Print all repeated lines that were counted, at the end of the session."""
    with _lock:
        for target, dedup in _dedups.items():
            _queue_lines(target, dedup.flush())
    _print_waiting()


def set_take_in(take_in: Callable[[], None] | None) -> None:
    """Say how to get the descriptors that the supervisor has sent and nobody has read yet."""
    global _take_in
    _take_in = take_in


def tail_of(pid: int) -> tuple[str | None, str | None]:
    """Return the last lines that a process printed and the report of faulthandler, None for what there is not.

    All that a dead process has printed is in it. Only the driver knows; a worker gets None.
    """
    if _take_in is not None:
        _take_in()
    with _lock:
        for source in [source for source in _sources.values() if source.pid == pid]:
            source._read_locked()
        tail = _tails.get(pid) or _Tail()
        lines, report = "\n".join(tail.lines), "\n".join(tail.report)
    _print_waiting()
    return lines or None, report or None


def forget_all() -> None:
    """Drop what is known of workers; the session has ended."""
    with _lock:
        for source in list(_sources.values()):
            os.close(source.fd)
            source.fd = -1
        _sources.clear()
        _tails.clear()


def forget_in_child() -> None:
    """Leave all to the parent, in its forked child; a thread of the parent may have held the locks."""
    global _lock, _print_lock, _take_in
    _lock, _print_lock, _take_in = threading.Lock(), threading.Lock(), None
    _sources.clear()
    _tails.clear()
    _dedups.clear()
    _unprinted.clear()
