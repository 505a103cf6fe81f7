"""Workers are processes that serve many tasks, until max_calls ends them."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("one_cpu_session")


def test_tasks_one_after_the_other_run_in_the_same_worker(ray):
    pid = ray.remote(lambda: os.getpid())
    assert len({ray.get(pid.remote()) for _ in range(10)}) == 1


def test_module_state_leaks_from_task_to_task(ray):
    @ray.remote
    def count():
        import builtins

        builtins.conformance_count = getattr(builtins, "conformance_count", 0) + 1
        return builtins.conformance_count

    first = ray.get(count.remote())
    assert ray.get(count.remote()) == first + 1


def test_module_state_of_a_worker_is_not_that_of_the_driver(ray):
    import builtins

    @ray.remote
    def mark():
        builtins.conformance_mark = True

    ray.get(mark.remote())
    assert not hasattr(builtins, "conformance_mark")


def test_worker_ends_after_max_calls_runs_of_the_function(ray):
    pid = ray.remote(max_calls=2)(lambda: os.getpid())
    pids = [ray.get(pid.remote()) for _ in range(6)]
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


def test_max_calls_one_gives_each_run_a_worker_of_its_own(ray):
    pid = ray.remote(max_calls=1)(lambda: os.getpid())
    pids = ray.get([pid.remote() for _ in range(4)])
    assert len(set(pids)) == 4


def test_max_calls_zero_never_ends_the_worker(ray):
    pid = ray.remote(max_calls=0)(lambda: os.getpid())
    assert len({ray.get(pid.remote()) for _ in range(5)}) == 1


def test_values_of_a_worker_that_ended_by_max_calls_stay(ray):
    make = ray.remote(max_calls=1)(lambda: bytes(500_000))
    refs = [make.remote() for _ in range(3)]
    assert [len(value) for value in ray.get(refs)] == [500_000] * 3


def test_exit_by_max_calls_is_no_crash(ray, runs):
    @ray.remote(max_calls=1, max_retries=0)
    def task(runs):
        return runs.add()

    assert sorted(ray.get([task.remote(runs) for _ in range(3)])) == [1, 2, 3]


def test_atexit_functions_of_a_worker_run_when_max_calls_ends_it(ray, started):
    @ray.remote(max_calls=1)
    def register(started):
        import atexit

        atexit.register(started.send, "left politely")

    ray.get(register.remote(started))
    assert started.receive() == "left politely"


def test_working_directory_changed_by_a_task_does_not_move_the_driver(ray, tmp_path):
    here = os.getcwd()
    ray.get(ray.remote(max_calls=1)(lambda path: os.chdir(path)).remote(str(tmp_path)))
    assert os.getcwd() == here


def test_standard_input_of_a_task_is_empty(ray):
    import sys

    assert ray.get(ray.remote(lambda: sys.stdin.read()).remote()) == ""
