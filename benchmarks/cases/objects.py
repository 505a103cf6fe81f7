"""Objects: small and large, put and got by the driver and by several processes, more of them than memory."""

import mmap
import tempfile
from statistics import median
from typing import Any

from benchmarks.cases.case import Case, Sample, best_seconds, faster, microseconds, per_second, shorter
from benchmarks.engines import Engine
from benchmarks.engines.base import timed

_GIGABYTE = 1_000_000_000
_FIRST_BYTES = 800_000_000
_BLOCK_BYTES, _BLOCKS = 32 << 20, 24
_CLIENTS, _CLIENT_BYTES = 2, 100_000_000
SMALL = ("name", 1, 2.5)


def ones(size_bytes: int) -> Any:
    """Return an array."""
    import numpy

    return numpy.ones(size_bytes, numpy.uint8)


def put_array_of(size_bytes: int) -> Sample:
    def put_array(engine: Engine) -> float:
        """GB a second of putting an array where workers can read it, into memory that was used before."""
        size = engine.count(size_bytes)
        data = ones(size)
        engine.put(data)
        return size / 1e9 / best_seconds(engine, lambda: engine.put(data))

    return put_array


def put_first(engine: Engine) -> float:
    """GB a second of the same, by the first put of a session."""
    size = engine.count(_FIRST_BYTES)
    return size / 1e9 / engine.put_first(size)


def put_store_array(*, other_put: bool) -> Sample:
    """Put an array of 1 GB that was written where it will lie: at once, the caches full of it, or after a small one."""

    def measure(engine: Engine) -> float:
        samples = []
        for _ in range(5):
            data, small = engine.writable_array(engine.count(_GIGABYTE)), engine.writable_array(8000)
            data[:: mmap.PAGESIZE] = 1
            if other_put:
                engine.put(small)
            samples.append(timed(lambda data=data: engine.put(data)) * 1e6)
            del data
        return median(samples)

    return measure


def put_small(engine: Engine) -> float:
    """Microseconds of putting a small value and dropping it."""
    put = engine.put
    return microseconds(engine, lambda: put(SMALL))


def get_small(engine: Engine) -> float:
    """Microseconds of getting a small value that this process put."""
    kept, get = engine.put(SMALL), engine.get
    return microseconds(engine, lambda: get(kept))


def get_array_of(size_bytes: int) -> Sample:
    def get_array(engine: Engine) -> float:
        """Microseconds of getting an array."""
        kept, get = engine.put(ones(engine.count(size_bytes))), engine.get
        get(kept)  # raises where nothing can be got
        return microseconds(engine, lambda: get(kept))

    return get_array


def get_10000_refs(engine: Engine) -> float:
    """Milliseconds of getting a list of 10,000 refs that nothing else keeps; the best of five."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError
    kept = engine.put([engine.put(i) for i in range(engine.count(10_000))])
    return best_seconds(engine, lambda: engine.get(kept)) * 1e3


def puts_and_drops(engine: Engine) -> float:
    """Small objects a second: 1,000 are put, then dropped."""
    put, count = engine.put, engine.count(1000)
    return per_second(engine, lambda: len([put(SMALL) for _ in range(count)]))


def put_many(engine: Engine, size_bytes: int, count: int) -> None:
    """Run by the processes that put."""
    data = ones(size_bytes)
    for _ in range(count):
        engine.put(data)


def get_many(engine: Engine, holder: list[Any], count: int) -> None:
    """Run by the processes that get."""
    get, (kept,) = engine.get, holder
    for _ in range(count):
        get(kept)


def puts_by_clients(engine: Engine) -> float:
    """GB a second of several processes that put arrays at the same time."""
    if engine.name == "distributed":
        raise NotImplementedError("what a task puts stays in its worker, not copied")
    size = engine.count(_CLIENT_BYTES)
    engine.in_clients(_CLIENTS, put_many, size, 1)
    return _CLIENTS * 4 * size / 1e9 / timed(lambda: engine.in_clients(_CLIENTS, put_many, size, 4))


def gets_by_clients(engine: Engine) -> float:
    """Gets a second of one array of 1 GB by several processes at the same time."""
    if engine.name == "distributed":
        raise NotImplementedError("each worker keeps a copy, nothing is shared")
    kept, count = engine.put(ones(engine.count(_GIGABYTE))), engine.count(1000)

    def one() -> int:
        engine.in_clients(_CLIENTS, get_many, [kept], count)
        return _CLIENTS * count

    return per_second(engine, one)


def out_of_core(engine: Engine) -> float:
    """GB a second, written and read, of blocks that take three times the memory there is for them."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = engine.out_of_core(folder, _BLOCK_BYTES, _BLOCKS)
    return 2 * _BLOCK_BYTES * _BLOCKS / 1e9 / seconds


CASES: list[Case] = [
    shorter("put_small", "put and drop of a small object", "us", put_small),
    shorter("get_small", "get of a small object", "us", get_small),
    faster("puts_and_drops", "small objects, 1,000 put, then dropped", "objects/s", puts_and_drops),
    faster("put_1_mb", "put of a 1 MB array, memory reused", "GB/s", put_array_of(1_000_000)),
    faster("put_100_mb", "put of a 100 MB array, memory reused", "GB/s", put_array_of(100_000_000)),
    faster("put_1_gb", "put of a 1 GB array, memory reused", "GB/s", put_array_of(_GIGABYTE)),
    faster("put_first", "first put of a session, 800 MB", "GB/s", put_first),
    shorter("put_in_place", "put of 1 GB written in the store", "us", put_store_array(other_put=True)),
    shorter(
        "put_in_place_cold",
        "put of 1 GB written in the store, right after writing it",
        "us",
        put_store_array(other_put=False),
    ),
    faster("clients_put", "puts of 100 MB arrays by two processes", "GB/s", puts_by_clients),
    shorter("get_1_mb", "get of a 1 MB array", "us", get_array_of(1_000_000)),
    shorter("get_1_gb", "get of a 1 GB array", "us", get_array_of(_GIGABYTE)),
    faster("clients_get", "gets of a 1 GB array by two processes", "gets/s", gets_by_clients),
    shorter("get_10000_refs", "get of an object of 10,000 refs", "ms", get_10000_refs),
    faster("out_of_core", "768 MB through a store of 256 MB, written and read", "GB/s", out_of_core),
]
