"""What the hardware sets: one server process behind two rings in shared memory, pickle, nothing else."""

import contextlib
import mmap
import operator
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import floor, payloads
from benchmarks.engines.base import Engine, Seconds, timed

_FUNCTIONS = [payloads.nothing, payloads.identity, payloads.first_of_ten, payloads.increment, payloads.add]
_MOST_IN_FLIGHT = 4000  # the ring has 4,096 places
_MOST_BYTES = 252  # of a message


class Floor(Engine):
    name = "floor"
    shared: memoryview | None = None

    @classmethod
    def gap(cls) -> str | None:
        if sys.platform != "linux":
            return "its extension is written for Linux"
        return None if floor.compiler() else "no C++ compiler"

    def start(self, workers: int) -> None:
        self.workers = workers
        self._numbers: dict[Callable[..., Any], int] = {}
        self.ring = floor.load()
        self.ring.open_rings()
        self.server = os.fork()
        if self.server == 0:
            self._serve()
        self.warm_up()

    def _serve(self) -> None:
        with contextlib.suppress(BaseException):
            while (message := self.ring.receive(0)) != b"end":
                number, arguments = pickle.loads(message)
                self.ring.send(1, pickle.dumps(_FUNCTIONS[number](*arguments), 5))
        os._exit(0)

    def stop(self) -> None:
        self.ring.send(0, b"end")
        os.waitpid(self.server, 0)

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if function not in _FUNCTIONS:
            raise NotImplementedError
        number, send, dumps = _FUNCTIONS.index(function), self.ring.send, pickle.dumps

        def submit(*arguments: Any) -> None:
            send(0, dumps((number, arguments), 5))

        self._numbers[submit] = number
        return submit

    def gather(self, pending: list[Any]) -> list[Any]:
        receive, loads = self.ring.receive, pickle.loads
        return [loads(receive(1)) for _ in pending]

    # A floor has no function calls that can be avoided: the two below do without those of the base.

    def trip(self, submit: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        number, send, receive = self._numbers[submit], self.ring.send, self.ring.receive
        dumps, loads = pickle.dumps, pickle.loads
        if len(dumps((number, arguments), 5)) > _MOST_BYTES:
            raise NotImplementedError

        def trip() -> Any:
            send(0, dumps((number, arguments), 5))
            return loads(receive(1))

        return trip

    def batch(self, submit: Callable[..., Any], count: int, *arguments: Any) -> None:
        number, send, receive = self._numbers[submit], self.ring.send, self.ring.receive
        dumps, loads = pickle.dumps, pickle.loads
        while count:
            part = min(count, _MOST_IN_FLIGHT)
            if arguments:
                for _ in range(part):
                    send(0, dumps((number, arguments), 5))
            else:
                for i in range(part):
                    send(0, dumps((number, (i,)), 5))
            for _ in range(part):
                loads(receive(1))
            count -= part

    def actor(self, kind: str) -> Any:
        return kind

    def caller(self, actor: Any, method: str) -> Callable[..., Any]:
        return self.submitter(getattr(payloads, method))

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
