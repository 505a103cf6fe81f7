"""What is measured: each case takes one sample of one engine. Run in the engine's process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.engines import Engine, timed

_SAMPLE_SECONDS = 0.25


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


def round_trip(engine: Engine) -> float:
    """Microseconds of one task and its result, one after the other, everybody awake."""
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < _SAMPLE_SECONDS:
        for _ in range(10):
            engine.round_trip()
        count += 10
    return (time.perf_counter() - started) / count * 1e6


def batch_of(size: int) -> Callable[[Engine], float]:
    def batch(engine: Engine) -> float:
        """Tasks a second, submitted one by one, results got at the end."""
        count = 0
        started = time.perf_counter()
        while time.perf_counter() - started < _SAMPLE_SECONDS:
            engine.batch(size)
            count += size
        return count / (time.perf_counter() - started)

    return batch


def put_100_mb(engine: Engine) -> float:
    """GB a second of putting an array of 100 MB where workers can read it, into memory that was used before."""
    import numpy

    data = numpy.ones(100_000_000, numpy.uint8)
    engine.put(data)
    engine.put(data)
    return min_rate(lambda: engine.put(data), data.nbytes)


def min_rate(call: Callable[[], Any], size_bytes: int) -> float:
    return size_bytes / 1e9 / min(timed(call) for _ in range(5))


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
    return float(_run(program)) * 1e3


def import_time(engine: Engine) -> float:
    """Milliseconds that importing takes beyond an empty program that imports cloudpickle."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError
    empty, full = "import cloudpickle", f"import cloudpickle, {engine.name}"
    pairs = [(timed(lambda: _run(empty)), timed(lambda: _run(full))) for _ in range(3)]
    return min(after for _, after in pairs) * 1e3 - min(before for before, _ in pairs) * 1e3


def _run(program: str) -> str:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("round_trip", "one task and its result, awake", "us", False, round_trip),
        Case("batch_1000", "batches of 1,000 tasks", "tasks/s", True, batch_of(1000)),
        Case("batch_100000", "batches of 100,000 tasks", "tasks/s", True, batch_of(100_000), is_long=True),
        Case("put_100_mb", "put of a 100 MB array, memory reused", "GB/s", True, put_100_mb),
        Case("import", "import, beyond Python's and cloudpickle's", "ms", False, import_time),
        Case("start_up", "init(num_cpus=2) to the first result", "ms", False, start_up),
    )
}
