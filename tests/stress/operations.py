# stress/operations.py - what the driver's threads do, and the table that says how often.
#
# Invariants  O1 what a step does follows from the seed, the caller and the number of the step: it draws from a generator
#                of its own, and what the caller keeps never depends on time. So any seed replays, whatever is killed.
#             O2 every value that is read is compared with the model.
# To add      an operation: a function of a Caller, and a line in OPERATIONS.
"""Operations of the soak."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from stress import actors, ledger, tasks
from stress.model import KINDS, MEGABYTE, Spec, build, derived, is_right, must_be_right, tree_value
from stress.report import Counts

import miniray as ray
from miniray.exceptions import ObjectStoreFullError, RayTaskError, WorkerCrashedError

LIVE_OBJECTS = 50  # of one caller
PLAN_STEPS = 100  # so many steps of each caller make the digest that a replay must give again


class Caller:
    """One driver thread's objects: refs with the specs of what they hold, and views with theirs.

    Args:
        seed: Of the run.
        number: Of the caller.
        callers: How many there are; each takes every so many-th row of the ledger.
        ledger_path: Where runs of tasks are written down.
        store_bytes: Size of the store.
        counts: Where to count.
    """

    def __init__(
        self, seed: str, number: int, callers: int, ledger_path: str, store_bytes: int, counts: Counts
    ) -> None:
        self.seed = f"{seed}/{number}"
        self.callers = callers
        self.ledger_path = ledger_path
        self.next_ticket = number
        self.store_bytes = store_bytes
        self.counts = counts
        self.random = random.Random(self.seed)
        self.plain: list[tuple[Any, Spec]] = []
        self.outer: list[tuple[Any, list[Spec], int]] = []  # ref, specs of the refs inside, size
        self.noted: list[tuple[Any, int, Spec, bool]] = []  # ref, ticket, spec, whether it may be lost
        self.actors: list[actors.Actor] = []
        self.views: list[tuple[int, Any, Spec]] = []  # step at which it goes, value, spec
        self.step_number = 0
        self.began_at = time.monotonic()  # the step that is being done
        self.doing = ""
        self.plan = 0

    def size(self) -> int:
        if self.random.random() < 0.02:
            return int(self.store_bytes * self.random.uniform(0.25, 0.3))
        return int(2 ** self.random.uniform(0, 21.5))

    def spec(self, largest: int = 1 << 40) -> Spec:
        return self.random.choice(KINDS), self.random.randrange(1 << 40), min(self.size(), largest)

    def add(self, ref: Any, spec: Spec) -> None:
        self.plain.append((ref, spec))
        self.counts.note(objects=1, bytes=spec[2])

    def some(self, most: int) -> tuple[list[Any], list[Spec]]:
        """Choose refs to be arguments; few with numpy in them."""
        choice = [pair for pair in self.plain if pair[1][0] != "array"] if self.random.random() < 0.9 else self.plain
        chosen = [self.random.choice(choice) for _ in range(self.random.randint(1, most)) if choice]
        return [ref for ref, _ in chosen], [spec for _, spec in chosen]

    def hold(self, value: Any, spec: Spec) -> None:
        """Keep a view, for a while and not beyond a part of the store."""
        held = sum(spec[2] for _, _, spec in self.views)
        if spec[0] != "number" and held + spec[2] < self.store_bytes // 16:
            self.views.append((self.step_number + self.random.randint(1, 60), value, spec))

    def step(self) -> None:
        self.step_number += 1
        self.random = random.Random(f"{self.seed}/{self.step_number}")
        self.began_at = time.monotonic()
        operation = self.random.choices(OPERATIONS, WEIGHTS)[0]
        self.doing = operation.do.__name__
        operation.do(self)
        if len(self.plain) + len(self.outer) > 2 * LIVE_OBJECTS:
            drop(self)
        self.counts.longest("step_ms", (time.monotonic() - self.began_at) * 1e3)
        self.counts.note(steps=1)
        if self.step_number <= PLAN_STEPS:
            own = [(actor.kind, actor.spec, actor.name) for actor in self.actors]
            kept = [spec for _, spec in self.plain], [specs for _, specs, _ in self.outer], len(self.noted), own
            self.plan = zlib.crc32(repr((operation.do.__name__, kept)).encode(), self.plan)

    def settle(self) -> None:
        """Read everything that is left: nothing may be lost."""
        self.doing = "settle"
        while self.noted:
            self.began_at = time.monotonic()
            read_noted(self, *self.noted.pop())
        for ref, spec in self.plain:
            self.began_at = time.monotonic()
            must_be_right(spec, ray.get(ref), "at the end")
        for ref, specs, size in self.outer:
            self.began_at = time.monotonic()
            must_be_right(derived(specs, size), ray.get(ref)[0], "at the end, with refs inside")
        self.counts.note(gets=len(self.plain) + len(self.outer))
        self.step_number = 1 << 60
        drop_views(self)
        actors.drop(self)
        self.plain.clear()
        self.outer.clear()


# --- objects ---------------------------------------------------------------------------------------------------------


def put(caller: Caller) -> None:
    spec = caller.spec()
    caller.add(ray.put(build(spec)), spec)


def put_small(caller: Caller) -> None:
    for _ in range(30):
        spec = caller.spec(2000)
        caller.add(ray.put(build(spec)), spec)


def put_store_array(caller: Caller) -> None:
    spec = ("array", caller.random.randrange(1 << 40), caller.size())
    goes, twice, holds = (caller.random.random() < chance for chance in (0.2, 0.3, 0.2))
    content = build(spec)
    try:
        array = ray.empty(spec[2], content.dtype)
        array[:] = content
        caller.counts.note(store_arrays=1)
    except ObjectStoreFullError:  # all is looked at: store arrays cannot lie in the file
        array = content
        caller.counts.note(refused=1)
    if goes:
        return  # dropped before it was an object
    caller.add(ray.put(array), spec)
    if twice:
        caller.add(ray.put(array), spec)  # shares the memory
    if holds:
        caller.hold(array, spec)


def put_outer(caller: Caller) -> None:
    refs, specs = caller.some(5)
    size = caller.size()
    caller.outer.append((ray.put([build(derived(specs, size)), *refs]), specs, size))
    caller.counts.note(objects=1, bytes=size)


def get(caller: Caller) -> None:
    if not caller.plain:
        return
    ref, spec = caller.random.choice(caller.plain)
    if caller.random.random() < 0.7 and not ray.wait([ref], timeout=0)[0]:
        return
    value = ray.get(ref)
    must_be_right(spec, value, "in the driver")
    caller.counts.note(gets=1, compared_bytes=spec[2])
    if caller.random.random() < 0.3:
        caller.hold(value, spec)


def get_many(caller: Caller) -> None:
    chosen = [caller.random.choice(caller.plain) for _ in range(8) if caller.plain]
    if chosen:
        ray.wait(list({ref: 0 for ref, _ in chosen}), num_returns=1)
    for (_, spec), value in zip(chosen, ray.get([ref for ref, _ in chosen]), strict=True):
        must_be_right(spec, value, "of many")
        caller.counts.note(gets=1, compared_bytes=spec[2])


def get_outer(caller: Caller) -> None:
    if not caller.outer:
        return
    ref, specs, size = caller.random.choice(caller.outer)
    looks_only = caller.random.random() < 0.7
    if looks_only and not ray.wait([ref], timeout=0)[0]:
        return
    value, *inner = ray.get(ref)
    must_be_right(derived(specs, size), value, "of an object with refs inside")
    del value
    place = caller.random.randrange(len(inner)) if inner and not looks_only else None
    for i, (spec, inside) in enumerate(zip(specs, inner, strict=True)):
        must_be_right(spec, ray.get(inside), "of a ref inside")
        if i == place:
            caller.add(inside, spec)
        caller.counts.note(gets=1, compared_bytes=spec[2])


def drop(caller: Caller) -> None:
    for objects in (caller.plain, caller.outer):
        while len(objects) > caller.random.randint(0, LIVE_OBJECTS):
            place = caller.random.randrange(len(objects))
            objects[place] = objects[-1]
            objects.pop()
    caller.plain = caller.plain[-LIVE_OBJECTS:]


def drop_views(caller: Caller) -> None:
    for _, value, spec in caller.views:
        must_be_right(spec, value, "that was held")
    caller.views = [view for view in caller.views if view[0] > caller.step_number]


# --- tasks -----------------------------------------------------------------------------------------------------------


def call_make(caller: Caller) -> None:
    spec = caller.spec()
    caller.add(tasks.make.remote(spec), spec)


def call_make_in_store(caller: Caller) -> None:
    spec = ("array", caller.random.randrange(1 << 40), caller.size())
    caller.add(tasks.make_in_store.remote(spec), spec)


def call_make_many(caller: Caller) -> None:
    specs = [caller.spec(MEGABYTE) for _ in range(caller.random.randint(2, 5))]
    for ref, spec in zip(tasks.make_many.options(num_returns=len(specs)).remote(specs), specs, strict=True):
        caller.add(ref, spec)


def call_stream(caller: Caller) -> None:
    """Read some of what a task yields, perhaps all; the rest goes with the generator."""
    specs = [caller.spec(MEGABYTE) for _ in range(caller.random.randint(1, 8))]
    limit, wanted = caller.random.choice((-1, 1, 3)), caller.random.randint(0, len(specs))
    generator = tasks.stream.options(_generator_backpressure_num_objects=limit).remote(specs)
    for spec, ref in zip(specs[:wanted], generator, strict=False):
        caller.add(ref, spec)
    assert wanted < len(specs) or next(generator, None) is None, "an item too many"


def call_combine(caller: Caller) -> None:
    refs, specs = caller.some(4)
    size = min(caller.size(), MEGABYTE)
    ref = tasks.combine.remote(specs, size, caller.random.random() < 0.1, *refs)
    caller.add(ref, derived(specs, size))


def call_read_refs(caller: Caller) -> None:
    refs, specs = caller.some(6)
    size = min(caller.size(), MEGABYTE)
    caller.add(tasks.read_refs.remote(specs, size, refs), derived(specs, size))


def call_hold_refs(caller: Caller) -> None:
    specs = [caller.spec(MEGABYTE) for _ in range(caller.random.randint(1, 4))]
    size = caller.size()
    caller.outer.append((tasks.hold_refs.remote(specs, size), specs, size))
    caller.counts.note(objects=1 + len(specs), bytes=size + sum(spec[2] for spec in specs))


def call_tree(caller: Caller) -> None:
    depth, seed = caller.random.randint(1, 2), caller.random.randrange(1 << 30)
    assert ray.get(tasks.tree.remote(depth, seed)) == tree_value(depth, seed), (depth, seed)


def call_refuse(caller: Caller) -> None:
    number = caller.random.randrange(1 << 40)
    ref = tasks.refuse.remote(number)
    try:
        value: Any = ray.get(ref)
    except RayTaskError as error:
        value = error
    assert isinstance(value, tasks.Refusal), f"not the error of the task: {value!r}"
    assert f"number {number}" in str(value), value


def call_noted(caller: Caller) -> None:
    """Call tasks whose runs are written down; some of them may not be tried again."""
    for _ in range(caller.random.randint(1, 6)):
        spec, once = caller.spec(MEGABYTE // 4), caller.random.random() < 0.3
        ticket, caller.next_ticket = caller.next_ticket, caller.next_ticket + caller.callers
        ref = (tasks.noted_once if once else tasks.noted).remote(caller.ledger_path, ticket, spec)
        caller.noted.append((ref, ticket, spec, once))
        caller.counts.note(noted=1, bytes=spec[2])


def get_noted(caller: Caller) -> None:
    for _ in range(caller.random.randint(1, 6)):
        if caller.noted:
            read_noted(caller, *caller.noted.pop(caller.random.randrange(len(caller.noted))))


def read_noted(caller: Caller, ref: Any, ticket: int, spec: Spec, once: bool) -> None:
    try:
        named, number, value = ray.get(ref)
    except WorkerCrashedError:
        runs = ledger.runs_of(caller.ledger_path, ticket)
        if not once:
            raise
        assert runs <= 1, f"task {ticket} ran {runs} times although it may not be tried again"
        caller.counts.note(noted_read=1, allowed_errors=1)
        return
    assert named == ticket, f"the result of task {named} for task {ticket}"
    assert is_right(spec, value), f"wrong value of task {ticket}, {spec}"
    ledger.read_result(caller.ledger_path, ticket, number)
    caller.counts.note(noted_read=1, gets=1, compared_bytes=spec[2])


class Operation(NamedTuple):
    """A row of the table: how often, and what."""

    weight: float
    do: Callable[[Caller], None]


OPERATIONS = (
    Operation(8, put),
    Operation(1, put_small),
    Operation(2, put_store_array),
    Operation(2, put_outer),
    Operation(10, get),
    Operation(1, get_many),
    Operation(2, get_outer),
    Operation(2, drop),
    Operation(1, drop_views),
    Operation(2, call_make),
    Operation(1, call_make_in_store),
    Operation(1, call_make_many),
    Operation(1, call_stream),
    Operation(3, call_combine),
    Operation(1, call_read_refs),
    Operation(1, call_hold_refs),
    Operation(1, call_tree),
    Operation(1, call_refuse),
    Operation(3, call_noted),
    Operation(3, get_noted),
    Operation(1, actors.make),
    Operation(3, actors.call),
    Operation(1, actors.call_nested),
    Operation(1, actors.call_in_order),
    Operation(1, actors.read),
    Operation(0.5, actors.restart),
    Operation(0.5, actors.kill),
    Operation(0.5, actors.cancel_tasks),
    Operation(0.5, actors.cancel_calls),
)
WEIGHTS = [operation.weight for operation in OPERATIONS]
