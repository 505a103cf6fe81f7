"""@remote on functions: its forms, and what it refuses."""

import functools

import pytest
from payloads import double

pytestmark = pytest.mark.usefixtures("session")


def test_bare_decorator_makes_a_remote_function(ray):
    @ray.remote
    def add(a, b):
        return a + b

    assert ray.get(add.remote(3, 5)) == 8


def test_decorator_with_options_makes_a_remote_function(ray):
    @ray.remote(num_cpus=1, max_retries=0)
    def add(a, b):
        return a + b

    assert ray.get(add.remote(3, 5)) == 8


def test_remote_may_be_called_on_an_imported_function(ray):
    assert ray.get(ray.remote(double).remote(21)) == 42


def test_remote_with_options_may_be_called_on_a_function(ray):
    two = ray.remote(num_returns=2)(lambda: ("a", "b"))
    assert ray.get(two.remote()) == ["a", "b"]


def test_lambdas_may_be_remote(ray):
    assert ray.get(ray.remote(lambda x: x + 1).remote(1)) == 2


def test_original_function_stays_callable_after_remote(ray):
    ray.remote(double)
    assert double(4) == 8


def test_calling_a_remote_function_is_a_type_error_that_names_remote(ray):
    @ray.remote
    def task():
        return 1

    with pytest.raises(TypeError, match=r"cannot be called directly.*task\.remote\(\)"):
        task()


def test_remote_keeps_name_and_docstring_of_the_function(ray):
    @ray.remote
    def documented():
        """Say what it does."""

    assert documented.remote.__name__ == "documented"
    assert documented.remote.__doc__ == "Say what it does."


def test_remote_function_is_an_instance_of_the_public_class(ray, backend):
    import importlib

    module = importlib.import_module(f"{backend}.remote_function")
    assert isinstance(ray.remote(double), module.RemoteFunction)


def test_empty_parentheses_are_an_assertion_error(ray):
    with pytest.raises(AssertionError, match=r"either with no arguments and no parentheses"):
        ray.remote()


def test_positional_argument_with_options_is_an_assertion_error(ray):
    with pytest.raises(AssertionError):
        ray.remote(double, num_cpus=1)


def test_remote_on_a_value_is_an_assertion_error(ray):
    with pytest.raises(AssertionError):
        ray.remote(5)


@pytest.mark.parametrize("target", [len, functools.partial(double, 1)], ids=["builtin", "partial"])
def test_remote_on_a_callable_that_is_no_function_is_a_type_error(ray, target):
    with pytest.raises(TypeError, match="either a function or a class"):
        ray.remote(target)


def test_remote_on_a_remote_function_is_a_type_error(ray):
    with pytest.raises(TypeError, match="either a function or a class"):
        ray.remote(ray.remote(double))


def test_async_function_is_a_value_error(ray):
    async def task():
        return 1

    with pytest.raises(ValueError, match="async def"):
        ray.remote(task)


def test_remote_functions_may_be_arguments(ray):
    @ray.remote
    def inner(x):
        return x * 10

    @ray.remote
    def outer(function, x):
        return ray.get(function.remote(x))

    assert ray.get(outer.remote(inner, 4)) == 40


def test_functions_with_options_may_be_made_in_tasks(ray):
    @ray.remote
    def pair():
        return 1, 2

    @ray.remote
    def outer():
        return ray.get(pair.options(num_returns=2).remote())

    assert ray.get(outer.remote()) == [1, 2]


def test_functions_may_be_decorated_inside_tasks(ray):
    @ray.remote
    def outer(x):
        @ray.remote
        def inner(y):
            return y + 1

        return ray.get(inner.remote(x))

    assert ray.get(outer.remote(1)) == 2


def test_recursive_remote_function_calls_itself(ray):
    @ray.remote(num_cpus=0)
    def factorial(n):
        return 1 if n <= 1 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(4)) == 24
