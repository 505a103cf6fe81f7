"""The engines that are measured, behind one interface. Imported in a process of the engine's own; peers are optional.

An engine answers every case in its own best way; what it cannot do raises ``NotImplementedError``, a gap in the table.
"""

import contextlib
import importlib
import importlib.util
import mmap
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any, ClassVar

from benchmarks import floor
from benchmarks.actors import ActorCases
from benchmarks.crashes import NO_ANSWER_SECONDS, NoAnswerError, hold_and_compute, seconds_after_kill

Seconds = float


def identity(value: Any) -> Any:
    return value


def numbers(count: int) -> Any:
    """Yield so many small values."""
    for i in range(count):  # noqa: UP028 - Ray sends values into generators, which range() does not take
        yield i


def timed(call: Callable[[], object]) -> Seconds:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run_program(program: str) -> str:
    """Return what a program prints that runs in a fresh process of this Python."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


class Engine:
    """Base: an engine that can do nothing."""

    name: ClassVar[str]
    module: ClassVar[str | None] = None  # what must be importable

    @classmethod
    def gap(cls) -> str | None:
        """Return why this engine cannot be measured here, if so."""
        if cls.module is not None and importlib.util.find_spec(cls.module) is None:
            return f"{cls.module} is not installed"
        return None

    def start(self, workers: int) -> None:
        """Start the workers and wait until they answer."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what was started."""

    def round_trip(self) -> None:
        """Run one task with a small argument and get its result."""
        raise NotImplementedError

    def batch(self, count: int) -> None:
        """Submit ``count`` tasks one by one, then get all results."""
        raise NotImplementedError

    def call_actor(self, kind: str) -> None:
        """Call an actor (``plain`` or ``async``) with a small argument and get its result."""
        raise NotImplementedError

    def batch_of_calls(self, kind: str, count: int) -> None:
        """Call it ``count`` times, then get all results."""
        raise NotImplementedError

    def create_actors(self, count: int) -> Seconds:
        """Make actors, call each once, and let them go; time until all have answered."""
        raise NotImplementedError

    def actor_memory(self, count: int) -> float:
        """Return the bytes of its own that each of so many actors has, as a mean."""
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

    def put(self, value: Any) -> Any:
        """Make a value available to all workers; return what keeps it."""
        raise NotImplementedError

    def get(self, kept: Any) -> Any:
        """Return what was put."""
        raise NotImplementedError

    def writable_array(self, size_bytes: int) -> Any:
        """Return a byte array where workers can read it once it is put."""
        raise NotImplementedError

    def put_first(self, size_bytes: int) -> Seconds:
        """Put an array into memory that nobody has touched before."""
        raise NotImplementedError

    def out_of_core(self, folder: str, block_bytes: int, blocks: int) -> Seconds:
        """Put blocks of three times the memory for them, then copy each out again; the rest is in the folder."""
        raise NotImplementedError


class RayLike(ActorCases, Engine):
    """miniray and Ray, by the same lines."""

    def start(self, workers: int) -> None:
        self.workers = workers
        self.ray = importlib.import_module(self.name)
        self.ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.task = self.ray.remote(identity)
        self.numbers = self.ray.remote(numbers)
        self.batch(workers * 50)

    def stop(self) -> None:
        self.ray.shutdown()

    def round_trip(self) -> None:
        self.ray.get(self.task.remote(1))

    def batch(self, count: int) -> None:
        remote = self.task.remote
        self.ray.get([remote(i) for i in range(count)])

    def stream(self, count: int, ahead: int) -> None:
        get = self.ray.get
        for ref in self.numbers.options(_generator_backpressure_num_objects=ahead).remote(count):
            get(ref)

    def crash(self, tries_again: bool) -> Seconds:
        self.batch(self.workers * 50)  # all are there again
        task = self.ray.remote(max_retries=3 if tries_again else 0)(hold_and_compute)

        def wait(ref: Any) -> None:
            try:
                answer = self.ray.get(ref)
            except self.ray.exceptions.WorkerCrashedError:
                answer = "error"
            assert answer == ("again" if tries_again else "error"), answer

        return seconds_after_kill(task.remote, wait)

    def put(self, value: Any) -> Any:
        return self.ray.put(value)

    def get(self, kept: Any) -> Any:
        return self.ray.get(kept)

    def put_first(self, size_bytes: int) -> Seconds:
        options = f"object_store_memory={size_bytes + (200 << 20)}"
        prepare = f"data = numpy.ones({size_bytes}, numpy.uint8)"
        return self._in_fresh_session(options, prepare, "ref = ray.put(data)")

    def out_of_core(self, folder: str, block_bytes: int, blocks: int) -> Seconds:
        options = f"object_store_memory={block_bytes * blocks // 3}, object_spilling_directory={folder!r}"
        prepare = f"data = numpy.ones({block_bytes}, numpy.uint8)\ntarget = data.copy()"
        measured = f"for ref in [ray.put(data) for _ in range({blocks})]:\n    target[:] = ray.get(ref)"
        return self._in_fresh_session(options, prepare, measured)

    def _in_fresh_session(self, options: str, prepare: str, measured: str) -> Seconds:
        """Return how long some lines take in a new process and session."""
        return float(
            run_program(
                f"import numpy, time, {self.name} as ray\n"
                f"ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, {options})\n"
                f"{prepare}\nstarted = time.perf_counter()\n{measured}\nprint(time.perf_counter() - started)"
            )
        )


class Miniray(RayLike):
    name = "miniray"
    module = "miniray"

    def writable_array(self, size_bytes: int) -> Any:
        return self.ray.empty(size_bytes, "u1")


class Ray(RayLike):
    name = "ray"
    module = "ray"

    def start(self, workers: int) -> None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        super().start(workers)


class Pool(Engine):
    name = "multiprocessing.Pool"

    def start(self, workers: int) -> None:
        self.pool = multiprocessing.get_context("fork").Pool(workers)
        self.batch(workers * 50)

    def stop(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def round_trip(self) -> None:
        self.pool.apply(identity, (1,))

    def batch(self, count: int) -> None:
        for result in [self.pool.apply_async(identity, (i,)) for i in range(count)]:
            result.get()

    def crash(self, tries_again: bool) -> Seconds:
        def wait(result: Any) -> None:
            try:
                result.get(NO_ANSWER_SECONDS)
            except multiprocessing.TimeoutError as error:
                raise NoAnswerError from error

        return seconds_after_kill(lambda *arguments: self.pool.apply_async(hold_and_compute, arguments), wait)


class Futures(Engine):
    """Executors of the standard library's interface; a crash breaks all of one, so a new one has to try again."""

    executor: Any

    def make(self, workers: int) -> Any:
        """Return a new executor."""
        raise NotImplementedError

    def start(self, workers: int) -> None:
        self.workers = workers
        self.executor = self.make(workers)
        self.batch(workers * 50)

    def stop(self) -> None:
        self.executor.shutdown()

    def round_trip(self) -> None:
        self.executor.submit(identity, 1).result()

    def batch(self, count: int) -> None:
        for future in [self.executor.submit(identity, i) for i in range(count)]:
            future.result()

    def crash(self, tries_again: bool) -> Seconds:
        submitted: tuple[Any, ...] = ()

        def submit(*arguments: Any) -> Any:
            nonlocal submitted
            submitted = arguments
            return self.executor.submit(hold_and_compute, *arguments)

        def wait(future: Any) -> None:
            with contextlib.suppress(BrokenExecutor):
                raise AssertionError(f"a result of a killed worker: {future.result()}")
            if tries_again:
                self.executor = self.make(self.workers)
                assert self.executor.submit(hold_and_compute, *submitted).result() == "again"

        seconds = seconds_after_kill(submit, wait)
        self.stop()
        self.start(self.workers)
        return seconds


class Executor(Futures):
    name = "ProcessPoolExecutor"

    def make(self, workers: int) -> Any:
        return ProcessPoolExecutor(workers)


class Loky(Futures):
    name = "loky"
    module = "loky"

    def make(self, workers: int) -> Any:
        return importlib.import_module("loky").get_reusable_executor(max_workers=workers, timeout=None)


class Floor(Engine):
    """What the hardware sets: one server process behind two rings in shared memory, pickle, nothing else."""

    name = "floor"
    shared: memoryview | None = None

    @classmethod
    def gap(cls) -> str | None:
        if sys.platform != "linux":
            return "its extension is written for Linux"
        return None if floor.compiler() else "no C++ compiler"

    def start(self, workers: int) -> None:
        self.ring = floor.load()
        self.ring.open_rings()
        self.server = os.fork()
        if self.server == 0:
            self._serve()
        self.batch(1000)

    def _serve(self) -> None:
        with contextlib.suppress(BaseException):
            while (message := self.ring.receive(0)) != b"end":
                _, arguments = pickle.loads(message)
                self.ring.send(1, pickle.dumps(identity(*arguments), 5))
        os._exit(0)

    def stop(self) -> None:
        self.ring.send(0, b"end")
        os.waitpid(self.server, 0)

    def round_trip(self) -> None:
        self.ring.send(0, pickle.dumps((1, (1,)), 5))
        pickle.loads(self.ring.receive(1))

    def batch(self, count: int) -> None:
        send, receive = self.ring.send, self.ring.receive
        for i in range(count):
            send(0, pickle.dumps((1, (i,)), 5))
        for _ in range(count):
            pickle.loads(receive(1))

    def put(self, value: Any) -> Any:
        if not hasattr(value, "nbytes"):
            raise NotImplementedError
        if self.shared is None or self.shared.nbytes != value.nbytes:
            self.shared = _shared_memory(value.nbytes)
        self.shared[:] = memoryview(value)

    def put_first(self, size_bytes: int) -> Seconds:
        source, target = bytearray(b"\1") * size_bytes, _shared_memory(size_bytes)
        return timed(lambda: operator.setitem(target, slice(None), source))

    def out_of_core(self, folder: str, block_bytes: int, blocks: int) -> Seconds:
        source, target = bytearray(b"\1") * block_bytes, bytearray(b"\1") * block_bytes
        started = time.perf_counter()
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for _ in range(blocks):
                file.write(source)
            file.seek(0)
            for _ in range(blocks):
                file.readinto(target)
            return time.perf_counter() - started


def _shared_memory(size_bytes: int) -> memoryview:
    fd = os.memfd_create("miniray_floor")
    os.ftruncate(fd, size_bytes)
    mapping = mmap.mmap(fd, size_bytes)
    os.close(fd)
    return memoryview(mapping)


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Miniray, Ray, Pool, Executor, Loky, Floor)}
