"""retry_exceptions: which errors of user code are tried again, and how often."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("session")


class Flaky(Exception):
    """An error that is worth another try."""


class VeryFlaky(Flaky):
    """A kind of Flaky."""


def fail_always(runs, error):
    runs.add()
    raise error


def test_retry_exceptions_true_retries_any_error_three_times(ray, runs):
    with pytest.raises(ValueError, match="each time"):
        ray.get(ray.remote(retry_exceptions=True)(fail_always).remote(runs, ValueError("each time")))
    assert len(runs.lines()) == 4


def test_retry_exceptions_false_retries_none(ray, runs):
    with pytest.raises(ValueError, match="v"):
        ray.get(ray.remote(retry_exceptions=False, max_retries=5)(fail_always).remote(runs, ValueError("v")))
    assert len(runs.lines()) == 1


def test_max_retries_limits_retries_of_errors(ray, runs):
    with pytest.raises(ValueError, match="v"):
        ray.get(ray.remote(retry_exceptions=True, max_retries=1)(fail_always).remote(runs, ValueError("v")))
    assert len(runs.lines()) == 2


def test_max_retries_zero_beats_retry_exceptions(ray, runs):
    with pytest.raises(ValueError, match="v"):
        ray.get(ray.remote(retry_exceptions=True, max_retries=0)(fail_always).remote(runs, ValueError("v")))
    assert len(runs.lines()) == 1


@pytest.mark.parametrize("kinds", [[Flaky], (Flaky,), [KeyError, Flaky]], ids=["list", "tuple", "several"])
def test_listed_error_is_retried(ray, runs, kinds):
    with pytest.raises(Flaky):
        ray.get(ray.remote(retry_exceptions=kinds, max_retries=2)(fail_always).remote(runs, Flaky()))
    assert len(runs.lines()) == 3


def test_subclass_of_a_listed_error_is_retried(ray, runs):
    with pytest.raises(VeryFlaky):
        ray.get(ray.remote(retry_exceptions=[Flaky], max_retries=2)(fail_always).remote(runs, VeryFlaky()))
    assert len(runs.lines()) == 3


def test_unlisted_error_is_not_retried(ray, runs):
    with pytest.raises(KeyError):
        ray.get(ray.remote(retry_exceptions=[Flaky], max_retries=2)(fail_always).remote(runs, KeyError("k")))
    assert len(runs.lines()) == 1


def test_empty_list_retries_none(ray, runs):
    with pytest.raises(KeyError):
        ray.get(ray.remote(retry_exceptions=[], max_retries=2)(fail_always).remote(runs, KeyError("k")))
    assert len(runs.lines()) == 1


def test_task_that_succeeds_at_last_gives_its_value(ray, runs):
    @ray.remote(retry_exceptions=True)
    def third_time(runs):
        if (run := runs.add()) < 3:
            raise Flaky
        return run

    assert ray.get(third_time.remote(runs)) == 3


def test_retry_exceptions_in_options_counts(ray, runs):
    with pytest.raises(Flaky):
        ray.get(ray.remote(fail_always).options(retry_exceptions=True, max_retries=1).remote(runs, Flaky()))
    assert len(runs.lines()) == 2


def test_crashes_and_errors_share_the_retries(ray, exceptions, runs):
    @ray.remote(retry_exceptions=True, max_retries=2)
    def alternate(runs):
        if runs.add() % 2:
            raise Flaky
        os._exit(1)

    with pytest.raises(Flaky):
        ray.get(alternate.remote(runs))
    assert len(runs.lines()) == 3


def test_failed_dependency_is_not_retried(ray, runs):
    @ray.remote
    def fail():
        raise Flaky

    @ray.remote(retry_exceptions=True)
    def dependent(value, runs):
        runs.add()

    with pytest.raises(Flaky):
        ray.get(dependent.remote(fail.remote(), runs))
    assert runs.lines() == []


def test_default_number_of_retries_comes_from_the_environment(run_program, runs):
    run_program(
        f"""
import os
ray.init(num_cpus=1)

@ray.remote
def crash():
    with open({runs._path!r}, "a") as file:
        file.write("run\\n")
    os._exit(1)

try:
    ray.get(crash.remote())
except ray.exceptions.WorkerCrashedError:
    pass
""",
        RAY_TASK_MAX_RETRIES="1",
    )
    assert len(runs.lines()) == 2
