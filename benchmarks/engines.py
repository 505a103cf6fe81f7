"""The engines that are measured, behind one interface. Imported in a process of the engine's own; peers are optional.

An engine answers every case in its own best way; what it cannot do raises ``NotImplementedError``, a gap in the table.
"""

import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ClassVar

from benchmarks import floor

Seconds = float


def identity(value: Any) -> Any:
    return value


def timed(call: Callable[[], object]) -> Seconds:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


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

    def put(self, data: Any) -> Any:
        """Make an array available to all workers; return what keeps it."""
        raise NotImplementedError


class RayLike(Engine):
    """miniray and Ray, by the same lines."""

    def start(self, workers: int) -> None:
        self.ray = importlib.import_module(self.name)
        self.ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.task = self.ray.remote(identity)
        self.batch(workers * 50)

    def stop(self) -> None:
        self.ray.shutdown()

    def round_trip(self) -> None:
        self.ray.get(self.task.remote(1))

    def batch(self, count: int) -> None:
        remote = self.task.remote
        self.ray.get([remote(i) for i in range(count)])

    def put(self, data: Any) -> Any:
        return self.ray.put(data)


class Miniray(RayLike):
    name = "miniray"
    module = "miniray"


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


class Executor(Engine):
    name = "ProcessPoolExecutor"

    def start(self, workers: int) -> None:
        self.executor = ProcessPoolExecutor(workers)
        self.batch(workers * 50)

    def stop(self) -> None:
        self.executor.shutdown()

    def round_trip(self) -> None:
        self.executor.submit(identity, 1).result()

    def batch(self, count: int) -> None:
        for future in [self.executor.submit(identity, i) for i in range(count)]:
            future.result()


class Floor(Engine):
    """What the hardware sets: one server process behind two rings in shared memory, pickle, nothing else."""

    name = "floor"

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

    def put(self, data: Any) -> Any:
        import mmap

        if not hasattr(self, "shared"):
            self.shared = memoryview(mmap.mmap(-1, data.nbytes))
        self.shared[:] = memoryview(data).cast("B")


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Miniray, Ray, Pool, Executor, Floor)}
