"""miniray and Ray, by the same lines."""

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.clients import ClientActor, in_client
from benchmarks.crashes import hold_and_compute, seconds_after_kill
from benchmarks.engines.base import Engine, Seconds, quiet_environment, run_program
from benchmarks.payloads import AsyncActor, PlainActor, numbers

_THREADS = 4


class RayLike(Engine):
    """Both; a subclass has the name of the module."""

    passes_pending = True
    ray: Any

    def _use(self) -> None:
        self.ray = importlib.import_module(self.name)
        self._submitters: dict[Any, Any] = {}
        self._clients: list[Any] = []
        self.gather = self.result = self.get = self.get_list = self.ray.get
        self.put = self.ray.put

    def start(self, workers: int) -> None:
        self._use()
        self.workers = workers
        self.ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.numbers = self.ray.remote(numbers)
        self.warm_up()

    def stop(self) -> None:
        self.ray.shutdown()

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if function not in self._submitters:
            self._submitters[function] = self.ray.remote(function).remote
        return self._submitters[function]

    def one_by_one(self, function: Callable[..., Any], count: int) -> int:
        submit, wait, taken = self.submitter(function), self.ray.wait, 0
        pending = [submit(i) for i in range(count)]
        while pending:
            done, pending = wait(pending)
            taken += len(done)
        return taken

    @contextmanager
    def attached(self) -> Iterator[None]:
        if "ray" not in self.__dict__:
            self._use()
        yield

    def in_task(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.result(self.submitter(in_client)(self.name, function, *arguments))

    def in_clients(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        while len(self._clients) < count:
            self._clients.append(self.new_actor(ClientActor, self.name))
        return self.gather([client.run.remote(function, *arguments) for client in self._clients[:count]])

    def new_actor(self, cls: type, *arguments: Any) -> Any:
        return self.ray.remote(num_cpus=0)(cls).remote(*arguments)

    def actor(self, kind: str) -> Any:
        cls = AsyncActor if kind == "async" else PlainActor
        options = {"max_concurrency": _THREADS} if kind == "threaded" else {}
        return self.ray.remote(num_cpus=0, **options)(cls).remote()

    def caller(self, actor: Any, method: str) -> Callable[..., Any]:
        return getattr(actor, method).remote

    def restart_actor(self) -> Seconds:
        actor = self.ray.remote(num_cpus=0, max_restarts=1, max_task_retries=-1)(PlainActor).remote()
        pid = self.ray.get(actor.pid.remote())
        self.warm_up()  # the pool is whole

        started = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        assert self.ray.get(actor.pid.remote()) != pid
        return time.perf_counter() - started

    def stream(self, count: int, ahead: int) -> None:
        get = self.ray.get
        for ref in self.numbers.options(_generator_backpressure_num_objects=ahead).remote(count):
            get(ref)

    def crash(self, tries_again: bool) -> Seconds:
        self.warm_up()  # all are there again
        task = self.ray.remote(max_retries=3 if tries_again else 0)(hold_and_compute)

        def wait(ref: Any) -> None:
            try:
                answer = self.ray.get(ref)
            except self.ray.exceptions.WorkerCrashedError:
                answer = "error"
            assert answer == ("again" if tries_again else "error"), answer

        return seconds_after_kill(task.remote, wait)

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


_STARTS = """\
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
value = ray.get(ray.remote(lambda value: value).remote(1))
"""


class Miniray(RayLike):
    name = "miniray"
    module = "miniray"
    imports = "import miniray as ray"
    starts = _STARTS
    ends = "ray.shutdown()"

    def writable_array(self, size_bytes: int) -> Any:
        return self.ray.empty(size_bytes, "u1")


class Ray(RayLike):
    name = "ray"
    module = "ray"
    imports = "import ray"
    starts = _STARTS
    ends = "ray.shutdown()"
    slowness = 8

    def start(self, workers: int) -> None:
        os.environ.update(quiet_environment())
        super().start(workers)
