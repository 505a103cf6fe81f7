"""Tasks whose worker dies: tried again max_retries times, then WorkerCrashedError; the others do not notice."""

import os
import signal
import sys

import pytest

pytestmark = pytest.mark.usefixtures("session")


def leave():
    os._exit(3)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def abort():
    os.abort()


def segfault():
    import ctypes

    ctypes.string_at(0)


@pytest.mark.parametrize("die", [leave, kill_self, abort, segfault], ids=lambda die: die.__name__)
def test_death_of_the_worker_is_a_worker_crashed_error(ray, exceptions, die):
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(die).remote())


def test_worker_crashed_error_is_a_ray_error_and_no_task_error(exceptions):
    assert issubclass(exceptions.WorkerCrashedError, exceptions.RayError)
    assert not issubclass(exceptions.WorkerCrashedError, exceptions.RayTaskError)


def test_crashing_task_runs_four_times_by_default(ray, exceptions, runs):
    @ray.remote
    def crash(runs):
        runs.add()
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crash.remote(runs))
    assert len(runs.lines()) == 4


def test_max_retries_zero_runs_once(ray, exceptions, runs):
    @ray.remote(max_retries=0)
    def crash(runs):
        runs.add()
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crash.remote(runs))
    assert len(runs.lines()) == 1


def test_max_retries_in_options_counts(ray, exceptions, runs):
    @ray.remote(max_retries=5)
    def crash(runs):
        runs.add()
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crash.options(max_retries=1).remote(runs))
    assert len(runs.lines()) == 2


def test_task_that_recovers_gives_its_value(ray, runs):
    @ray.remote
    def second_time(runs):
        if runs.add() == 1:
            os._exit(1)
        return "recovered"

    assert ray.get(second_time.remote(runs)) == "recovered"
    assert len(runs.lines()) == 2


def test_infinite_retries_go_on_beyond_the_default(ray, runs):
    @ray.remote(max_retries=-1)
    def sixth_time(runs):
        if runs.add() < 6:
            os._exit(1)
        return "at last"

    assert ray.get(sixth_time.remote(runs)) == "at last"
    assert len(runs.lines()) == 6


def test_retry_sees_the_same_arguments(ray, runs):
    @ray.remote
    def task(runs, small, big, *, key):
        if runs.add() == 1:
            os._exit(1)
        return small, len(big), key

    assert ray.get(task.remote(runs, ray.put(1), bytes(1_000_000), key=ray.put("k"))) == (1, 1_000_000, "k")


def test_every_return_of_a_crashed_task_is_the_error(ray, exceptions):
    refs = ray.remote(max_retries=0, num_returns=2)(leave).remote()
    for ref in refs:
        with pytest.raises(exceptions.WorkerCrashedError):
            ray.get(ref)


def test_task_that_depends_on_a_crashed_one_fails_as_both_errors(ray, exceptions):
    ref = ray.remote(max_retries=0)(leave).remote()
    with pytest.raises(exceptions.WorkerCrashedError) as caught:
        ray.get(ray.remote(lambda x: x).remote(ref))
    assert isinstance(caught.value, exceptions.RayTaskError)


def test_crash_of_a_child_reaches_the_parent_as_an_error(ray, exceptions):
    crashed = exceptions.WorkerCrashedError

    @ray.remote
    def parent():
        try:
            ray.get(ray.remote(max_retries=0)(leave).remote())
        except crashed:
            return "parent lives"

    assert ray.get(parent.remote()) == "parent lives"


def test_other_tasks_do_not_notice_a_crash(ray, exceptions, gate, started):
    @ray.remote
    def bystander(gate, started):
        started.send()
        gate.wait()
        return "unharmed"

    other = bystander.remote(gate, started)
    started.receive()
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(leave).remote())
    gate.open()
    assert ray.get(other) == "unharmed"


def test_pool_is_whole_after_many_crashes(ray, exceptions):
    refs = [ray.remote(max_retries=0)(leave).remote() for _ in range(4)]
    for ref in refs:
        with pytest.raises(exceptions.WorkerCrashedError):
            ray.get(ref)
    assert ray.get([ray.remote(lambda i=i: i).remote() for i in range(20)]) == list(range(20))


def test_objects_outlive_the_crash_of_their_reader(ray, exceptions):
    ref = ray.put(bytes(1_000_000))
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(lambda data: os._exit(len(data) % 7)).remote(ref))
    assert len(ray.get(ref)) == 1_000_000


def test_worker_killed_from_outside_is_replaced_and_the_task_runs_again(ray, runs, gate, started):
    @ray.remote
    def task(runs, gate, started):
        run = runs.add()
        if run == 1:
            started.send(str(os.getpid()))
            gate.wait()
        return run

    ref = task.remote(runs, gate, started)
    os.kill(int(started.receive()), signal.SIGKILL)
    assert ray.get(ref) == 2


def test_worker_killed_from_outside_without_retries_is_an_error(ray, exceptions, gate, started):
    @ray.remote(max_retries=0)
    def task(gate, started):
        started.send(str(os.getpid()))
        gate.wait()

    ref = task.remote(gate, started)
    os.kill(int(started.receive()), signal.SIGKILL)
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ref)


def test_crash_counts_apart_from_user_errors_without_retry_exceptions(ray, runs):
    @ray.remote
    def crash_then_fail(runs):
        if runs.add() == 1:
            os._exit(1)
        raise ValueError("the second time")

    with pytest.raises(ValueError, match="the second time"):
        ray.get(crash_then_fail.remote(runs))
    assert len(runs.lines()) == 2


def test_sys_exit_is_retried_like_a_crash(ray, runs):
    @ray.remote(max_retries=1)
    def exit_once(runs):
        if runs.add() == 1:
            sys.exit(1)
        return "second time"

    assert ray.get(exit_once.remote(runs)) == "second time"
