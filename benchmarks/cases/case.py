"""One row of the table, and how long a sample repeats what it measures."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.engines import Engine
from benchmarks.engines.base import timed

_LONG_CALL_SECONDS = 0.001
_BEST_OF, _BEST_OF_SECONDS = 5, 2.0

Sample = Callable[[Engine], float]


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
        in_own_session: Whether each sample needs a fresh session: with unused memory, or of another size.
        workers: Worker processes of that session, if the case needs another number than the others.
        skips: Engines that are not asked, with the reason.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    sample: Sample
    is_long: bool = False
    in_own_session: bool = False
    workers: int | None = None
    skips: Mapping[str, str] = field(default_factory=dict)


def faster(name: str, title: str, unit: str, sample: Sample, *, is_long: bool = False) -> Case:
    """Return a case whose larger samples are better."""
    return Case(name, title, unit, True, sample, is_long)


def shorter(
    name: str, title: str, unit: str, sample: Sample, *, is_long: bool = False, in_own_session: bool = False
) -> Case:
    """Return a case whose smaller samples are better."""
    return Case(name, title, unit, False, sample, is_long, in_own_session)


def per_second(engine: Engine, call: Callable[[], int]) -> float:
    """Return how many things a second a function does that returns how many it did."""
    if not engine.is_warm:
        call()  # what only a first call does: imports in workers, copies of functions, new memory
    count, seconds = 0, engine.seconds
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        count += call()
    return count / (time.perf_counter() - started)


def microseconds(engine: Engine, call: Callable[[], object]) -> float:
    """Return how long a call takes, one after the other."""
    started = time.perf_counter()
    call()
    repeats = 10 if time.perf_counter() - started < _LONG_CALL_SECONDS else 1  # the clock is read once for all

    def some_calls() -> int:
        for _ in range(repeats):
            call()
        return repeats

    return 1e6 / per_second(engine, some_calls)


def best_seconds(engine: Engine, call: Callable[[], object]) -> float:
    """Return the shortest of five calls; of fewer where these would take long."""
    if not engine.is_warm:
        call()
    taken: list[float] = []
    while len(taken) < _BEST_OF and sum(taken) < _BEST_OF_SECONDS:
        taken.append(timed(call))
    return min(taken)


def milliseconds(engine: Engine, call: Callable[[], object]) -> float:
    """Return the same of a longer call."""

    def one_call() -> int:
        call()
        return 1

    return 1e3 / per_second(engine, one_call)
