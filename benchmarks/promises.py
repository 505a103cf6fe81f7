"""The promises, checked against the rows of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.runner import Row
from benchmarks.table import OURS, nearest_peer, number

_EXECUTOR = "ProcessPoolExecutor"


@dataclass(frozen=True)
class Promise:
    """One line of the promises: what, the measured value, the limit."""

    text: str
    value: float
    limit: float
    at_most: bool

    @property
    def is_kept(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        verdict = "ok    " if self.is_kept else "MISSED"
        bound = "at most" if self.at_most else "at least"
        return f"{verdict}  {self.text}: {number(self.value)} ({bound} {number(self.limit)})"


# row, other engine, miniray is at least so many times better
_TIMES_BETTER: list[tuple[str, str, float]] = [
    *((name, "ray", 150) for name in ("round_trip", "batch_1000", "batch_100000", "actor_round_trip", "actor_batch")),
    *((name, "ray", 150) for name in ("async_round_trip", "async_batch", "threaded_round_trip", "threaded_batch")),
    *((name, _EXECUTOR, 20) for name in ("round_trip", "batch_1000", "batch_100000")),
    *((name, "ray", 50) for name in ("wait_1000", "nested", "clients_batch", "many_to_many")),
    *((name, "ray", 2.5) for name in ("put_100_mb", "put_1_gb", "clients_put")),
    ("round_trip", "floor", 1 / 3),
    ("round_trip_asleep", "floor", 1 / 1.5),
    ("actor_round_trip", "floor", 1 / 3),
    ("batch_1000", "floor", 0.45),
    ("batch_100000", "floor", 0.45),
    ("actor_batch", "floor", 0.45),
    ("put_1_gb", "floor", 0.85),
    ("put_first", "floor", 1.2),
    ("out_of_core", "floor", 0.5),
]

# row, limit of miniray's own figure, in the row's unit
_LIMITS: list[tuple[str, float]] = [
    ("work_100_us", 0.9),
    ("work_1_ms", 0.97),
    ("puts_and_drops", 100_000),
    ("put_in_place", 50),
    ("get_small", 1),
    ("get_1_gb", 20),
    ("get_10000_refs", 10),
    ("actor_creation", 15),
    ("task_memory", 512),
    ("object_entry", 160),
    ("idle_wakeups", 0),
    ("import", 100),
    ("start_up", 150),
    ("crash_error", 10),
    ("crash_retry", 20),
]

# curve, from which point on it is flat, how many times worse the worst later point may be
_FLAT: list[tuple[str, int, float]] = [
    ("queued", 1000, 2.0),
    ("objects", 1000, 2.0),
    ("refs", 1000, 2.0),
    ("workers", 2, 4.0),
    ("idle_workers", 2, 4.0),
]


def promises(results: Results) -> list[Promise]:
    """Return the promises that a run can check."""
    by_name = {row.case.name: row for row in results.cases}
    return [
        *_of_others(by_name),
        *_of_own_figures(by_name),
        *_ahead_of_peers(results),
        *_flat_curves(results),
    ]


def _of_others(by_name: dict[str, Row]) -> Iterator[Promise]:
    for name, other, limit in _TIMES_BETTER:
        row = by_name.get(name)
        times = None if row is None else row.times_better(OURS, other)
        if row is None or times is None:
            continue
        if other != "floor":
            yield Promise(f"{row.case.title}, times better than {other}", times, limit, at_most=False)
        elif row.case.higher_is_better:
            yield Promise(f"{row.case.title}, share of the floor's", times, limit, at_most=False)
        else:
            yield Promise(f"{row.case.title}, times the floor's", 1 / times, round(1 / limit, 2), at_most=True)


def _of_own_figures(by_name: dict[str, Row]) -> Iterator[Promise]:
    for name, limit in _LIMITS:
        row = by_name.get(name)
        value = None if row is None else row.median(OURS)
        if row is not None and value is not None:
            yield Promise(f"{row.case.title}, {row.case.unit}", value, limit, at_most=not row.case.higher_is_better)


def _ahead_of_peers(results: Results) -> Iterator[Promise]:
    for row in results.rows:
        nearest = nearest_peer(row, results.engines)
        if nearest is not None:
            yield Promise(
                f"ahead of every peer in '{row.case.title}', nearest {nearest[0]}", nearest[1], 1, at_most=False
            )


def _flat_curves(results: Results) -> Iterator[Promise]:
    for name, first, limit in _FLAT:
        points = [(x, row.median(OURS)) for x, row in results.points(name) if x >= first]
        values = [value for _, value in points if value is not None]
        if len(values) < 2 or points[0][0] != first:
            continue
        is_higher_better = results.points(name)[0][1].case.higher_is_better
        worst = values[0] / min(values) if is_higher_better else max(values) / values[0]
        yield Promise(f"curve '{name}', worst beyond {first:,} against {first:,}", worst, limit, at_most=True)


def verdict(results: Results, curve: str) -> str:
    """Return whether a curve is as flat as promised; empty where nothing is promised or measured."""
    found = [promise for promise in _flat_curves(results) if f"'{curve}'" in promise.text]
    if not found:
        return ""
    times = f"the worst is {number(found[0].value)} times the first of them, at most {number(found[0].limit)}"
    first = next(first for name, first, _ in _FLAT if name == curve)
    return f"{'Met' if found[0].is_kept else '**Not met**'}: from {first:,} on, {times}."


def lines(found: Sequence[Promise]) -> list[str]:
    """Return a line per promise; those of being ahead in one line where they are kept."""
    ahead = [promise for promise in found if promise.text.startswith("ahead of")]
    kept = sum(promise.is_kept for promise in ahead)
    shown = [str(promise) for promise in found if promise not in ahead or not promise.is_kept]
    return [*shown, f"{'ok    ' if kept == len(ahead) else '      '}  ahead of every peer: {kept} of {len(ahead)}"]
