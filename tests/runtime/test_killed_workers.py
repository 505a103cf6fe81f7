"""A worker dies in the middle of a task: retried or explained, and the pool is whole again."""

import contextlib
import ctypes
import os
import signal
import time

import pytest

from helpers.programs import KIND_WORKER, pids_of
from helpers.states import is_gone, wait_until
from miniray import _miniray_core as core
from miniray.exceptions import WorkerCrashedError


@pytest.fixture
def started(tmp_path):
    """Give a function for tasks that leaves a file with the worker's number, and one that waits for these files."""

    def note():
        (tmp_path / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    def wait_for(count=1):
        wait_until(lambda: len(list(tmp_path.iterdir())) >= count, f"{count} runs begin")
        return [
            int(path.name.split("-")[0])
            for path in sorted(tmp_path.iterdir(), key=lambda path: path.name.split("-")[1])
        ]

    return note, wait_for


def expect_whole_pool(ray):
    wait_until(lambda: len(pids_of(KIND_WORKER)) >= 2, "two workers")
    assert sorted(ray.get([ray.remote(lambda i: i * i).remote(i) for i in range(100)])) == [i * i for i in range(100)]
    assert core._validate() is None


def test_killed_worker_is_replaced_and_its_task_retried(ray, started):
    note, wait_for = started

    @ray.remote
    def task(path):
        note()
        while not os.path.exists(path):
            time.sleep(0.001)
        return "done"

    gate = f"/proc/{os.getpid()}/no-such-entry"  # stays absent: only a kill ends the first run
    ref = task.remote(gate)
    (first,) = wait_for(1)
    os.kill(first, signal.SIGKILL)
    second = wait_for(2)[1]
    assert second != first
    os.kill(second, signal.SIGKILL)
    wait_for(3)
    assert ray.wait([ref], timeout=0)[0] == []
    os.kill(wait_for(3)[2], signal.SIGKILL)
    os.kill(wait_for(4)[3], signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        ray.get(ref)
    expect_whole_pool(ray)


def test_without_retries_the_error_names_task_process_and_signal(ray, started):
    note, wait_for = started

    @ray.remote(max_retries=0)
    def lonely():
        note()
        time.sleep(600)

    ref = lonely.remote()
    (pid,) = wait_for(1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError) as caught:
        ray.get(ref)
    assert "lonely" in str(caught.value)
    assert str(pid) in str(caught.value)
    assert "SIGKILL" in str(caught.value)
    expect_whole_pool(ray)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda: os._exit(7), "7"),
        (lambda: os.abort(), "SIGABRT"),
        (lambda: ctypes.string_at(0), "SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
    ],
    ids=["exit", "abort", "segfault", "terminate"],
)
def test_every_kind_of_end_is_told(ray, end, expected):
    with pytest.raises(WorkerCrashedError, match=expected):
        ray.get(ray.remote(max_retries=0)(end).remote())
    expect_whole_pool(ray)


def test_stopped_worker_that_is_killed_is_noticed(ray, started):
    note, wait_for = started

    @ray.remote(max_retries=0)
    def task():
        note()
        time.sleep(600)

    ref = task.remote()
    (pid,) = wait_for(1)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        ray.get(ref)
    expect_whole_pool(ray)


def test_idle_worker_that_is_killed_is_replaced(ray):
    ray.get(ray.remote(lambda: 1).remote())
    wait_until(lambda: len(pids_of(KIND_WORKER)) == 2, "two workers")
    old = pids_of(KIND_WORKER)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, old)), "they are gone")
    expect_whole_pool(ray)


def test_results_and_references_of_a_dead_worker_go(ray):
    @ray.remote(max_retries=0)
    def task(refs):
        kept = [ray.put(bytes(100_000)) for _ in range(5)]
        os.kill(os.getpid(), signal.SIGKILL)
        return kept, refs

    inner = ray.put(bytes(100_000))
    before = core._statistics()
    for _ in range(3):
        with pytest.raises(WorkerCrashedError):
            ray.get(task.remote([inner]))
    assert len(ray.get(inner)) == 100_000
    wait_until(lambda: core._statistics()["used_bytes"] <= before["used_bytes"] + 10_000, "the memory comes back")
    expect_whole_pool(ray)


def test_thirty_kills_during_two_thousand_tasks_lose_nothing(ray):
    import random

    random_numbers = random.Random(5)

    def kill_one():
        """Kill a worker; whether there was one: the row of one that was killed just now stays for a moment."""
        workers = pids_of(KIND_WORKER)
        with contextlib.suppress(ProcessLookupError):
            if workers:
                os.kill(random_numbers.choice(workers), signal.SIGKILL)
                return True
        return False

    @ray.remote(max_retries=-1)
    def square(i):
        return i * i

    refs = [square.remote(i) for i in range(1000)]
    for kill in range(30):
        wait_until(kill_one, "there is a worker to kill")
        refs += [square.remote(1000 + kill * 34 + i) for i in range(34)]
    assert ray.get(refs) == [i * i for i in range(len(refs))]
    expect_whole_pool(ray)


def test_all_workers_killed_at_once_lose_nothing(ray, started, tmp_path_factory):
    note, wait_for = started
    gate = tmp_path_factory.mktemp("gate") / "open"

    @ray.remote(max_retries=-1)
    def leaf(i):
        note()
        while not gate.exists():
            time.sleep(0.001)
        return i

    @ray.remote(max_retries=-1)
    def parent(i):
        return ray.get(leaf.remote(i))

    refs = [parent.remote(i) for i in range(4)] + [leaf.remote(i) for i in range(4, 8)]
    begun = 0
    for _ in range(5):
        wait_for(begun + 1)
        pids = pids_of(KIND_WORKER)
        for pid in pids:  # stopped first, none sees another die
            with contextlib.suppress(ProcessLookupError):  # it left, for there were too many
                os.kill(pid, signal.SIGSTOP)
        begun = len(wait_for(0))  # whoever begins from now on is another
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda pids=pids: all(map(is_gone, pids)), "all are gone")
    gate.touch()
    assert ray.get(refs) == list(range(8))
    expect_whole_pool(ray)


@pytest.mark.parametrize("size", [20, 200_000], ids=["small", "large"])
def test_objects_outlive_the_worker_that_put_them(ray, size):
    @ray.remote
    def put_some():
        return os.getpid(), [ray.put(bytes([i]) * size) for i in range(5)]

    pid, refs = ray.get(put_some.remote())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid) and pid not in pids_of(KIND_WORKER), "its row is cleared away")
    assert [value[:1] * size == value and value[0] for value in ray.get(refs)] == list(range(5))
    assert ray.get(ray.remote(lambda refs: [len(value) for value in ray.get(refs)]).remote(refs)) == [size] * 5
    expect_whole_pool(ray)


def test_nested_tasks_survive_the_kill_of_the_inner_worker(ray, started):
    note, wait_for = started

    @ray.remote
    def inner(depth):
        note()
        if depth == 0:
            time.sleep(0 if len(wait_for(1)) > 3 else 600)
            return 0
        return 1 + ray.get(inner.remote(depth - 1))

    ref = inner.remote(2)
    os.kill(wait_for(3)[2], signal.SIGKILL)
    assert ray.get(ref) == 2
    expect_whole_pool(ray)
