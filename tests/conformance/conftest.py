"""Fixtures of the differential suite: every body runs on miniray and, with ``--backend=ray``, on real Ray.

Real Ray is the judge: a body is right when it passes there. Ray takes seconds to start, so its bodies share one session
as long as they ask for the same ``init`` arguments; miniray starts in milliseconds, so each of its bodies has its own,
and the leftover checks of ``tests/conftest.py`` see what each body leaves.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

# Workers import what a body names by reference (the classes of rendezvous and payloads), so they need this folder too.
_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

from program import Program
from rendezvous import Gate, RunLog, Signal

from helpers.states import nothing_left

# A body that hangs fails after this many seconds. It is a watchdog, not a bound on speed.
_HANG_SECONDS = 120

# What the bodies count on: two CPUs, and two units of a resource of the user's own.
_SHARED_ARGUMENTS = {"num_cpus": 2, "resources": {"gadget": 2}}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let Ray warn about itself: its warnings are not ours to fix."""
    if config.getoption("--backend") != "ray":
        return
    for item in items:
        if Path(item.path).is_relative_to(_HERE):
            item.add_marker(pytest.mark.filterwarnings("default"), append=False)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run what fails on real Ray again, twice: on a busy machine it answers, or frees a CPU, later than a body expects."""
    if item.config.getoption("--backend") != "ray":
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for _ in range(2):
        if any(report.failed for report in reports):
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class Sessions:
    """Starts and stops sessions of the backend, and keeps one running where starting is slow."""

    def __init__(self, module: ModuleType, *, share: bool) -> None:
        """Remember the backend; start nothing."""
        self._module = module
        self._share = share
        self._arguments: dict[str, Any] | None = None

    def start(self, **arguments: Any) -> None:
        """Have a session with these arguments of ``init``, an old one if it still serves."""
        if self._module.is_initialized() and self._arguments == arguments:
            return
        self.stop()
        self._module.init(include_dashboard=False, log_to_driver=False, **arguments)
        self._arguments = arguments

    def release(self) -> None:
        """End the session unless later bodies share it."""
        if not self._share:
            self.stop()

    def stop(self) -> None:
        """End the session, whoever started it; in miniray its shared memory must be consistent to the end."""
        self._arguments = None
        if self._module.__name__ == "miniray" and self._module.is_initialized():
            assert self._module._miniray_core._validate() is None
        self._module.shutdown()


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Name the package under test: ``miniray`` or ``ray``."""
    return request.config.getoption("--backend")


@pytest.fixture(scope="session")
def _environment(backend: str) -> Iterator[None]:
    """Give workers the path to the helpers, and keep real Ray local and quiet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", _HERE, prepend=os.pathsep)
        if backend == "ray":
            for name, value in {
                "RAY_AUTH_MODE": "disabled",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            }.items():
                patch.setenv(name, os.environ.get(name, value))
        yield


@pytest.fixture(scope="session")
def ray(backend: str, _environment: None) -> ModuleType:
    """Give the backend's module, which bodies use as users do: ``import ... as ray``."""
    return importlib.import_module(backend)


@pytest.fixture(scope="session")
def exceptions(backend: str, ray: ModuleType) -> ModuleType:
    """Give the backend's ``exceptions`` module."""
    return importlib.import_module(f"{backend}.exceptions")


@pytest.fixture(scope="session")
def util(backend: str, _environment: None) -> ModuleType:
    """Give the backend's ``util`` module."""
    return importlib.import_module(f"{backend}.util")


@pytest.fixture(scope="session")
def _sessions(ray: ModuleType, backend: str) -> Iterator[Sessions]:
    sessions = Sessions(ray, share=backend == "ray")
    yield sessions
    sessions.stop()


@pytest.fixture
def session(_sessions: Sessions) -> Iterator[None]:
    """Run the body in a session with two CPUs and two units of ``gadget``."""
    _sessions.start(**_SHARED_ARGUMENTS)
    yield
    _sessions.release()


@pytest.fixture(scope="module")
def module_session(ray: ModuleType, _sessions: Sessions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run all bodies of a module in one such session: for modules with hundreds of short bodies.

    Both workers run before the first body, so that the leftover checks do not take their pipes for leaks. What is
    there by then is hidden from the garbage collector, which those checks call twice for each body.
    """

    @ray.remote
    def meet(started: Signal, gate: Gate) -> None:
        started.send()
        gate.wait()

    _sessions.start(**_SHARED_ARGUMENTS)
    folder = tmp_path_factory.mktemp("meeting")
    with Signal(folder / "started") as started, Gate(folder / "gate") as gate:
        refs = [meet.remote(started, gate) for _ in range(2)]
        for _ in refs:
            started.receive()
        gate.open()
        ray.get(refs)
    del refs
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    _sessions.release()


@pytest.fixture(scope="module")
def shared_session(_sessions: Sessions, backend: str) -> Iterator[None]:
    """Run all bodies of a module in one such session, also those that start and end actors.

    What a body leaves is found at the end of the module.
    """
    with nothing_left() if backend == "miniray" else contextlib.nullcontext():
        _sessions.start(**_SHARED_ARGUMENTS)
        yield
        _sessions.release()


@pytest.fixture
def one_cpu_session(_sessions: Sessions) -> Iterator[None]:
    """Run the body in a session with one CPU and two units of ``gadget``."""
    _sessions.start(num_cpus=1, resources={"gadget": 2})
    yield
    _sessions.release()


@pytest.fixture
def gpu_session(_sessions: Sessions) -> Iterator[None]:
    """Run the body in a session with four CPUs, two GPUs that are only said to be there, and a billion bytes."""
    _sessions.start(num_cpus=4, num_gpus=2, _memory=10**9, resources={"gadget": 2})
    yield
    _sessions.release()


@pytest.fixture
def no_session(_sessions: Sessions) -> Iterator[None]:
    """Run the body without a session; end whatever it starts."""
    _sessions.stop()
    yield
    _sessions.stop()


@pytest.fixture(autouse=True)
def _fail_when_hanging() -> Iterator[None]:
    """Turn a hang into a failure of that one body, unless another watchdog already uses the alarm."""
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def give_up(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"still running after {_HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_HANG_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Give a closed gate; it opens at the end of the body at the latest."""
    with Gate(tmp_path / "gate") as closed:
        yield closed


@pytest.fixture
def second_gate(tmp_path: Path) -> Iterator[Gate]:
    """Give another closed gate, for bodies that order two tasks."""
    with Gate(tmp_path / "second_gate") as closed:
        yield closed


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Signal]:
    """Give a signal that tasks send when they have begun."""
    with Signal(tmp_path / "started") as receiver:
        yield receiver


@pytest.fixture
def runs(tmp_path: Path) -> RunLog:
    """Give a log in which each run of a task leaves one line, also when it dies right after."""
    return RunLog(tmp_path / "runs")


def _programs(backend: str, folder: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(source: str, **environment: str) -> Program:
        path = folder / f"program_{len(programs)}.py"
        program = Program(path, f"import {backend} as ray\n{source}", environment)
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()


@pytest.fixture
def start_program(backend: str, tmp_path: Path, no_session: None) -> Iterator[Callable[..., Program]]:
    """Give a function that starts a script of its own, with the backend imported as ``ray``."""
    yield from _programs(backend, tmp_path)


@pytest.fixture(scope="module")
def start_module_program(
    backend: str, tmp_path_factory: pytest.TempPathFactory, _sessions: Sessions
) -> Iterator[Callable[..., Program]]:
    """Give the same for a script whose output several bodies of a module look at."""
    _sessions.stop()
    yield from _programs(backend, tmp_path_factory.mktemp("programs"))


@pytest.fixture
def run_program(start_program: Callable[..., Program]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs such a script to its end and fails when the script does."""

    def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        finished = start_program(source, **environment).finish()
        assert finished.returncode == 0, finished.stderr
        return finished

    return run


@pytest.fixture
def count(ray: ModuleType) -> Any:
    """Give a task that yields so many numbers, and may raise in place of one."""

    @ray.remote
    def count(number: int, bad: int | None = None) -> Iterator[int]:
        for i in range(number):
            if i == bad:
                raise KeyError("bad")
            yield i

    return count


@pytest.fixture
def gated(ray: ModuleType) -> Any:
    """Give a task that yields a number, waits, and yields another."""

    @ray.remote
    def gated(gate: Gate) -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2

    return gated
