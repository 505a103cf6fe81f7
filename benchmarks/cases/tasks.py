"""Tasks: one at a time, in batches, with arguments and results, from several processes, in trees and chains."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.cases.case import Case, Sample, faster, microseconds, milliseconds, per_second, shorter
from benchmarks.engines import Engine
from benchmarks.engines.base import timed
from benchmarks.payloads import add, first_of_ten, identity, increment, nothing, size_of, work, zeros

_ASLEEP_SECONDS = 0.02
_CLIENTS = 2


def round_trip(engine: Engine) -> float:
    """Microseconds of one task and its result, one after the other, everybody awake."""
    return microseconds(engine, engine.trip(engine.submitter(identity), 1))


def round_trip_asleep(engine: Engine) -> float:
    """The same when the workers have gone to sleep: the caller waits before each."""
    trip = engine.trip(engine.submitter(identity), 1)

    def sleep_first() -> float:
        time.sleep(_ASLEEP_SECONDS)
        return timed(trip)

    return median(sleep_first() for _ in range(engine.count(20))) * 1e6


def in_batches(engine: Engine, function: Callable[..., Any], count: int, *arguments: Any) -> float:
    """Tasks a second, submitted one by one, the results of so many got at the end."""
    submit = engine.submitter(function)

    def one() -> int:
        engine.batch(submit, count, *arguments)
        return count

    return per_second(engine, one)


def batch(function: Callable[..., Any], size: int, *arguments: Any) -> Sample:
    return lambda engine: in_batches(engine, function, engine.count(size), *arguments)


def batch_without_arguments(engine: Engine) -> float:
    submit, count = engine.submitter(nothing), engine.count(1000)

    def one() -> int:
        engine.gather([submit() for _ in range(count)])
        return count

    return per_second(engine, one)


def batch_with_ref(engine: Engine) -> float:
    """Tasks a second whose argument is a ref of one small object."""
    return in_batches(engine, identity, engine.count(1000), engine.put(1))


def with_payload(function: Callable[..., Any], payload: Callable[[], Any]) -> Sample:
    """Microseconds of one task with a large argument, or a large result, one after the other."""
    return lambda engine: microseconds(engine, engine.trip(engine.submitter(function), payload()))


def submit_many(engine: Engine, count: int) -> None:
    """Run by the processes that submit."""
    engine.batch(engine.submitter(identity), count)


def batches_of_clients(engine: Engine) -> float:
    """Tasks a second of several processes that submit at the same time."""
    count = engine.count(1000)
    engine.in_clients(_CLIENTS, submit_many, 1)

    def one() -> int:
        engine.in_clients(_CLIENTS, submit_many, count)
        return _CLIENTS * count

    return per_second(engine, one)


def nested(engine: Engine) -> float:
    """Milliseconds of a task that runs ten tasks."""
    return milliseconds(engine, lambda: engine.in_task(submit_many, 10))


def tree(engine: Engine) -> float:
    """Milliseconds of adding 256 numbers, two by two, each addition a task."""
    submit, leaves = engine.submitter(add), engine.count(128)

    def one() -> None:
        level = [submit(i, i) for i in range(leaves)]
        while len(level) > 1:
            values = engine.as_arguments(level)
            odd = values[-1:] if len(values) % 2 else []
            level = [submit(left, right) for left, right in zip(values[::2], values[1::2], strict=False)]
            if odd:
                level.append(submit(odd[0], 0))
        engine.gather(level)

    return milliseconds(engine, one)


def chain(engine: Engine) -> float:
    """Microseconds a task, each of which takes the result of the one before."""
    submit, count = engine.submitter(increment), engine.few(1000)

    def one() -> int:
        pending = submit(0)
        for _ in range(count - 1):
            (value,) = engine.as_arguments([pending])
            pending = submit(value)
        assert engine.result(pending) == count
        return count

    return 1e6 / per_second(engine, one)


def one_by_one(engine: Engine) -> float:
    """Milliseconds of taking 1,000 results, each when it is there, submitting them first."""
    return milliseconds(engine, lambda: engine.one_by_one(identity, engine.count(1000)))


def efficiency(length_us: float, count: int) -> Sample:
    def measure(engine: Engine) -> float:
        """Share of the ideal that tasks of so much work reach: all workers computing, nothing else."""
        submit, tasks = engine.submitter(work), engine.count(count)
        engine.batch(submit, engine.workers * 10, 1)
        ideal = tasks * length_us / 1e6 / engine.workers
        return ideal / timed(lambda: engine.batch(submit, tasks, length_us))

    return measure


def _bytes_of(size: int) -> Callable[[], Any]:
    return lambda: zeros(size)


def _number(value: int) -> Callable[[], int]:
    return lambda: value


CASES: list[Case] = [
    shorter("round_trip", "one task and its result, awake", "us", round_trip),
    shorter("round_trip_asleep", "one task and its result, after 20 ms of sleep", "us", round_trip_asleep),
    faster("batch_1000", "batches of 1,000 tasks", "tasks/s", batch(identity, 1000)),
    faster("batch_100000", "batches of 100,000 tasks", "tasks/s", batch(identity, 100_000), is_long=True),
    faster("args_0", "1,000 tasks without arguments", "tasks/s", batch_without_arguments),
    faster("args_10", "1,000 tasks with ten arguments", "tasks/s", batch(first_of_ten, 1000, *range(10))),
    faster("arg_ref", "1,000 tasks with a ref as argument", "tasks/s", batch_with_ref),
    shorter("arg_1_kb", "one task with an argument of 1 KB", "us", with_payload(size_of, _bytes_of(1000))),
    shorter("result_1_kb", "one task with a result of 1 KB", "us", with_payload(zeros, _number(1000))),
    shorter("arg_1_mb", "one task with an array of 1 MB", "us", with_payload(size_of, _bytes_of(1_000_000))),
    shorter("result_1_mb", "one task that returns an array of 1 MB", "us", with_payload(zeros, _number(1_000_000))),
    faster("clients_batch", "batches of 1,000 tasks by each of two processes", "tasks/s", batches_of_clients),
    shorter("nested", "a task that runs ten tasks", "ms", nested),
    shorter("tree", "a tree of 255 additions, two by two", "ms", tree),
    shorter("chain", "a task of a chain of 1,000", "us", chain),
    shorter("wait_1000", "1,000 tasks, each taken when it ends", "ms", one_by_one),
    faster("work_10_us", "1,000 tasks of 10 us of work", "of ideal", efficiency(10, 1000)),
    faster("work_100_us", "1,000 tasks of 100 us", "of ideal", efficiency(100, 1000)),
    faster("work_1_ms", "200 tasks of 1 ms", "of ideal", efficiency(1000, 200)),
    faster("work_10_ms", "40 tasks of 10 ms", "of ideal", efficiency(10_000, 40)),
    faster("work_100_ms", "8 tasks of 100 ms", "of ideal", efficiency(100_000, 8)),
]
