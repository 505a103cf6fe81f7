"""Exceptions as values: an ordinary one is data, a RayError is raised."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_returned_exception_is_a_value(ray):
    value = ray.get(ray.remote(lambda: ValueError("just data")).remote())
    assert type(value) is ValueError
    assert value.args == ("just data",)


def test_put_exception_is_a_value(ray):
    assert type(ray.get(ray.put(KeyError("k")))) is KeyError


def test_exception_argument_is_a_value(ray):
    assert ray.get(ray.remote(lambda error: error.args).remote(ValueError("v"))) == ("v",)


def test_exception_behind_a_ref_argument_is_a_value(ray):
    assert ray.get(ray.remote(lambda error: error.args).remote(ray.put(ValueError("v")))) == ("v",)


def test_exception_class_is_a_value(ray):
    assert ray.get(ray.put(ValueError)) is ValueError


def test_returned_ray_error_is_raised_by_get(ray, exceptions):
    with pytest.raises(exceptions.RayError, match="as a value") as caught:
        ray.get(ray.remote(lambda: exceptions.RayError("as a value")).remote())
    assert type(caught.value) is exceptions.RayError


def test_put_ray_error_is_raised_by_get(ray, exceptions):
    ref = ray.put(exceptions.WorkerCrashedError())
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(ref)


def test_ray_error_fails_a_task_that_depends_on_it(ray, exceptions, runs):
    @ray.remote
    def dependent(value, runs):
        runs.add()

    with pytest.raises(exceptions.RayTaskError, match="input arguments for this task could not be computed") as caught:
        ray.get(dependent.remote(ray.put(exceptions.RayError("poison")), runs))
    assert "poison" in str(caught.value)
    assert runs.lines() == []


def test_ray_error_given_as_a_plain_argument_fails_the_task(ray, exceptions):
    with pytest.raises(exceptions.RayTaskError, match="could not be computed"):
        ray.get(ray.remote(lambda error: 1).remote(exceptions.RayError("poison")))


def test_ray_error_inside_a_container_is_a_value(ray, exceptions):
    [error] = ray.get(ray.put([exceptions.RayError("boxed")]))
    assert type(error) is exceptions.RayError
    assert ray.get(ray.remote(lambda errors: len(errors)).remote([error])) == 1


def test_raised_ray_error_is_a_task_error_with_that_cause(ray, exceptions):
    @ray.remote
    def fail():
        raise exceptions.RayError("raised")

    with pytest.raises(exceptions.RayTaskError, match="raised") as caught:
        ray.get(fail.remote())
    assert type(caught.value.cause) is exceptions.RayError


def test_task_that_returns_the_error_it_caught_makes_get_raise(ray):
    @ray.remote
    def fail():
        raise ValueError("caught and returned")

    @ray.remote
    def catch(refs):
        try:
            ray.get(refs[0])
        except ValueError as error:
            return error

    with pytest.raises(ValueError, match="caught and returned"):
        ray.get(catch.remote([fail.remote()]))


def test_task_that_returns_the_cause_of_the_error_it_caught_gives_a_value(ray):
    @ray.remote
    def fail():
        raise ValueError("only the cause")

    @ray.remote
    def catch(refs):
        try:
            ray.get(refs[0])
        except ValueError as error:
            return error.cause

    value = ray.get(catch.remote([fail.remote()]))
    assert type(value) is ValueError
    assert value.args == ("only the cause",)


def test_ray_error_is_ready_for_wait(ray, exceptions):
    ref = ray.put(exceptions.RayError("ready"))
    assert ray.wait([ref], timeout=10) == ([ref], [])
