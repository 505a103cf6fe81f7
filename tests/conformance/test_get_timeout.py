"""get with a timeout: 0 polls, running out is an error, and the ref stays usable."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def running(ray, gate):
    """Give a task that runs until the gate opens."""

    @ray.remote(num_cpus=0)
    def hold(gate):
        gate.wait()
        return "result"

    yield hold.remote(gate)
    gate.open()


def test_running_out_of_time_is_a_get_timeout_error(ray, exceptions, running):
    with pytest.raises(exceptions.GetTimeoutError, match="timed out"):
        ray.get(running, timeout=0.1)


def test_get_timeout_error_is_both_a_ray_error_and_a_timeout_error(exceptions):
    assert issubclass(exceptions.GetTimeoutError, exceptions.RayError)
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)


def test_timeout_may_be_caught_as_the_builtin_one(ray, running):
    with pytest.raises(TimeoutError):
        ray.get(running, timeout=0.05)


def test_timeout_zero_polls_a_ref_that_is_not_ready(ray, exceptions, running):
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(running, timeout=0)


def test_timeout_zero_gives_a_value_that_is_ready(ray):
    ref = ray.remote(lambda: "ready").remote()
    ray.wait([ref])
    assert ray.get(ref, timeout=0) == "ready"
    assert ray.get(ray.put("put"), timeout=0) == "put"


def test_timeout_zero_raises_the_error_of_a_failed_task(ray):
    @ray.remote
    def fail():
        raise ValueError("failed")

    ref = fail.remote()
    ray.wait([ref])
    with pytest.raises(ValueError, match="failed"):
        ray.get(ref, timeout=0)


def test_ref_stays_usable_after_a_timeout(ray, running, gate):
    for _ in range(2):
        with pytest.raises(TimeoutError):
            ray.get(running, timeout=0.01)
    gate.open()
    assert ray.get(running) == "result"


def test_list_times_out_when_one_ref_is_not_ready(ray, running):
    with pytest.raises(TimeoutError):
        ray.get([ray.put(1), running, ray.put(2)], timeout=0.1)


def test_timeout_longer_than_the_task_gives_the_value(ray):
    assert ray.get(ray.remote(lambda: 5).remote(), timeout=60) == 5


def test_timeout_none_waits(ray, running, gate):
    gate.open()
    assert ray.get(running, timeout=None) == "result"


def test_timeout_may_be_an_int_or_a_float(ray):
    assert ray.get(ray.put(1), timeout=30) == 1
    assert ray.get(ray.put(1), timeout=30.5) == 1


def test_empty_list_never_times_out(ray):
    assert ray.get([], timeout=0) == []


def test_timeout_inside_a_task_is_an_ordinary_error_there(ray, exceptions, running):
    timeout_error = exceptions.GetTimeoutError

    @ray.remote
    def impatient(refs):
        try:
            ray.get(refs[0], timeout=0.05)
        except timeout_error:
            return "gave up"

    assert ray.get(impatient.remote([running])) == "gave up"


def test_uncaught_timeout_of_a_task_is_its_error(ray, exceptions, running):
    @ray.remote
    def impatient(refs):
        return ray.get(refs[0], timeout=0.05)

    with pytest.raises(exceptions.GetTimeoutError) as caught:
        ray.get(impatient.remote([running]))
    assert isinstance(caught.value, exceptions.RayTaskError)
