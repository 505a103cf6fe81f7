"""Processes of a session of miniray, and programs with a session of their own that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from helpers.states import LOST_SECONDS, is_gone, is_stopped, segments, wait_until
from miniray import _miniray_core as core

KIND_SUPERVISOR, KIND_WORKER = 2, 3  # process_table.hpp ProcessKind


def pids_of(kind: int) -> list[int]:
    """Return the processes of that kind in this session."""
    return [pid for pid, found, _, _ in core._processes() if found == kind]


def supervisor_pid() -> int:
    """Return the supervisor's process number."""
    (pid,) = pids_of(KIND_SUPERVISOR)
    return pid


@contextlib.contextmanager
def standing_still(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes, see that all of them stand still, and let them go on at the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(is_stopped, pids)), "all stand still")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Program:
    """A program with a session of its own, which prints ``ready`` and the numbers of its processes when it is set up."""

    _START = """
import json, os, sys, time
import miniray as ray
from miniray import _miniray_core as core
from miniray._runtime import runtime
def ready():
    others = [pid for pid, kind, _, _ in core._processes() if pid != os.getpid()]
    print(json.dumps({"session": runtime.current().name, "processes": others}), flush=True)
"""

    _QUIET = "import logging; logging.getLogger('miniray').setLevel(logging.ERROR)\n"

    def __init__(self, source: str, prefix: Sequence[str] = (), warnings: bool = False, **environment: str) -> None:
        """Start it in a process group of its own.

        ``prefix`` is a command that becomes what is written behind it. Without ``warnings`` it does not say what it
        thinks of this machine, such as of a small /dev/shm.
        """
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", self._START + ("" if warnings else self._QUIET) + source],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.others: list[int] = []
        self.session = ""

    def wait_ready(self) -> None:
        """Wait until it called ``ready()``."""
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the program ended: {self.process.communicate()}")
        facts = json.loads(line)
        self.session, self.others = facts["session"], facts["processes"]

    def expect_nothing_left(self) -> None:
        """Wait until no process and no segment of it is left."""
        wait_until(lambda: all(map(is_gone, self.others)), f"processes {self.others} end")
        wait_until(lambda: not any(self.session in name for name in segments()), "the segments go")

    def finish(self) -> tuple[int, str, str]:
        """Let it end and return exit code and output."""
        out, err = self.process.communicate(timeout=LOST_SECONDS)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """End whatever is left of it."""
        for pid in (self.process.pid, *self.others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
