# stress/actors.py - actors of the soak: what runs in their processes, and what the driver's threads do with them.
#
# Invariants  K1 an actor is started again and its calls are tried again without end, so every value comes; its state is lost.
#             K2 calls of one caller run in the order of submission: of those that one incarnation ran, the numbers grow.
#             K3 what is cancelled or killed on purpose ends in a value or in the error that belongs to it, and in no other.
"""Operations of the soak with actors, and cancellations."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from stress import tasks
from stress.model import MEGABYTE, build, derived, must_be_right

import miniray as ray
from miniray.exceptions import ActorDiedError, TaskCancelledError, WorkerCrashedError

if TYPE_CHECKING:
    from stress.operations import Caller

LIVE_ACTORS = 3  # of one caller

endless = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)


class Worker:
    """What all actors of the soak do.

    Args:
        spec: Of a value that it keeps.
        value: That value.
    """

    def __init__(self, spec: Any, value: Any) -> None:
        must_be_right(spec, value, "as an argument of a constructor")
        self.incarnation = int.from_bytes(os.urandom(7), "little")
        self.calls = 0
        self.value = value

    def make(self, spec: Any) -> Any:
        """Return the value of a spec."""
        tasks.dwell(spec[1])
        return build(spec)

    def number(self, seed: int) -> tuple[int, int]:
        """Return which incarnation this is, and how many such calls it has run."""
        tasks.dwell(seed)
        self.calls += 1
        return self.incarnation, self.calls

    def read(self) -> Any:
        """Return what the constructor got."""
        return self.value

    def nest(self, specs: Any, size: int, refs: Any) -> Any:
        """Have a task read refs, and return what it makes of them."""
        return ray.get(tasks.read_refs.remote(specs, size, refs))


class Several(Worker):
    """The same in threads; and calls that are there to be cancelled."""

    def wait(self) -> None:
        """Start a task that does not end soon, and wait for it."""
        ray.get(tasks.long.remote())


class Async:
    """The same as coroutines."""

    def __init__(self, spec: Any, value: Any) -> None:
        must_be_right(spec, value, "as an argument of a constructor")
        self.value = value

    async def make(self, spec: Any) -> Any:
        """Return the value of a spec."""
        await asyncio.sleep(spec[1] % 20 / 1000)
        return build(spec)

    async def read(self) -> Any:
        """Return what the constructor got."""
        return self.value

    async def nest(self, specs: Any, size: int, refs: Any) -> Any:
        """Have a task read refs, and return what it makes of them."""
        return await tasks.read_refs.remote(specs, size, refs)

    async def wait(self) -> None:
        """Start a task that does not end soon, and wait for it."""
        await tasks.long.remote()


class Actor(NamedTuple):
    """What a caller knows of an actor.

    Attributes:
        handle: Keeps it.
        kind: Place in KINDS.
        spec: Of what its constructor got.
        name: Or None.
        is_detached: Whether it must be killed to end.
        calls: Refs of calls that others will read, and that may not have finished: it is not killed before.
    """

    handle: Any
    kind: int
    spec: Any
    name: str | None
    is_detached: bool
    calls: list[Any]


KINDS: tuple[Callable[..., Any], ...] = (
    endless(Worker).options,
    endless(Several).options,
    endless(Async).options,
)
LIMITS: tuple[dict[str, Any], ...] = ({}, {"max_concurrency": 4}, {})


def make(caller: Caller) -> None:
    """Make an actor; let the oldest go when there are many."""
    spec, kind = caller.spec(MEGABYTE // 4), caller.random.randrange(len(KINDS))
    options: dict[str, Any] = dict(LIMITS[kind])
    name = None
    if caller.random.random() < 0.5:
        name = options["name"] = f"{caller.seed}/{caller.random.randrange(1 << 60)}"
    if caller.random.random() < 0.2:
        options["lifetime"] = "detached"
    if len(caller.actors) >= LIVE_ACTORS:
        let_go(caller.actors.pop(0))
    value: Any = ray.put(build(spec)) if caller.random.random() < 0.5 else tasks.make.remote(spec)
    handle = KINDS[kind](**options).remote(spec, value)
    caller.actors.append(Actor(handle, kind, spec, name, "lifetime" in options, []))
    caller.counts.note(actors=1)


def let_go(actor: Actor) -> None:
    """Let an actor end; one that would not is killed when its calls are finished."""
    if actor.is_detached:
        if actor.calls:
            ray.wait(actor.calls, num_returns=len(actor.calls))
        ray.kill(actor.handle)


def one(caller: Caller, *kinds: int) -> Actor | None:
    """Return an actor of these kinds; None when there is none."""
    found = [actor for actor in caller.actors if actor.kind in kinds]
    return caller.random.choice(found) if found else None


def keep(caller: Caller, actor: Actor, ref: Any, spec: Any) -> None:
    """Add the result of a call to the objects of a caller."""
    caller.add(ref, spec)
    if actor.is_detached:
        actor.calls[:] = [*(ray.wait(actor.calls, timeout=0)[1] if actor.calls else []), ref]


def call(caller: Caller) -> None:
    """Call actors, whose values are objects as those of tasks are."""
    for _ in range(caller.random.randint(1, 6)):
        spec = caller.spec(MEGABYTE)
        if found := one(caller, 0, 1, 2):
            keep(caller, found, found.handle.make.remote(spec), spec)
            caller.counts.note(actor_calls=1)


def call_nested(caller: Caller) -> None:
    """Call an actor that calls a task that reads refs."""
    refs, specs = caller.some(3)
    size = min(caller.size(), MEGABYTE)
    if found := one(caller, 0, 1, 2):
        keep(caller, found, found.handle.nest.remote(specs, size, refs), derived(specs, size))


def call_in_order(caller: Caller) -> None:
    """See that calls ran in the order of submission."""
    seeds = [caller.random.randrange(100) for _ in range(8)]
    if not (found := one(caller, 0)):
        return
    highest: dict[int, int] = {}
    for incarnation, number in ray.get([found.handle.number.remote(seed) for seed in seeds]):
        assert number > highest.get(incarnation, 0), f"call {number} of an actor came after call {highest}"
        highest[incarnation] = number
    caller.counts.note(actor_calls=len(seeds))


def read(caller: Caller) -> None:
    """Read what the constructor got, by a handle or by the name."""
    by_name = caller.random.random() < 0.5
    if not (found := one(caller, 0, 1, 2)):
        return
    handle = ray.get_actor(found.name) if found.name and by_name else found.handle
    must_be_right(found.spec, ray.get(handle.read.remote()), "of an actor")


def restart(caller: Caller) -> None:
    """Kill the process of an actor under its calls."""
    if not (found := one(caller, 0, 1, 2)):
        return
    specs = [caller.spec(MEGABYTE // 4) for _ in range(3)]
    refs = [found.handle.make.remote(spec) for spec in specs]
    ray.kill(found.handle, no_restart=False)
    for ref, spec in zip(refs, specs, strict=True):
        must_be_right(spec, ray.get(ref), "of an actor that was killed")
    caller.counts.note(restarts=1)


def kill(caller: Caller) -> None:
    """End a new actor for good: what waits has a value or fails, what comes later fails."""
    spec = caller.spec(MEGABYTE // 4)
    name = f"{caller.seed}/{caller.random.randrange(1 << 60)}"
    handle = caller.random.choice(KINDS)(name=name).remote(spec, build(spec))
    early = handle.make.remote(spec)
    if caller.random.random() < 0.5:
        ray.get(handle.read.remote())
    ray.kill(handle)
    late = handle.make.remote(spec)
    with contextlib.suppress(ActorDiedError):
        must_be_right(spec, ray.get(early), "of a call before the kill")
    must_fail(late, ActorDiedError)
    try:
        ray.get_actor(name)
    except ValueError:
        return
    raise AssertionError(f"the killed actor {name} is found by its name")


def must_fail(ref: Any, *kinds: type[BaseException]) -> None:
    """Raise unless getting the ref raises one of these errors."""
    try:
        value = ray.get(ref)
    except kinds:
        return
    raise AssertionError(f"{value} and none of {kinds}")


def may_fail(ref: Any, *kinds: type[BaseException]) -> None:
    """Get the ref, which may raise one of these errors and no other."""
    with contextlib.suppress(*kinds):
        assert ray.get(ref) is None


def cancel_tasks(caller: Caller) -> None:
    """Cancel tasks that wait for their children, in whatever state they are."""
    refs = [tasks.start_long.remote(depth) for depth in (0, 1)]
    if caller.random.random() < 0.5:
        ray.wait([tasks.small.remote()])
    force = caller.random.random() < 0.3
    for ref in refs:
        ray.cancel(ref, force=force)
        may_fail(ref, TaskCancelledError, *([WorkerCrashedError] if force else []))
    caller.counts.note(cancelled=len(refs))


def cancel_calls(caller: Caller) -> None:
    """Cancel calls that wait for their children."""
    if not (found := one(caller, 1, 2)):
        return
    refs = [found.handle.wait.remote() for _ in range(3)]
    if caller.random.random() < 0.5:
        ray.get(found.handle.read.remote())
    for ref in refs:
        ray.cancel(ref)
        may_fail(ref, TaskCancelledError)
    caller.counts.note(cancelled=len(refs))


def drop(caller: Caller) -> None:
    """Let all actors go; their calls finish."""
    while caller.actors:
        let_go(caller.actors.pop())
