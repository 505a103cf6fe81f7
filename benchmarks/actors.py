"""What is measured of actors, by the same lines for miniray and Ray."""

import os
import signal
import time
from typing import Any


class PlainActor:
    """Runs one call at a time."""

    def identity(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()


class AsyncActor:
    """Runs calls as coroutines."""

    async def identity(self, value: Any) -> Any:
        return value


CLASSES = {"plain": PlainActor, "async": AsyncActor}


def own_bytes(pid: int) -> int:
    """Return the memory that only this process has."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = {line.split()[0]: int(line.split()[1]) for line in file.readlines()[1:]}
    return (sizes["Private_Dirty:"] + sizes["Private_Clean:"]) << 10


class ActorCases:
    """Part of an engine that has actors as Ray does."""

    ray: Any
    workers: int

    def batch(self, count: int) -> None:
        raise NotImplementedError

    def _actor(self, kind: str) -> Any:
        """Return an actor that stays for all samples."""
        actors: dict[str, Any] = self.__dict__.setdefault("actors", {})
        if kind not in actors:
            actors[kind] = self.ray.remote(num_cpus=0)(CLASSES[kind]).remote()
            self.ray.get([actors[kind].identity.remote(i) for i in range(100)])
        return actors[kind]

    def call_actor(self, kind: str) -> None:
        self.ray.get(self._actor(kind).identity.remote(1))

    def batch_of_calls(self, kind: str, count: int) -> None:
        remote = self._actor(kind).identity.remote
        self.ray.get([remote(i) for i in range(count)])

    def create_actors(self, count: int) -> float:
        make = self.ray.remote(num_cpus=0)(CLASSES["plain"]).remote
        started = time.perf_counter()
        self.ray.get([make().identity.remote(i) for i in range(count)])
        return time.perf_counter() - started

    def actor_memory(self, count: int) -> float:
        make = self.ray.remote(num_cpus=0)(CLASSES["plain"]).remote
        actors = [make() for _ in range(count)]
        return sum(map(own_bytes, self.ray.get([actor.pid.remote() for actor in actors]))) / count

    def restart_actor(self) -> float:
        make = self.ray.remote(num_cpus=0, max_restarts=1, max_task_retries=-1)(CLASSES["plain"]).remote
        actor = make()
        pid = self.ray.get(actor.pid.remote())
        self.batch(self.workers * 50)  # the pool is whole

        started = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        assert self.ray.get(actor.pid.remote()) != pid
        return time.perf_counter() - started
