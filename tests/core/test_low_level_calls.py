"""Random calls of the low-level classes, right and wrong, against a model in plain Python: same answers, clear errors, valid tables."""

from __future__ import annotations

import contextlib
import math
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from miniray._miniray_core import ObjectID, ObjectRef, ObjectStore, Scheduler, Task
from miniray.exceptions import ObjectStoreFullError

CAPACITY = 256 << 10
MAX_OBJECTS, MAX_TASKS, MAX_WORKERS = 12, 6, 4

# What no call may take for a value, whatever it expects.
_TYPES = [None, object(), 1.5, math.nan, "text", b"bytes", [256], [-1], ["a"], [None], {}, (), Ellipsis]
_NUMBERS = [-1, 2**32, 2**63, 2**64, 2**200]
WRONG = st.sampled_from([*_TYPES, *_NUMBERS])
CLEAR_ERRORS = (TypeError, ValueError, OverflowError, KeyError, MemoryError, OSError, BufferError)

payloads = st.one_of(
    st.binary(max_size=80),
    st.integers(min_value=0, max_value=40_000).map(bytes),
    st.binary(min_size=1, max_size=8).map(lambda piece: piece * 5000),
)


@contextlib.contextmanager
def raises_clearly(*kinds: type[BaseException]) -> Any:
    """Expect an error of one of these kinds whose text says something."""
    with pytest.raises(kinds or CLEAR_ERRORS) as raised:
        yield
    assert len(str(raised.value)) > 5, raised.value


class StoreCalls(RuleBasedStateMachine):
    """An ObjectStore beside a dict in order of use."""

    refs = Bundle("refs")
    views = Bundle("views")

    @initialize(eviction=st.sampled_from(["lru", "error"]))
    def open(self, eviction: str) -> None:
        self.name = f"calls-{secrets.token_hex(6)}"
        self.evicts = eviction == "lru"
        self.handles = [ObjectStore(name=self.name, capacity=CAPACITY, eviction=eviction, max_objects=MAX_OBJECTS)]
        self.maker = self.handles[0]
        self.objects: dict[str, bytes] = {}  # least recently used first
        self.pins: dict[str, int] = {}

    def teardown(self) -> None:
        for handle in getattr(self, "handles", []):
            handle.close()

    @property
    def store(self) -> ObjectStore:
        return self.handles[-1]

    def used(self, name: str) -> None:
        self.objects[name] = self.objects.pop(name)

    def notice_evictions(self) -> None:
        """Objects that are gone must be the least recently used ones that nobody looks at."""
        gone = [name for name in self.objects if not self.store.contains(ObjectID.from_hex(name))]
        unpinned = [name for name in self.objects if not self.pins.get(name)]
        assert gone == unpinned[: len(gone)]
        assert self.evicts or not gone
        for name in gone:
            del self.objects[name]

    @rule(target=refs, data=payloads, named=st.booleans())
    def put(self, data: bytes, named: bool) -> Any:
        return self.put_under(ObjectRef() if named else None, data)

    def put_under(self, wanted: Any, data: bytes) -> Any:
        problem = ""
        try:
            ref = self.store.put(data, wanted)
        except (ObjectStoreFullError, MemoryError) as error:
            problem = str(error)
        if problem:
            assert len(problem) > 5
            self.notice_evictions()  # in vain, if at all
            return multiple()
        assert wanted is None or ref == wanted
        self.notice_evictions()
        self.objects[ref.hex()] = data
        return ref

    @rule(ref=refs, data=payloads)
    def put_again(self, ref: Any, data: bytes) -> None:
        if ref.hex() in self.objects:
            with raises_clearly(ValueError):
                self.store.put(data, ref)
            self.notice_evictions()
        else:
            self.put_under(ref, data)

    @rule(ref=refs)
    def get(self, ref: Any) -> None:
        if ref.hex() in self.objects:
            assert self.store.get(ref) == self.objects[ref.hex()]
            self.used(ref.hex())
        else:
            with raises_clearly(KeyError):
                self.store.get(ref)

    @rule(target=views, ref=refs)
    def get_view(self, ref: Any) -> Any:
        if ref.hex() not in self.objects:
            with raises_clearly(KeyError):
                self.store.get_view(ref)
            return multiple()
        view = self.store.get_view(ref)
        self.used(ref.hex())
        if self.store is not self.maker:
            return multiple()  # another handle has pins of its own; this one ends with the view
        self.pins[ref.hex()] = self.pins.get(ref.hex(), 0) + 1
        return [ref.hex(), view, self.objects[ref.hex()]]

    @rule(entry=views)
    def read_view(self, entry: list[Any]) -> None:
        _, view, data = entry
        if view is not None:
            assert view == data
            assert view.readonly
            with pytest.raises(TypeError):
                view[:] = data

    @rule(entry=views)
    def drop_view(self, entry: list[Any]) -> None:
        name, view, _ = entry
        if view is not None:
            entry[1] = None
            self.pins[name] -= 1

    @rule(ref=refs, method=st.sampled_from(["delete", "remove"]))
    def delete(self, ref: Any, method: str) -> None:
        if ref.hex() in self.objects:
            getattr(self.store, method)(ref)
            del self.objects[ref.hex()]
        else:
            with raises_clearly(KeyError):
                getattr(self.store, method)(ref)

    @rule(ref=refs, turn=st.integers(min_value=1, max_value=2**64 - 1))
    def look_for_what_never_was(self, ref: Any, turn: int) -> None:
        """A key that resembles a real one: another row, another generation."""
        forged = ObjectRef(bytes.fromhex(f"{int(ref.hex(), 16) ^ turn:032x}"))
        if forged.hex() in self.objects:
            return
        assert forged not in self.store
        for call in (self.store.get, self.store.get_view, self.store.delete):
            with raises_clearly(KeyError):
                call(forged)

    @rule(value=WRONG)
    def wrong_values(self, value: object) -> None:
        for call in (self.store.get, self.store.get_view, self.store.delete, self.store.contains):
            with raises_clearly():
                call(value)
        if not isinstance(value, bytes | tuple):
            with raises_clearly():
                self.store.put(value)
        with raises_clearly():
            self.store.put(b"data", value if value is not None else 0)

    @rule(size=st.sampled_from([CAPACITY + 1, 4 * CAPACITY]))
    def put_too_much(self, size: int) -> None:
        with raises_clearly(ObjectStoreFullError):
            self.store.put(bytes(size))

    @rule()
    def nil_names_nothing(self) -> None:
        with raises_clearly(ValueError):
            self.store.put(b"x", ObjectID())
        assert not self.store.contains(ObjectRef.nil())

    @rule()
    def open_another_handle(self) -> None:
        if len(self.handles) < 3:
            eviction = "lru" if self.evicts else "error"
            self.handles.append(ObjectStore(create=False, name=self.name, eviction=eviction))

    @precondition(lambda self: len(self.handles) > 1)
    @rule()
    def close_a_handle(self) -> None:
        closed = self.handles.pop()
        closed.close()
        closed.close()
        ref = ObjectRef()
        calls = [closed.get, closed.get_view, closed.delete, closed.contains, closed.put, lambda ref: closed.size()]
        for call in calls:
            with raises_clearly(ValueError):
                call(b"x" if call == closed.put else ref)

    @rule()
    def make_it_twice(self) -> None:
        with raises_clearly(FileExistsError):
            ObjectStore(name=self.name, capacity=CAPACITY)

    @invariant()
    def agrees(self) -> None:
        if getattr(self, "handles", None):
            assert self.store.size() == len(self.objects)
            assert self.store._validate() is None


class QueueCalls(RuleBasedStateMachine):
    """A Scheduler beside a list and a dict."""

    @initialize()
    def open(self) -> None:
        self.name = f"calls-{secrets.token_hex(6)}"
        self.handles = [Scheduler(name=self.name, max_tasks=MAX_TASKS, max_workers=MAX_WORKERS)]
        self.tasks: list[Task] = []
        self.idle: dict[int, bool] = {}

    def teardown(self) -> None:
        for handle in getattr(self, "handles", []):
            handle.close()

    @property
    def scheduler(self) -> Scheduler:
        return self.handles[-1]

    @rule(function=payloads, arguments=payloads)
    def submit(self, function: bytes, arguments: bytes) -> None:
        task = Task(ObjectRef(), function, arguments)
        if len(self.tasks) < MAX_TASKS:
            self.scheduler.submit_task(task)
            self.tasks.append(task)
        else:
            with raises_clearly(MemoryError):
                self.scheduler.submit_task(task)

    @rule(timeout=st.sampled_from([None, 0, 0.0, 1e-9]))
    def take(self, timeout: float | None) -> None:
        task = self.scheduler.get_next_task(timeout)
        assert task == (self.tasks.pop(0) if self.tasks else None)

    @rule(worker=st.integers(min_value=-3, max_value=3))
    def register(self, worker: int) -> None:
        if worker in self.idle:
            with raises_clearly(ValueError):
                self.scheduler.register_worker(worker)
        elif len(self.idle) == MAX_WORKERS:
            with raises_clearly(MemoryError):
                self.scheduler.register_worker(worker)
        else:
            self.scheduler.register_worker(worker)
            self.idle[worker] = True

    @rule(worker=st.integers(min_value=-3, max_value=3), action=st.sampled_from(["unregister", "busy", "idle"]))
    def change(self, worker: int, action: str) -> None:
        method = {
            "unregister": self.scheduler.unregister_worker,
            "busy": self.scheduler.mark_worker_busy,
            "idle": self.scheduler.mark_worker_idle,
        }[action]
        if worker not in self.idle:
            with raises_clearly(KeyError):
                method(worker)
            return
        method(worker)
        if action == "unregister":
            del self.idle[worker]
        else:
            self.idle[worker] = action == "idle"

    @rule(value=WRONG)
    def wrong_values(self, value: object) -> None:
        with raises_clearly():
            self.scheduler.submit_task(value)
        if not isinstance(value, int | float | None) or value in (-1, math.nan):  # else seconds
            with raises_clearly():
                self.scheduler.get_next_task(value)
        if value not in (-1, 2**32):
            scheduler = self.scheduler
            for call in (scheduler.register_worker, scheduler.unregister_worker, scheduler.mark_worker_idle):
                with raises_clearly():
                    call(value)
        with raises_clearly():
            Task(value, b"", b"")
        if not isinstance(value, bytes | tuple):
            with raises_clearly():
                Task(ObjectRef(), value, b"")
            with raises_clearly():
                Task(ObjectRef(), b"", value)

    @rule()
    def open_another_handle(self) -> None:
        if len(self.handles) < 3:
            self.handles.append(Scheduler(create=False, name=self.name))

    @precondition(lambda self: len(self.handles) > 1)
    @rule()
    def close_a_handle(self) -> None:
        closed = self.handles.pop()
        closed.close()
        closed.close()
        task = Task(ObjectRef(), b"", b"")
        calls = [lambda: closed.submit_task(task), closed.get_next_task, lambda: closed.register_worker(1)]
        for call in (*calls, closed.get_pending_task_count, closed.has_idle_worker, closed._validate):
            with raises_clearly(ValueError):
                call()

    @invariant()
    def agrees(self) -> None:
        if getattr(self, "handles", None):
            assert self.scheduler.get_pending_task_count() == len(self.tasks)
            assert self.scheduler.get_idle_worker_count() == sum(self.idle.values())
            assert self.scheduler.has_idle_worker() == any(self.idle.values())
            assert self.scheduler._validate() is None


def run(machine: type[RuleBasedStateMachine], programs: int, steps: int) -> None:
    """Try that many random programs of at most that many calls."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=programs, stateful_step_count=steps, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("machine", [StoreCalls, QueueCalls])
def test_random_calls_agree_with_the_model(machine):
    run(machine, programs=15, steps=40)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [StoreCalls, QueueCalls])
def test_ten_thousand_random_calls_agree_with_the_model(machine):
    run(machine, programs=100, steps=100)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": -1}, TypeError),
        ({"capacity": 2**63}, ValueError),
        ({"capacity": 2**70}, TypeError),
        ({"capacity": 2**44}, ValueError),
        ({"capacity": "1 GB"}, TypeError),
        ({"max_objects": 0}, ValueError),
        ({"max_objects": 2**31}, ValueError),
        ({"max_objects": 2**32 - 1}, ValueError),
        ({"max_objects": 2**32}, TypeError),
        ({"eviction": "sometimes"}, ValueError),
        ({"eviction": None}, TypeError),
        ({"name": "a/b"}, ValueError),
        ({"name": "a\0b"}, ValueError),
        ({"name": "x" * 300}, ValueError),
        ({"name": "\udcff"}, TypeError),
        ({"name": b"bytes"}, TypeError),
        ({"create": "yes"}, TypeError),
    ],
)
def test_stores_that_cannot_be_are_refused(arguments, kind):
    with raises_clearly(kind):
        ObjectStore(**{"name": f"never-{secrets.token_hex(4)}", "capacity": 1 << 20, **arguments})


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"max_tasks": 0}, ValueError),
        ({"max_tasks": 2**32 - 1}, ValueError),
        ({"max_tasks": -5}, TypeError),
        ({"max_workers": 0}, ValueError),
        ({"max_workers": 2**31 + 1}, ValueError),
        ({"max_workers": 1.5}, TypeError),
    ],
)
def test_schedulers_that_cannot_be_are_refused(arguments, kind):
    with raises_clearly(kind):
        Scheduler(**{"name": f"never-{secrets.token_hex(4)}", "max_tasks": 10, **arguments})
