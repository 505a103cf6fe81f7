"""cancel in miniray's own terms: nothing is left, races are decided once, and no death of anybody hangs."""

import os
import random
import signal
import time

import pytest

from helpers.actors import Async, Plain
from helpers.counts import counts, expect_counts, outcome
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import TaskCancelledError, WorkerCrashedError


@pytest.fixture
def back(ray):
    """Give a task that returns its argument, known to the session and both workers."""
    back = ray.remote(lambda value: value)
    ray.get([back.remote(i) for i in range(20)])
    return back


@pytest.fixture
def blocked(ray, back):
    """Give the refs of two tasks that take both CPUs until they are cancelled."""

    @ray.remote(max_retries=0)
    def block():
        while True:
            time.sleep(1000)

    refs = [block.remote() for _ in range(2)]
    wait_until(lambda: core._statistics()["running"] == 2, "both run")
    return refs


def test_sleep_is_interrupted_at_once(ray, blocked):
    for ref in blocked:
        ray.cancel(ref)
    assert [outcome(ray, ref) for ref in blocked] == [TaskCancelledError] * 2


def test_task_that_blocks_in_get_is_interrupted(ray, blocked):
    @ray.remote(num_cpus=0)
    def wait(refs):
        return ray.get(refs)

    ref = wait.remote(blocked)
    wait_until(lambda: core._statistics()["idle_workers"] == 0 and core._statistics()["queued"] == 0, "it runs")
    ray.cancel(ref, recursive=False)
    assert outcome(ray, ref) is TaskCancelledError
    for each in blocked:
        ray.cancel(each)


@pytest.mark.parametrize("order", ["first", "last", "random"])
def test_ten_thousand_cancelled_tasks_leave_nothing(ray, back, blocked, order):
    before = counts()
    refs = [back.remote(i) for i in range(10_000)]
    chosen = list(refs) if order == "first" else refs[::-1]
    if order == "random":
        random.Random(1).shuffle(chosen)
    for ref in chosen:
        ray.cancel(ref)
    assert core._statistics()["queued"] == 0
    assert {outcome(ray, ref) for ref in refs[:100]} == {TaskCancelledError}
    del refs, chosen, ref
    expect_counts(before)
    for each in blocked:
        ray.cancel(each)


def test_tasks_between_cancelled_ones_run(ray, back, blocked):
    refs = [back.remote(i) for i in range(1000)]
    for ref in refs[::2]:
        ray.cancel(ref)
    for each in blocked:
        ray.cancel(each)
    assert ray.get(refs[1::2]) == list(range(1, 1000, 2))
    assert {outcome(ray, ref) for ref in refs[::2]} == {TaskCancelledError}


def test_task_that_waits_for_an_argument(ray, back, blocked):
    # Real Ray 2.60.0 ends the driver when the argument of a cancelled task becomes ready.
    before = counts()
    refs = [back.remote(blocked[0]) for _ in range(5)]
    for ref in refs:
        ray.cancel(ref)
    assert {outcome(ray, ref) for ref in refs} == {TaskCancelledError}
    for each in blocked:
        ray.cancel(each)
        assert outcome(ray, each) is TaskCancelledError
    del refs, ref
    expect_counts(before)


def test_dependents_fail_too(ray, back, blocked):
    # Not a body of the conformance suite: real Ray 2.60.0 ends the driver in one of three runs.
    dependent = back.remote(blocked[0])
    of_that = back.remote(dependent)
    ray.cancel(blocked[0])
    for each in (blocked[0], dependent, of_that):
        with pytest.raises(TaskCancelledError):
            ray.get(each)
    ray.cancel(blocked[1])


def test_races_with_the_end_of_a_task_are_decided_once(ray, back):
    found = []
    for i in range(300):
        ref = back.remote(i)
        for _ in range(i % 40):
            pass
        ray.cancel(ref)
        first = outcome(ray, ref)
        assert first in (i, TaskCancelledError)
        assert outcome(ray, ref) == first
        found.append(first)
    assert ray.get([back.remote(i) for i in range(100)]) == list(range(100))
    assert core._validate() is None


def test_late_interrupt_hits_no_other_task(ray, back):
    refs = []
    for i in range(500):
        refs.append(back.remote(i))
        if i % 5 == 0:
            ray.cancel(refs[i])
    for i, ref in enumerate(refs):
        found = outcome(ray, ref)
        assert found == i or (i % 5 == 0 and found is TaskCancelledError)


def test_cancelled_task_whose_worker_dies_is_not_tried_again(ray, tmp_path):
    @ray.remote(max_retries=5)
    def stay(folder):
        (folder / f"{os.getpid()}").touch()
        while True:
            try:
                while True:
                    time.sleep(1000)
            except KeyboardInterrupt:
                (folder / "interrupted").touch()

    ref = stay.remote(tmp_path)
    wait_until(lambda: list(tmp_path.iterdir()), "it runs")
    [pid] = [int(path.name) for path in tmp_path.iterdir()]
    ray.cancel(ref)
    wait_until((tmp_path / "interrupted").exists, "it is interrupted")
    os.kill(pid, signal.SIGKILL)
    assert outcome(ray, ref) in (TaskCancelledError, WorkerCrashedError)
    assert len(list(tmp_path.iterdir())) == 2


def test_forced_end_of_many(ray, back):
    @ray.remote
    def stay():
        time.sleep(1000)

    for _ in range(5):
        refs = [stay.remote() for _ in range(4)]
        wait_until(lambda: core._statistics()["running"] == 2, "two run")
        for ref in refs:
            ray.cancel(ref, force=True)
        assert {outcome(ray, ref) for ref in refs} <= {TaskCancelledError, WorkerCrashedError}
    assert ray.get(back.remote(1)) == 1


def test_tree_of_tasks_is_cancelled_from_its_root(ray, back):
    @ray.remote(num_cpus=0)
    def grow(depth):
        if depth == 0:
            time.sleep(1000)
        return ray.get([grow.remote(depth - 1) for _ in range(2)])

    root = grow.remote(3)
    wait_until(lambda: core._statistics()["tasks"] == 15, "all tasks are there")
    ray.cancel(root)
    assert outcome(ray, root) is TaskCancelledError
    wait_until(lambda: core._statistics()["tasks"] == 0, "all tasks end")
    assert core._validate() is None


def test_cancelled_calls_leave_nothing(ray, tmp_path):
    plain = ray.remote(num_cpus=0)(Plain).remote()
    asynchronous = ray.remote(num_cpus=0)(Async).remote()
    (tmp_path / "warm").touch()
    ray.get([plain.wait_for.remote(str(tmp_path / "warm")), plain.back.remote(1), asynchronous.back.remote(1)])
    known = asynchronous.wait.remote()
    ray.cancel(known)
    assert outcome(ray, known) is TaskCancelledError
    del known
    before = counts()
    gate = tmp_path / "gate"
    refs = [plain.wait_for.remote(str(gate)), *[plain.back.remote(ray.put(bytes(20_000))) for _ in range(100)]]
    refs += [asynchronous.wait.remote(ray.put(bytes(20_000))) for _ in range(100)]
    for ref in refs[1:]:
        ray.cancel(ref)
    gate.touch()
    assert ray.get(refs[0]) == "waited"
    assert {outcome(ray, ref) for ref in refs[1:]} == {TaskCancelledError}
    assert ray.get([plain.back.remote(1), asynchronous.back.remote(2)]) == [1, 2]
    del refs, ref
    expect_counts(before)


@pytest.mark.parametrize("kind", [Async, Plain])
def test_queued_calls_between_others_never_run(ray, tmp_path, kind):
    options = {} if kind is Plain else {"max_concurrency": 1}
    actor = ray.remote(num_cpus=0, **options)(kind).remote()
    running = actor.wait_for.remote(str(tmp_path / "gate")) if kind is Plain else actor.wait.remote("waited")
    refs = [actor.__ray_call__.remote(lambda self, path: path.touch(), tmp_path / f"{i}") for i in range(10)]
    for ref in refs[::2]:
        ray.cancel(ref)
    assert [outcome(ray, ref) for ref in refs[::2]] == [TaskCancelledError] * 5
    (tmp_path / "gate").touch()
    if kind is Plain:
        assert ray.get(running) == "waited"
    else:
        ray.cancel(running)
    assert ray.get(refs[1::2]) == [None] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3", "5", "7", "9", "gate"]
    assert core._validate() is None


def test_canceller_that_dies_leaves_a_valid_session(ray, back, blocked):
    @ray.remote(num_cpus=0, max_retries=0)
    def cancel_and_die(refs):
        for i, ref in enumerate(refs):
            ray.cancel(ref)
            if i == 50:
                os.kill(os.getpid(), signal.SIGKILL)

    refs = [back.remote(i) for i in range(100)]
    assert outcome(ray, cancel_and_die.remote(refs)) is WorkerCrashedError
    for each in blocked:
        ray.cancel(each)
    found = [outcome(ray, ref) for ref in refs]
    assert found[:50] == [TaskCancelledError] * 50
    assert found[51:] == list(range(51, 100))
    assert core._validate() is None
