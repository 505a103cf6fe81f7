"""Dask distributed on one machine: a scheduler in the driver's process, workers of one thread each, no dashboard."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.clients import in_client
from benchmarks.crashes import hold_and_compute, seconds_after_kill
from benchmarks.engines.base import Engine, Seconds
from benchmarks.payloads import AsyncActor, PlainActor

_CLUSTER = {"processes": True, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}


class Dask(Engine):
    name = "distributed"
    module = "distributed"
    imports = "import distributed"
    starts = (
        f"cluster = distributed.LocalCluster(n_workers=2, **{_CLUSTER!r})\n"
        "client = distributed.Client(cluster)\nvalue = client.submit(abs_of, 1, pure=False).result()"
    )
    ends = "client.close()\ncluster.close()"
    slowness = 8
    passes_pending = True
    client: Any

    def start(self, workers: int) -> None:
        self.distributed = importlib.import_module("distributed")
        self.workers = workers
        self.cluster = self.distributed.LocalCluster(n_workers=workers, **_CLUSTER)
        self.client = self.distributed.Client(self.cluster)
        self.client.wait_for_workers(workers)
        self.warm_up()

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        submit = self.client.submit
        return lambda *arguments: submit(function, *arguments, pure=False)

    def gather(self, pending: list[Any]) -> list[Any]:
        if pending and not isinstance(pending[0], self.distributed.Future):  # calls of actors
            return [call.result() for call in pending]
        return self.client.gather(pending)

    def result(self, pending: Any) -> Any:
        return pending.result()

    def one_by_one(self, function: Callable[..., Any], count: int) -> int:
        submit = self.submitter(function)
        return sum(1 for _ in self.distributed.as_completed([submit(i) for i in range(count)]))

    @contextmanager
    def attached(self) -> Iterator[None]:
        self.distributed = importlib.import_module("distributed")
        with self.distributed.worker_client(separate_thread=True) as self.client:
            yield

    def in_task(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.result(self.submitter(in_client)(self.name, function, *arguments))

    def in_clients(self, count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        submit = self.submitter(in_client)
        return self.gather([submit(self.name, function, *arguments) for _ in range(count)])

    def new_actor(self, cls: type, *arguments: Any) -> Any:
        return self.client.submit(cls, *arguments, actor=True, pure=False).result()

    def actor(self, kind: str) -> Any:
        if kind == "threaded":
            raise NotImplementedError
        return self.new_actor(AsyncActor if kind == "async" else PlainActor)

    def caller(self, actor: Any, method: str) -> Callable[..., Any]:
        return getattr(actor, method)

    def crash(self, tries_again: bool) -> Seconds:
        self.client.wait_for_workers(self.workers)
        self.cluster.scheduler.allowed_failures = 3 if tries_again else 0

        def wait(future: Any) -> None:
            try:
                answer = future.result()
            except self.distributed.KilledWorker:
                answer = "error"
            assert answer == ("again" if tries_again else "error"), answer

        seconds = seconds_after_kill(self.submitter(hold_and_compute), wait)
        self.client.wait_for_workers(self.workers)
        return seconds

    def put(self, value: Any) -> Any:
        return self.client.scatter([value], hash=False)[0]

    def get(self, kept: Any) -> Any:
        return kept.result()

    def get_list(self, kept: list[Any]) -> list[Any]:
        return self.client.gather(kept)
