"""Options of tasks: checked when decorating, merged by .options()."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


def task():
    return 1, 2


@pytest.mark.parametrize("name", ["num_cpu", "max_restarts", "max_concurrency", "lifetime", "retries"])
def test_unknown_option_is_a_value_error_that_names_it(ray, name):
    decorate = ray.remote(**{name: 1})
    with pytest.raises(ValueError, match=f"Invalid option keyword {name} for remote functions"):
        decorate(task)


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": "1"},
        {"num_gpus": "1"},
        {"num_returns": 1.5},
        {"num_returns": "two"},
        {"max_retries": "3"},
        {"max_retries": 1.0},
        {"max_calls": "1"},
        {"retry_exceptions": 1},
        {"retry_exceptions": None},
        {"resources": ["gadget"]},
        {"name": 3},
        {"memory": "1g"},
        {"scheduling_strategy": 3},
        {"runtime_env": "env"},
        {"enable_task_events": 1},
    ],
    ids=str,
)
def test_option_of_a_wrong_type_is_a_type_error_when_decorating(ray, options):
    with pytest.raises(TypeError):
        ray.remote(**options)(task)


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": -1},
        {"num_cpus": 0.00001},
        {"num_gpus": -1},
        {"memory": -1},
        {"num_returns": -1},
        {"num_returns": "streaming"},
        {"max_retries": -2},
        {"max_calls": -1},
        {"retry_exceptions": [int]},
        {"retry_exceptions": [ValueError, BaseException]},
        {"resources": {"CPU": 1}},
        {"resources": {"GPU": 1}},
        {"resources": {"gadget": -1}},
        {"resources": {"gadget": 0.00001}},
        {"object_store_memory": 1},
    ],
    ids=str,
)
def test_option_of_a_wrong_value_is_a_value_error_when_decorating(ray, options):
    with pytest.raises(ValueError):
        ray.remote(**options)(task)


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": None},
        {"num_cpus": 0},
        {"num_cpus": 0.5},
        {"num_returns": None},
        {"max_retries": 0},
        {"max_retries": -1},
        {"max_calls": 0},
        {"retry_exceptions": True},
        {"retry_exceptions": [ValueError]},
        {"retry_exceptions": (ValueError, KeyError)},
        {"resources": None},
        {"resources": {"gadget": 1}},
        {"name": "a name"},
        {"memory": 1024},
        {"scheduling_strategy": "DEFAULT"},
        {"scheduling_strategy": "SPREAD"},
        {"enable_task_events": False},
    ],
    ids=str,
)
def test_allowed_option_is_accepted_and_the_task_runs(ray, options):
    assert ray.get(ray.remote(**options)(task).remote()) == (1, 2)


def test_unknown_scheduling_strategy_is_a_value_error_from_the_call(ray):
    function = ray.remote(scheduling_strategy="RANDOM")(task)
    with pytest.raises(ValueError, match="RANDOM"):
        function.remote()


@pytest.mark.parametrize("options", [{"num_cpu": 1}, {"num_cpus": -1}, {"max_calls": 1}], ids=str)
def test_options_refuses_unknown_bad_and_decorator_only_options(ray, options):
    with pytest.raises(ValueError):
        ray.remote(task).options(**options)


def test_options_refuses_a_wrong_type(ray):
    with pytest.raises(TypeError):
        ray.remote(task).options(num_cpus="1")


def test_options_changes_only_its_own_wrapper(ray):
    function = ray.remote(task)
    two = function.options(num_returns=2)
    assert ray.get(two.remote()) == [1, 2]
    assert ray.get(function.remote()) == (1, 2)


def test_options_merges_over_the_decorator(ray, runs):
    @ray.remote(num_returns=2, max_retries=0, retry_exceptions=True)
    def flaky(runs):
        if runs.add() == 1:
            raise ValueError("the first time")
        return "a", "b"

    assert ray.get(flaky.options(max_retries=1).remote(runs)) == ["a", "b"]
    assert len(runs.lines()) == 2


def test_options_of_a_function_with_max_calls_works(ray):
    function = ray.remote(max_calls=1)(task)
    assert ray.get(function.options(num_returns=2).remote()) == [1, 2]


def test_options_wrapper_has_no_options_and_is_not_callable(ray):
    wrapper = ray.remote(task).options(num_cpus=1)
    assert not hasattr(wrapper, "options")
    with pytest.raises(TypeError):
        wrapper()


def test_options_wrapper_may_be_used_many_times(ray):
    wrapper = ray.remote(task).options(num_returns=2)
    assert [ray.get(wrapper.remote()) for _ in range(3)] == [[1, 2]] * 3


def test_dictionary_given_to_the_decorator_is_copied(ray):
    resources = {"gadget": 1}
    function = ray.remote(num_cpus=0)(task).options(resources=resources)
    assert ray.get(function.remote()) == (1, 2)
    assert resources == {"gadget": 1}
