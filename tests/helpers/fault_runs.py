"""Runs fault_program.py with a fault in it, and looks at what is left: the leak oracle of the fault tests.

A run ends right when the program says ``right`` or a documented error, its own look finds nothing held, and afterwards no process,
segment or file is left. Whoever is stopped is continued or killed by the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.states import LOST_SECONDS, is_gone, wait_until
from miniray import _miniray_core as core

SITE = os.environ.get("MINIRAY_FAULTS_SITE", "")
TESTS = Path(__file__).resolve().parents[1]
PROGRAM = Path(__file__).with_name("fault_program.py")
ROLES = ("driver", "supervisor", "worker")
MOST_FAULTS = 4  # fault_point.hpp kMostFaults
# In every run one worker dies with the lock in its hand, so that the points of recovery are passed.
LOCK_HOLDER_DIES = "transaction.before_commit:60@worker=kill"

Passes = dict[tuple[str, str], int]  # (role, point) -> how often


@functools.cache
def points() -> dict[str, list[str]]:
    """Return the names of all points, in the order of the counts, each with the errors of its system call."""
    code = "import json; from miniray import _miniray_core as core; print(json.dumps(core._fault_points()))"
    told = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True).stdout
    return {name: errors.split() for name, errors in json.loads(told)}


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that uses the build with fault points."""
    return {**os.environ, "PYTHONPATH": f"{SITE}{os.pathsep}{TESTS}", **more}


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 when there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def process_state(pid: int) -> str:
    """Return the letter of proc(5); an empty string when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@dataclasses.dataclass
class Counts:
    """The file of MINIRAY_FAULT_COUNTS."""

    path: Path

    def _words(self, form: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(form, self.path.read_bytes(), offset)
        except (OSError, struct.error):  # not made yet
            return (0,) * struct.calcsize(form)

    def fired(self, fault: int) -> int:
        """Return how often a fault has happened."""
        return self._words(f"{MOST_FAULTS}I", 0)[fault]

    def process(self, fault: int) -> int:
        """Return the process that it happened to."""
        return self._words(f"{MOST_FAULTS}I", 4 * MOST_FAULTS)[fault]

    def passes(self) -> Passes:
        """Return how often each role passed each point."""
        names = list(points())
        words = iter(self._words(f"{len(ROLES) * len(names)}Q", 8 * MOST_FAULTS))
        return {(role, name): next(words) for role in ROLES for name in names}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        point: Name of the point.
        role: In which kind of process.
        nth: At which pass over all processes of that kind.
        action: As in MINIRAY_FAULT; ``stop`` is ``stop:continue`` or ``stop:kill`` here.
    """

    point: str
    role: str
    nth: int
    action: str

    def __str__(self) -> str:
        return f"{self.point}:{self.nth}@{self.role}={self.action}"

    @property
    def text(self) -> str:
        """What goes into MINIRAY_FAULT."""
        return str(self).partition("=stop:")[0] + ("=stop" if self.action.startswith("stop:") else "")


@dataclasses.dataclass
class Run:
    """What came of a run.

    Attributes:
        status: How the program ended.
        said: Its last line.
        errors: What it wrote to standard error.
        fired: Whether the fault has happened.
        passes: How often each point was passed.
        faults: What is wrong; empty when the run ended right.
    """

    status: int
    said: str
    errors: str
    fired: bool
    passes: Passes
    faults: list[str]


class FaultRun:
    """A program that runs with faults.

    Args:
        faults: MINIRAY_FAULT.
        folder: An empty folder of its own.
        anonymous: Whether its shared memory has no names.
        more: Variables of its environment.
    """

    def __init__(self, faults: str, folder: Path, anonymous: bool = False, **more: str) -> None:
        """Start it; see the class."""
        self.session = secrets.token_hex(6)
        self.counts = Counts(folder / "counts")
        self.files = folder / "files"
        self.files.mkdir()
        if anonymous:
            more["MINIRAY_TEST_ANONYMOUS"] = "1"
        if "system.punch_hole" in faults and "errno" in faults:  # the disk keeps what it will not give back
            more["MINIRAY_TEST_KEEPS_BLOCKS"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM],
            env=environment(
                MINIRAY_FAULT=faults,
                MINIRAY_FAULT_COUNTS=str(self.counts.path),
                MINIRAY_TEST_SESSION=self.session,
                TMPDIR=str(self.files),
                **more,
            ),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Return the living processes of this run, found by their environment."""
        mark = f"MINIRAY_FAULT_COUNTS={self.counts.path}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (path / "environ").read_bytes() and not is_gone(int(path.name)):
                    found.append(int(path.name))
        return found

    def segments(self) -> list[str]:
        """Return the names of its shared memory that are there."""
        return [path.name for path in Path("/dev/shm").glob(f"miniray_{self.session}_*")]

    def wait_stopped(self, fault: int) -> int:
        """Wait until the fault has stopped a process, and return that; 0 when the program ends before."""
        wait_until(lambda: self.counts.fired(fault) or self.process.poll() is not None, f"fault {fault} happens")
        pid = self.counts.process(fault)
        if pid:
            wait_until(lambda: process_state(pid) in ("T", "Z", ""), f"process {pid} stops")
        return pid

    def end(self) -> str:
        """Kill what is left, after a failure; return what the program says of its state."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGUSR1)
                self.process.communicate(timeout=3)
        for pid in {self.process.pid, *self.processes()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        errors = "" if self.process.stderr.closed else self.process.communicate()[1]
        wait_until(lambda: not self.processes(), "killed processes end")
        core._session_unlink(self.session)
        return errors

    def wait(self) -> tuple[int, str, str]:
        """Wait for the program's end; its status, last line and errors."""
        out, errors = self.process.communicate(timeout=LOST_SECONDS)
        return self.process.returncode, out.strip().rpartition("\n")[2], errors

    def leaks(self, by_hand: bool = False) -> list[str]:
        """Wait for what ends by itself, and return what is left.

        Args:
            by_hand: Whether the segments may be left for the next program, which this then is.
        """
        left = []
        try:
            wait_until(lambda: not self.processes(), "all processes end")
        except AssertionError:
            left += [f"process {pid} in state {process_state(pid)}" for pid in self.processes()]
        if by_hand and self.segments() and core._session_inspect(self.session) == 0:
            core._session_unlink(self.session)
        left += [f"segment {name}" for name in self.segments()]
        left += [f"file {path.name}" for path in self.files.iterdir()]
        return left


def run(fault: Fault | None, anonymous: bool = False) -> Run:
    """Run the program with one fault beside the worker that dies with the lock; judge how it ended."""
    faults = f"{LOCK_HOLDER_DIES};{fault.text}" if fault else LOCK_HOLDER_DIES
    with tempfile.TemporaryDirectory(prefix="miniray_fault_") as folder:
        started = FaultRun(faults, Path(folder), anonymous)
        try:
            if fault is not None and fault.action.startswith("stop:"):
                _end_stop(started, fault.action)
            status, said, errors = started.wait()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            states = [f"{pid} {process_state(pid)}" for pid in started.processes()]
            passes = started.counts.passes()
            fired = bool(started.counts.fired(1))
            return Run(0, "", started.end(), fired, passes, [f"hangs ({error}); processes {states}"])
        passes = started.counts.passes()
        fired = bool(started.counts.fired(1)) if fault else False
        driver_dies = fired and fault is not None and fault.role == "driver" and fault.action in ("kill", "stop:kill")
        wrong = []
        if driver_dies:
            if status != -signal.SIGKILL:
                wrong.append(f"the driver ended with {status}")
        elif status != 0 or not (said == "right" or (said.startswith("refused ") and _may_refuse(fault))):
            wrong.append(f"exit status {status}, said {said!r}")
        # Before its supervisor is there, nobody sees a driver's death: the next program clears up.
        by_hand = driver_dies and not started.counts.passes()["supervisor", "supervisor.born"]
        by_hand = by_hand or (fault is not None and fault.point == "system.shm_unlink")
        wrong += started.leaks(by_hand)
        if wrong:
            started.end()
        return Run(status, said, errors, fired, passes, wrong)


def _end_stop(started: FaultRun, action: str) -> None:
    pid = started.wait_stopped(1)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT if action == "stop:continue" else signal.SIGKILL)


def _may_refuse(fault: Fault | None) -> bool:
    return fault is not None and fault.action.startswith("errno:")


def chosen_passes(count: int, most: int = 1 << 30) -> list[int]:
    """Return which of ``count`` passes to try: all of a few, otherwise the first, the last and the powers of two."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({count, *(1 << power for power in range(count.bit_length()))})


def actions_of(point: str) -> list[str]:
    """Return what may happen at a point."""
    calls = [error if error == "short" else f"errno:{error}" for error in points()[point]]
    return ["kill", "stop:continue", "stop:kill", *calls]


def all_faults(passes: Passes, most: int) -> list[Fault]:
    """Return every action at every pass that is chosen of every point in every role."""
    return [
        Fault(point, role, nth, action)
        for (role, point), count in passes.items()
        for nth in chosen_passes(count, most)
        for action in actions_of(point)
    ]
