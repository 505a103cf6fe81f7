"""Curves: one figure against how much there is of something. A point is a case whose name is ``curve@x``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.cases.case import Case, microseconds, per_second
from benchmarks.cases.objects import SMALL
from benchmarks.cases.tasks import efficiency, in_batches
from benchmarks.engines import Engine
from benchmarks.payloads import identity, size_of, zeros

_TENS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_LENGTHS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class Curve:
    """One figure of the plots.

    Args:
        name: Name for ``--only``.
        title: What it shows.
        x_label: Of what there is more and more.
        unit: Unit of a sample.
        theory: What shape it should have, and why.
        xs: How much.
        sample: Takes one sample of an engine with so much.
        higher_is_better: Whether larger samples are better.
        x_is_workers: Whether each point needs a session with so many workers.
        limits: Where an engine's points end, so that a run does too.
    """

    name: str
    title: str
    x_label: str
    unit: str
    theory: str
    xs: Sequence[int]
    sample: Callable[[Engine, int], float]
    higher_is_better: bool = False
    x_is_workers: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        """Return the points."""
        return [self.case(x) for x in self.xs]

    def case(self, x: int) -> Case:
        """Return one point."""
        beyond = {name: f"not measured beyond {limit:,}" for name, limit in self.limits.items() if x > limit}
        return Case(
            name=f"{self.name}@{x}",
            title=f"{self.title}: {x:,}",
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            sample=lambda engine: self.sample(engine, x),
            in_own_session=self.x_is_workers,
            workers=x if self.x_is_workers else None,
            skips=beyond,
        )


def _limits(ray: int, pools: int, dask: int, floor: int = 0) -> dict[str, int]:
    return {
        "ray": ray,
        **dict.fromkeys(("multiprocessing.Pool", "ProcessPoolExecutor", "loky"), pools),
        "distributed": dask,
        "floor": floor,
    }


def queued(engine: Engine, x: int) -> float:
    """Microseconds a task when so many are submitted before the first result is got."""
    return 1e6 / in_batches(engine, identity, engine.count(x) if x > 1 else 1)


def objects(engine: Engine, x: int) -> float:
    """Microseconds of putting and dropping a small object when so many others live."""
    put = engine.put
    kept = [put(SMALL) for _ in range(engine.count(x))]
    each = microseconds(engine, lambda: put(SMALL))
    del kept
    return each


def refs(engine: Engine, x: int) -> float:
    """Microseconds a ref of getting so many small objects by one call."""
    put, get = engine.put, engine.get_list
    kept = [put(i) for i in range(engine.count(x))]
    assert get(kept)[-1] == len(kept) - 1

    def one() -> int:
        get(kept)
        return len(kept)

    return 1e6 / per_second(engine, one)


def workers(engine: Engine, x: int) -> float:
    """Tasks a second, in batches of 1,000, of a session with so many workers."""
    return in_batches(engine, identity, engine.count(1000))


def idle_workers(engine: Engine, x: int) -> float:
    """Microseconds of one task and its result in a session with so many workers."""
    return microseconds(engine, engine.trip(engine.submitter(identity), 1))


def payload(engine: Engine, x: int) -> float:
    """Microseconds of one task with an argument of so many bytes."""
    trip = engine.trip(engine.submitter(size_of), zeros(engine.count(x) if x > 1 else 1))
    calls = 10 if x <= 1_000_000 else 1

    def some() -> int:
        for _ in range(calls):
            trip()
        return calls

    return 1e6 / per_second(engine, some)


def task_length(engine: Engine, x: int) -> float:
    """Share of the ideal of tasks that compute so many microseconds."""
    return efficiency(x, max(20, min(2000, 200_000 // x)))(engine)


CURVES: dict[str, Curve] = {
    curve.name: curve
    for curve in (
        Curve(
            name="queued",
            title="cost of a task",
            x_label="tasks queued",
            unit="us/task",
            theory="Submitting, running and getting a task touch a fixed number of rows: a flat cost, once a batch is "
            "long enough to keep all busy; a batch of one pays the whole way there and back.",
            xs=_TENS,
            sample=queued,
            limits=_limits(10_000, 100_000, 10_000, 1_000_000),
        ),
        Curve(
            name="objects",
            title="put and drop of a small object",
            x_label="objects live",
            unit="us",
            theory="A new object takes a free row and a free block, whatever else lives: flat.",
            xs=_TENS,
            sample=objects,
            limits=_limits(10_000, 0, 1000),
        ),
        Curve(
            name="refs",
            title="get of many objects",
            x_label="refs in one get",
            unit="us/ref",
            theory="Each ref is looked up once: flat for each ref, above the cost of the call itself.",
            xs=_TENS[:-1],
            sample=refs,
            limits=_limits(10_000, 0, 1000),
        ),
        Curve(
            name="workers",
            title="batches of 1,000 tasks",
            x_label="workers",
            unit="tasks/s",
            theory="The processors are full with as many workers as processors; more add switches of the kernel, "
            "but must not bring a collapse.",
            xs=_WORKERS,
            sample=workers,
            higher_is_better=True,
            x_is_workers=True,
            limits=_limits(8, 64, 8),
        ),
        Curve(
            name="idle_workers",
            title="one task and its result",
            x_label="workers, all but one idle",
            unit="us",
            theory="A task wakes one worker; those that sleep cost nothing: flat.",
            xs=_WORKERS,
            sample=idle_workers,
            x_is_workers=True,
            limits=_limits(8, 64, 8),
        ),
        Curve(
            name="payload",
            title="one task with an argument",
            x_label="bytes of the argument",
            unit="us",
            theory="Flat while an argument fits into the record of a task, then one copy: linear.",
            xs=(1, 100, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
            sample=payload,
            limits=_limits(1_000_000_000, 100_000_000, 100_000_000),
        ),
        Curve(
            name="task_length",
            title="share of the ideal",
            x_label="us of work in a task",
            unit="of ideal",
            theory="With a fixed cost c for each task and work w, two workers reach w / (w + c), less what the driver "
            "takes of the two processors; a task without work is 0 of the ideal.",
            xs=_LENGTHS,
            sample=task_length,
            higher_is_better=True,
            limits=_limits(10_000, 10_000, 10_000),
        ),
    )
}
