"""Actors: calls of all kinds, one to many, many to many, creation, restart; and streams of one task."""

from collections.abc import Callable
from typing import Any

from benchmarks.cases.case import Case, Sample, best_seconds, faster, microseconds, per_second, shorter
from benchmarks.engines import Engine
from benchmarks.engines.base import timed
from benchmarks.payloads import zeros

_MANY = 4
_CLIENTS = 2


def lasting(engine: Engine, kind: str, number: int = 0) -> Any:
    """Return an actor that stays for all samples."""
    actors: dict[tuple[str, int], Any] = engine.__dict__.setdefault("lasting_actors", {})
    if (kind, number) not in actors:
        actors[kind, number] = engine.actor(kind)
        engine.batch(engine.caller(actors[kind, number], "identity"), engine.count(100))
    return actors[kind, number]


def round_trip(kind: str, argument: Callable[[], Any] = lambda: 1) -> Sample:
    """Microseconds of one call of an actor and its result, one after the other."""
    return lambda engine: microseconds(
        engine, engine.trip(engine.caller(lasting(engine, kind), "identity"), argument())
    )


def batch(kind: str, size: int, *arguments: Any) -> Sample:
    def measure(engine: Engine) -> float:
        """Calls of one actor a second, submitted one by one, results got at the end."""
        call, count = engine.caller(lasting(engine, kind), "identity"), engine.count(size)

        def one() -> int:
            engine.batch(call, count, *arguments)
            return count

        return per_second(engine, one)

    return measure


def call_all(engine: Engine, actors: list[Any], count: int) -> None:
    """Call actors in turns; run by the driver, or by several processes."""
    calls = [engine.caller(actor, "identity") for actor in actors]
    engine.gather([calls[i % len(calls)](i) for i in range(count)])


def one_to_many(engine: Engine) -> float:
    """Calls a second of one process to four actors."""
    if engine.name == "floor":
        raise NotImplementedError
    actors, count = [lasting(engine, "plain", i) for i in range(_MANY)], engine.count(1000)

    def one() -> int:
        call_all(engine, actors, count)
        return count

    return per_second(engine, one)


def many_to_many(engine: Engine) -> float:
    """Calls a second of two processes to the same four actors."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError
    actors, count = [lasting(engine, "plain", i) for i in range(_MANY)], engine.count(1000)
    engine.in_clients(_CLIENTS, call_all, actors, _MANY)

    def one() -> int:
        engine.in_clients(_CLIENTS, call_all, actors, count)
        return _CLIENTS * count

    return per_second(engine, one)


def created(full: int) -> Sample:
    """Actors a second that are made and called once, all at a time."""

    def measure(engine: Engine) -> float:
        if engine.name == "floor":
            raise NotImplementedError
        count = engine.few(full)

        def make_and_call() -> None:
            actors = [engine.actor("plain") for _ in range(count)]
            engine.gather([engine.caller(actor, "identity")(1) for actor in actors])

        return count / timed(make_and_call)

    return measure


def creation(engine: Engine) -> float:
    """Milliseconds of making one actor, to the answer of its first call; the best of five."""
    if engine.name == "floor":
        raise NotImplementedError

    def make_and_call() -> None:
        engine.result(engine.caller(engine.actor("plain"), "identity")(1))

    return best_seconds(engine, make_and_call) * 1e3


def restart(engine: Engine) -> float:
    """Milliseconds from SIGKILL of an actor to the answer of the next call, which is tried again until then."""
    return engine.restart_actor() * 1e3


def stream_of(full: int) -> Sample:
    def stream(engine: Engine) -> float:
        """Small values a second that one task yields and this process reads."""
        count = engine.count(full)

        def one() -> int:
            engine.stream(count, -1)
            return count

        return per_second(engine, one)

    return stream


def stream_in_step(engine: Engine) -> float:
    """Microseconds an item when the task makes the next only when one was taken."""
    count = engine.count(1000)
    return timed(lambda: engine.stream(count, 1)) / count * 1e6


def _kilobyte() -> Any:
    return zeros(1000)


CASES: list[Case] = [
    shorter("actor_round_trip", "one call of an actor and its result", "us", round_trip("plain")),
    shorter("actor_arg_1_kb", "one call that takes and returns 1 KB", "us", round_trip("plain", _kilobyte)),
    faster("actor_batch", "batches of 1,000 calls of an actor", "calls/s", batch("plain", 1000)),
    shorter("async_round_trip", "one call of an async actor and its result", "us", round_trip("async")),
    faster("async_batch", "batches of 1,000 calls of an async actor", "calls/s", batch("async", 1000)),
    shorter("threaded_round_trip", "one call of an actor with four threads", "us", round_trip("threaded")),
    faster(
        "threaded_batch", "batches of 1,000 calls of an actor with four threads", "calls/s", batch("threaded", 1000)
    ),
    faster("one_to_many", "1,000 calls of four actors by one process", "calls/s", one_to_many),
    faster("many_to_many", "1,000 calls of four actors by each of two processes", "calls/s", many_to_many),
    shorter("actor_creation", "one actor made and called once", "ms", creation),
    faster("actors_created", "40 actors made and called once", "actors/s", created(40)),
    faster("actors_created_1000", "1,000 actors made and called once", "actors/s", created(1000), is_long=True),
    shorter("actor_restart", "SIGKILL of an actor to the next answer", "ms", restart),
    faster("stream", "items of one stream, read as they come", "items/s", stream_of(2000)),
    shorter("stream_in_step", "an item that is made when the one before was taken", "us", stream_in_step),
]
