"""What runs in the workers of every engine: small functions and actors, imported by name."""

import os
import time
from typing import Any


def nothing() -> None:
    pass


def identity(value: Any) -> Any:
    return value


def first_of_ten(*values: Any) -> Any:
    return values[0]


def increment(value: int) -> int:
    return value + 1


def add(left: int, right: int) -> int:
    return left + right


def size_of(data: Any) -> int:
    return len(data)


def zeros(size_bytes: int) -> Any:
    """Return an array; small ones are bytes, as programs have them."""
    if size_bytes < 100_000:
        return b"\0" * size_bytes
    import numpy

    return numpy.zeros(size_bytes, numpy.uint8)


def own_pid() -> int:
    time.sleep(0.001)  # the next call goes to another worker
    return os.getpid()


def work(microseconds: float) -> None:
    """Compute for so long, in this thread's time of a processor: a task that is held back is not done earlier."""
    clock = time.thread_time_ns
    end = clock() + microseconds * 1000
    while clock() < end:
        pass


def wait_for_file(path: str, started: str) -> None:
    """Keep a worker until a file exists; say that it is kept."""
    with open(f"{started}/{os.getpid()}", "w", encoding="ascii"):
        pass
    while not os.path.exists(path):
        time.sleep(0.001)


def numbers(count: int) -> Any:
    """Yield so many small values."""
    for i in range(count):  # noqa: UP028 - Ray sends values into generators, which range() does not take
        yield i


class PlainActor:
    """Runs one call at a time."""

    def nothing(self) -> None:
        pass

    def identity(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()


class AsyncActor:
    """Runs calls as coroutines."""

    async def identity(self, value: Any) -> Any:
        return value
