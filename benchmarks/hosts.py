"""The measuring side of ``host.py``: starts the process of an engine, asks it, and ends it, by force if it hangs."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.engines.base import quiet_environment

_ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_SETTLE_SECONDS = 0.05  # after a rest: timers that are overdue


@dataclass(frozen=True)
class Settings:
    """What all hosts of a run have in common.

    Args:
        workers: Worker processes of each engine.
        pythons: Interpreters of engines that need another than this one.
        limit_seconds: After so long without an answer a case is a gap.
        is_quick: Tiny counts and samples: for tests of the benchmarks.
        is_verbose: What engines write to standard error is shown.
    """

    workers: int = 2
    pythons: dict[str, str] = field(default_factory=dict)
    limit_seconds: float = 60.0
    is_quick: bool = False
    is_verbose: bool = False


class Host:
    """The process of one engine. Between its samples it rests, stopped with all that descends from it.

    Daemons of an idle engine would take from those that are measured meanwhile: an idle cluster of Ray a tenth of two
    processors.
    """

    def __init__(self, engine: str, settings: Settings, workers: int | None = None) -> None:
        """Start it; it answers when its workers do."""
        self._settings = settings
        python = settings.pythons.get(engine, sys.executable)
        command = [python, "-m", "benchmarks.host", engine, str(workers or settings.workers)]
        self._process = subprocess.Popen(
            [*command, "quick"] if settings.is_quick else command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, bufsize=0,
            start_new_session=True, stderr=None if settings.is_verbose else subprocess.DEVNULL,
            env={**quiet_environment(), "PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
        self._read = b""
        # What the process started keeps its end of the pipe open; its own end shows only here.
        self._death = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        answer = self._answer(_START_SECONDS)
        self.gap: str | None = answer.get("gap")
        self.version: str | None = answer.get("version")
        self.is_broken = bool(answer.get("is_broken"))
        self._resting: dict[int, str] = {}
        self._rest()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def sample(self, case: str) -> dict[str, Any]:
        """Take one sample; after an answer with ``is_broken`` the host is of no further use."""
        assert self._process.stdin is not None
        self._wake()
        time.sleep(_SETTLE_SECONDS)
        try:
            self._process.stdin.write(case.encode() + b"\n")
        except BrokenPipeError:
            answer = self._ended()
        else:
            answer = self._answer(self._settings.limit_seconds)
        self.is_broken = bool(answer.get("is_broken"))
        self._rest()
        return answer

    def _rest(self) -> None:
        self._resting = processes.identities(processes.tree(self._process.pid))
        processes.send(signal.SIGSTOP, self._resting)

    def _wake(self) -> None:
        processes.send(signal.SIGCONT, self._resting)
        self._resting = {}

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            watched = [self._process.stdout, *([] if self._death is None else [self._death])]
            ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return {"gap": f"no answer within {seconds:g} s", "is_broken": True}
            data = os.read(self._process.stdout.fileno(), 1 << 16) if self._process.stdout in ready else b""
            if not data:
                return self._ended()
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def _ended(self) -> dict[str, Any]:
        return {"gap": f"its process ended with status {self._process.wait()}", "is_broken": True}

    def stop(self) -> None:
        """End it and all that descends from it."""
        assert self._process.stdin is not None
        self._wake()
        descendants = processes.identities(processes.tree(self._process.pid)[1:])
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(0.0 if self.is_broken else _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.is_broken = True
        if self.is_broken:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            processes.send(signal.SIGKILL, descendants)
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._death is not None:
            os.close(self._death)
