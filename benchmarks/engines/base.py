"""The interface that all engines have.

An engine answers in its own best way; what it cannot do raises ``NotImplementedError``, a gap in the table. Calls:
``submitter(function)`` is called with arguments and returns something pending, ``gather`` turns a list of these into
results, ``result`` one. Cases fetch these three once, outside the measured loop.
"""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

Seconds = float

_QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "ACERO_ALIGNMENT_HANDLING": "ignore",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def timed(call: Callable[[], object]) -> Seconds:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def quiet_environment() -> dict[str, str]:
    """Return the environment of processes: one thread of numpy each, no questions to Ray's makers."""
    return {**os.environ, **_QUIET}


def run_program(program: str) -> str:
    """Return what a program prints that runs in a fresh process of this Python."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=quiet_environment()).stdout


class Engine:
    """Base: an engine that can do nothing.

    Attributes:
        name: Name in tables.
        module: What must be importable.
        imports: Lines that a program for this engine begins with; empty: start-up is not measured.
        starts: Lines that start two workers and leave the first result in ``value``.
        ends: Lines that end them.
        slowness: Where a figure is per thing, this engine is asked for so many times fewer.
        passes_pending: Whether something pending, or put, can be an argument of the next task.
    """

    name: ClassVar[str]
    module: ClassVar[str | None] = None
    imports: ClassVar[str] = ""
    starts: ClassVar[str] = ""
    ends: ClassVar[str] = ""
    slowness: ClassVar[int] = 1
    passes_pending: ClassVar[bool] = False

    workers: int
    seconds: float = 0.2  # that a sample repeats its call
    is_warm: bool = False  # whether this process has taken a sample of the case before
    shrink: int = 1  # counts are divided by it: for tests of the benchmarks

    @classmethod
    def gap(cls) -> str | None:
        """Return why this engine cannot be measured here, if so."""
        if cls.module is not None and importlib.util.find_spec(cls.module) is None:
            return f"{cls.module} is not installed"
        return None

    @classmethod
    def version(cls) -> str:
        """Return the version that is measured."""
        if cls.module is None:
            return f"Python {platform.python_version()}"
        return importlib.metadata.version(cls.module)

    def count(self, full: int) -> int:
        """Return how many things a case handles that asks for so many."""
        return max(2, full // self.shrink)

    def few(self, full: int) -> int:
        """Return the same where the figure is per thing, so that a slow engine may have fewer."""
        return self.count(full // self.slowness)

    def start(self, workers: int) -> None:
        """Start the workers and wait until they answer."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what was started."""

    # --------------------------------------------------------------------------------------------------------- tasks

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what submits a task of this function."""
        raise NotImplementedError

    def gather(self, pending: list[Any]) -> list[Any]:
        """Return the results of tasks or calls."""
        raise NotImplementedError

    def result(self, pending: Any) -> Any:
        """Return one result."""
        return self.gather([pending])[0]

    def trip(self, submit: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Return what makes one call and returns its result."""
        result = self.result
        if len(arguments) == 1:
            argument = arguments[0]
            return lambda: result(submit(argument))
        return lambda: result(submit(*arguments))

    def batch(self, submit: Callable[..., Any], count: int, *arguments: Any) -> None:
        """Make calls one by one, each with these arguments, or with one number; then get all results."""
        if arguments:
            self.gather([submit(*arguments) for _ in range(count)])
        else:
            self.gather([submit(i) for i in range(count)])

    def as_arguments(self, pending: list[Any]) -> list[Any]:
        """Return what stands for these results as arguments of the next tasks: itself, or the values."""
        return pending if self.passes_pending else self.gather(pending)

    def one_by_one(self, function: Callable[..., Any], count: int) -> int:
        """Run tasks and take each when it ends, the first to end first; return how many there were."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Wait until all workers are there."""
        from benchmarks.payloads import identity

        self.batch(self.submitter(identity), self.workers * 50)

    # ------------------------------------------------------------------------------------ other submitting processes

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Use this engine inside a task or actor of it, not started here."""
        raise NotImplementedError
        yield

    def in_task(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``function(engine, *arguments)`` of one task."""
        raise NotImplementedError

    def in_clients(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return the same of several processes that stay for all samples."""
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------------------- actors

    def actor(self, kind: str) -> Any:
        """Return a new actor: ``plain``, ``async`` or ``threaded``. It ends when nothing keeps it."""
        raise NotImplementedError

    def caller(self, actor: Any, method: str) -> Callable[..., Any]:
        """Return what calls a method."""
        raise NotImplementedError

    def new_actor(self, cls: type, *arguments: Any) -> Any:
        """Return a new actor of any class."""
        raise NotImplementedError

    def restart_actor(self) -> Seconds:
        """Kill the process of an actor that is started again; time until it answers."""
        raise NotImplementedError

    def stream(self, count: int, ahead: int) -> None:
        """Read what one task yields, each when it comes; ``ahead`` values may wait to be read, -1: any number."""
        raise NotImplementedError

    def crash(self, tries_again: bool) -> Seconds:
        """Kill a worker with 100 MB that computes, another being idle; time until the error, or until the result."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------- objects

    def put(self, value: Any) -> Any:
        """Make a value available to all workers; return what keeps it."""
        raise NotImplementedError

    def get(self, kept: Any) -> Any:
        """Return what was put."""
        raise NotImplementedError

    def get_list(self, kept: list[Any]) -> list[Any]:
        """Return several that were put, by one call."""
        raise NotImplementedError

    def share(self, value: Any) -> Any:
        """Return what to give many tasks that need this value: what ``put`` returns, or the value."""
        return self.put(value) if self.passes_pending else value

    def writable_array(self, size_bytes: int) -> Any:
        """Return a byte array where workers can read it once it is put."""
        raise NotImplementedError

    def put_first(self, size_bytes: int) -> Seconds:
        """Put an array into memory that nobody has touched before."""
        raise NotImplementedError

    def out_of_core(self, folder: str, block_bytes: int, blocks: int) -> Seconds:
        """Put blocks of three times the memory for them, then copy each out again; the rest is in the folder."""
        raise NotImplementedError
