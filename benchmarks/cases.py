"""What is measured: each case takes one sample of one engine. Run in the engine's process."""

import mmap
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.engines import Engine, run_program, timed

_SAMPLE_SECONDS = 0.25
_GIGABYTE = 1_000_000_000
_LARGE_BYTES = 800_000_000
_BLOCK_BYTES, _BLOCKS = 32 << 20, 24
_SMALL = ("name", 1, 2.5)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: Name for ``--only``.
        title: What the row shows.
        unit: Unit of a sample.
        higher_is_better: Whether larger samples are better.
        sample: Takes one sample of a started engine.
        is_long: Runs with ``--long`` only.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    sample: Callable[[Engine], float]
    is_long: bool = False


def per_second(call: Callable[[], int]) -> float:
    """Return how many things a second a function does that returns how many it did."""
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < _SAMPLE_SECONDS:
        count += call()
    return count / (time.perf_counter() - started)


def microseconds(call: Callable[[], object]) -> float:
    """Return how long a call takes, one after the other."""

    def ten_calls() -> int:
        for _ in range(10):
            call()
        return 10

    return 1e6 / per_second(ten_calls)


def round_trip(engine: Engine) -> float:
    """Microseconds of one task and its result, one after the other, everybody awake."""
    return microseconds(engine.round_trip)


def batch_of(size: int) -> Callable[[Engine], float]:
    def batch(engine: Engine) -> float:
        """Tasks a second, submitted one by one, results got at the end."""

        def one() -> int:
            engine.batch(size)
            return size

        return per_second(one)

    return batch


def actor_round_trip(kind: str) -> Callable[[Engine], float]:
    """Microseconds of one call of an actor and its result, one after the other."""
    return lambda engine: microseconds(lambda: engine.call_actor(kind))


def actor_batch(kind: str, size: int) -> Callable[[Engine], float]:
    def batch(engine: Engine) -> float:
        """Calls of one actor a second, submitted one by one, results got at the end."""

        def one() -> int:
            engine.batch_of_calls(kind, size)
            return size

        return per_second(one)

    return batch


def actors_created(count: int) -> Callable[[Engine], float]:
    """Actors a second that are made and called once, all at a time."""
    return lambda engine: count / engine.create_actors(count)


def actor_memory(engine: Engine) -> float:
    """MB of its own memory that the process of an actor has."""
    return engine.actor_memory(20) / 1e6


def actor_restart(engine: Engine) -> float:
    """Milliseconds from SIGKILL of an actor to the answer of the next call, which is tried again until then."""
    return engine.restart_actor() * 1e3


def stream_of(count: int) -> Callable[[Engine], float]:
    def stream(engine: Engine) -> float:
        """Small values a second that one task yields and this process reads."""

        def one() -> int:
            engine.stream(count, -1)
            return count

        return per_second(one)

    return stream


def stream_in_step(engine: Engine) -> float:
    """Microseconds an item when the task makes the next only when one was taken."""
    return timed(lambda: engine.stream(1000, 1)) * 1e3


def put_array_of(size_bytes: int) -> Callable[[Engine], float]:
    def put_array(engine: Engine) -> float:
        """GB a second of putting an array where workers can read it, into memory that was used before."""
        import numpy

        data = numpy.ones(size_bytes, numpy.uint8)
        engine.put(data)
        engine.put(data)
        return size_bytes / 1e9 / min(timed(lambda: engine.put(data)) for _ in range(5))

    return put_array


def put_first(engine: Engine) -> float:
    """GB a second of the same, by the first put of a session."""
    return _LARGE_BYTES / 1e9 / engine.put_first(_LARGE_BYTES)


def put_store_array(*, other_put: bool) -> Callable[[Engine], float]:
    """Put an array of 1 GB that was written where it will lie: at once, the caches full of it, or after a small one."""

    def measure(engine: Engine) -> float:
        samples = []
        for _ in range(5):
            data, small = engine.writable_array(_GIGABYTE), engine.writable_array(8000)
            data[:: mmap.PAGESIZE] = 1
            if other_put:
                engine.put(small)
            samples.append(timed(lambda data=data: engine.put(data)) * 1e6)
            del data
        return median(samples)

    return measure


def put_small(engine: Engine) -> float:
    """Microseconds of putting a small value and dropping it."""
    return microseconds(lambda: engine.put(_SMALL))


def get_small(engine: Engine) -> float:
    """Microseconds of getting a small value that this process put."""
    kept = engine.put(_SMALL)
    return microseconds(lambda: engine.get(kept))


def get_1_gb(engine: Engine) -> float:
    """Microseconds of getting an array of 1 GB."""
    import numpy

    kept = engine.put(numpy.ones(_GIGABYTE, numpy.uint8))
    return microseconds(lambda: engine.get(kept))


def get_10000_refs(engine: Engine) -> float:
    """Milliseconds of getting a list of 10,000 refs that nothing else keeps; the best of five."""
    kept = engine.put([engine.put(i) for i in range(10_000)])
    return min(timed(lambda: engine.get(kept)) for _ in range(5)) * 1e3


def puts_and_drops(engine: Engine) -> float:
    """Small objects a second: 1,000 are put, then dropped."""
    return per_second(lambda: len([engine.put(_SMALL) for _ in range(1000)]))


def out_of_core(engine: Engine) -> float:
    """GB a second, written and read, of blocks that take three times the memory there is for them."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = engine.out_of_core(folder, _BLOCK_BYTES, _BLOCKS)
    return 2 * _BLOCK_BYTES * _BLOCKS / 1e9 / seconds


def crash(*, tries_again: bool) -> Callable[[Engine], float]:
    """Milliseconds from SIGKILL of a busy worker of 100 MB to the error, or to the result of the second try."""
    return lambda engine: engine.crash(tries_again) * 1e3


def start_up(engine: Engine) -> float:
    """Milliseconds from ``init`` to the first result, import done, in a fresh process."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError
    program = (
        f"import time, {engine.name} as ray\n"
        "f = ray.remote(lambda: 1)\nstarted = time.perf_counter()\n"
        "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "ray.get(f.remote())\nprint(time.perf_counter() - started)"
    )
    return float(run_program(program)) * 1e3


def import_time(engine: Engine) -> float:
    """Milliseconds that importing takes beyond an empty program that imports cloudpickle."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError
    empty, full = "import cloudpickle", f"import cloudpickle, {engine.name}"
    pairs = [(timed(lambda: run_program(empty)), timed(lambda: run_program(full))) for _ in range(3)]
    return min(after for _, after in pairs) * 1e3 - min(before for before, _ in pairs) * 1e3


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("round_trip", "one task and its result, awake", "us", False, round_trip),
        Case("batch_1000", "batches of 1,000 tasks", "tasks/s", True, batch_of(1000)),
        Case("batch_100000", "batches of 100,000 tasks", "tasks/s", True, batch_of(100_000), is_long=True),
        Case("actor_round_trip", "one call of an actor and its result", "us", False, actor_round_trip("plain")),
        Case("actor_batch", "batches of 1,000 calls of an actor", "calls/s", True, actor_batch("plain", 1000)),
        Case("async_round_trip", "one call of an async actor and its result", "us", False, actor_round_trip("async")),
        Case("async_batch", "batches of 1,000 calls of an async actor", "calls/s", True, actor_batch("async", 1000)),
        Case("actors_created", "40 actors made and called once", "actors/s", True, actors_created(40)),
        Case("actors_created_1000", "1,000 of them", "actors/s", True, actors_created(1000), is_long=True),
        Case("actor_memory", "own memory of an actor's process", "MB", False, actor_memory),
        Case("actor_restart", "SIGKILL of an actor to the next answer", "ms", False, actor_restart),
        Case("stream", "items of one stream, read as they come", "items/s", True, stream_of(2000)),
        Case("stream_in_step", "an item that is made when the one before was taken", "us", False, stream_in_step),
        Case("put_small", "put and drop of a small object", "us", False, put_small),
        Case("get_small", "get of a small object", "us", False, get_small),
        Case("puts_and_drops", "small objects, 1,000 put, then dropped", "objects/s", True, puts_and_drops),
        Case("put_100_mb", "put of a 100 MB array, memory reused", "GB/s", True, put_array_of(100_000_000)),
        Case("put_800_mb", "put of an 800 MB array, memory reused", "GB/s", True, put_array_of(_LARGE_BYTES)),
        Case("put_first", "first put of a session, 800 MB", "GB/s", True, put_first),
        Case("put_in_place", "put of 1 GB written in the store", "us", False, put_store_array(other_put=True)),
        Case("put_in_place_cold", "the same, right after writing it", "us", False, put_store_array(other_put=False)),
        Case("get_1_gb", "get of a 1 GB array", "us", False, get_1_gb),
        Case("get_10000_refs", "get of an object of 10,000 refs", "ms", False, get_10000_refs),
        Case("out_of_core", "768 MB through a store of 256 MB, written and read", "GB/s", True, out_of_core),
        Case("crash_error", "SIGKILL of a worker of 100 MB to the error", "ms", False, crash(tries_again=False)),
        Case("crash_retry", "the same to the retried result, one worker idle", "ms", False, crash(tries_again=True)),
        Case("import", "import, beyond Python's and cloudpickle's", "ms", False, import_time),
        Case("start_up", "init(num_cpus=2) to the first result", "ms", False, start_up),
    )
}
