"""Options of actors: which there are, which values they take, and what a wrong one gives."""

import pytest


class Plain:
    """A class to decorate."""

    def answer(self):
        return 42


GOOD = [
    {"num_cpus": 0},
    {"num_cpus": 0.5},
    {"num_cpus": 1},
    {"num_cpus": None},
    {"num_gpus": 0},
    {"num_gpus": None},
    {"memory": 1_000_000},
    {"memory": None},
    {"resources": {"gadget": 1}},
    {"resources": {"gadget": 0.5}},
    {"resources": {}},
    {"resources": None},
    {"name": None},
    {"name": "options"},
    {"namespace": None},
    {"lifetime": None},
    {"lifetime": "non_detached"},
    {"get_if_exists": False},
    {"max_concurrency": None},
    {"max_concurrency": 1},
    {"max_pending_calls": -1},
    {"max_restarts": 0},
    {"max_restarts": -1},
    {"max_restarts": 3},
    {"max_task_retries": 0},
    {"max_task_retries": -1},
    {"max_task_retries": 3},
    {"scheduling_strategy": None},
    {"scheduling_strategy": "DEFAULT"},
    {"scheduling_strategy": "SPREAD"},
    {"label_selector": None},
    {"enable_task_events": True},
    {"enable_task_events": False},
    {"_labels": None},
    {"_labels": {"key": "value"}},
    {"allow_out_of_order_execution": None},
    {"runtime_env": None},
    {"placement_group": "default"},
    {"placement_group": None},
]

BAD_VALUES = [
    {"num_cpus": -1},
    {"num_cpus": 0.00001},
    {"num_gpus": -1},
    {"resources": {"CPU": 1}},
    {"resources": {"GPU": 1}},
    {"resources": {"gadget": -1}},
    {"max_restarts": -2},
    {"max_task_retries": -2},
    {"max_pending_calls": -2},
    {"max_concurrency": -1},
    {"get_if_exists": True},
    {"nothing": 1},
    {"num_returns": 2},
    {"max_calls": 1},
    {"max_retries": 1},
    {"retry_exceptions": True},
]

WRONG_TYPES = [
    {"num_cpus": "1"},
    {"num_gpus": "1"},
    {"memory": "1"},
    {"resources": [1]},
    {"name": 1},
    {"namespace": 1},
    {"lifetime": 1},
    {"get_if_exists": "yes"},
    {"max_concurrency": 1.5},
    {"max_pending_calls": "1"},
    {"max_restarts": 1.5},
    {"max_restarts": "1"},
    {"max_task_retries": "1"},
    {"label_selector": "a"},
    {"enable_task_events": None},
    {"allow_out_of_order_execution": 1},
    {"_labels": 1},
    {"concurrency_groups": 1},
]


def name_of(options):
    """Show options as the id of a test."""
    return ",".join(f"{keyword}={value!r}" for keyword, value in options.items())


def outcomes(ray, options):
    """Give what the decorator and .options() do with these options: None, or the type of the error."""

    def attempt(function):
        try:
            function()
        except (TypeError, ValueError) as error:
            return TypeError if isinstance(error, TypeError) else ValueError
        return None

    undecorated = ray.remote(Plain)
    return (
        name_of(options),
        attempt(lambda: ray.remote(**options)(Plain)),
        attempt(lambda: undecorated.options(**options)),
    )


# One body each for many values: a body takes longer than what it looks at.


def test_good_options_are_taken_by_the_decorator_and_by_options(ray):
    assert [outcomes(ray, options) for options in GOOD] == [(name_of(options), None, None) for options in GOOD]


def test_bad_value_is_a_value_error_of_the_decorator_and_of_options(ray):
    expected = [(name_of(options), ValueError, ValueError) for options in BAD_VALUES]
    assert [outcomes(ray, options) for options in BAD_VALUES] == expected


def test_wrong_type_is_a_type_error_of_the_decorator_and_of_options(ray):
    expected = [(name_of(options), TypeError, TypeError) for options in WRONG_TYPES]
    assert [outcomes(ray, options) for options in WRONG_TYPES] == expected


def test_unknown_option_is_named(ray):
    with pytest.raises(ValueError, match="nothing"):
        ray.remote(nothing=1)(Plain)


def test_unknown_lifetime_is_a_value_error(ray, session):
    with pytest.raises(ValueError, match="lifetime"):
        ray.remote(Plain).options(lifetime="for ever").remote()


def test_gpus_above_one_must_be_whole(ray, session):
    with pytest.raises(ValueError):
        ray.remote(num_gpus=1.5)(Plain).remote()


def test_concurrency_groups_are_for_the_decorator_only(ray):
    with pytest.raises(ValueError, match="concurrency_groups"):
        ray.remote(Plain).options(concurrency_groups={"io": 1})


def test_empty_parentheses_are_an_assertion_error(ray):
    with pytest.raises(AssertionError):
        ray.remote()(Plain)


def test_options_returns_something_with_only_remote_and_bind(ray):
    wrapper = ray.remote(Plain).options(num_cpus=0)
    assert callable(wrapper.remote)
    assert callable(wrapper.bind)
    assert not hasattr(wrapper, "options")


def test_options_do_not_change_the_class(ray, session):
    actor_class = ray.remote(num_cpus=0)(Plain)
    with_resource = actor_class.options(resources={"no such thing": 1})
    assert ray.get(actor_class.remote().answer.remote()) == 42
    del with_resource


def test_options_are_merged_over_the_decorator(ray, session):
    actor_class = ray.remote(num_cpus=0, resources={"no such thing": 1})(Plain)
    assert ray.get(actor_class.options(resources={"gadget": 1}).remote().answer.remote()) == 42


def test_options_may_be_used_for_many_actors(ray, session):
    wrapper = ray.remote(Plain).options(num_cpus=0)
    assert ray.get([wrapper.remote().answer.remote() for _ in range(3)]) == [42] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"lifetime": "non_detached"},
        {"scheduling_strategy": "SPREAD"},
        {"memory": 1_000_000},
        {"enable_task_events": False},
        {"_labels": {"key": "value"}},
        {"namespace": "elsewhere"},
        {"max_pending_calls": -1},
        {"max_concurrency": 1},
    ],
    ids=name_of,
)
def test_actor_with_an_option_answers(ray, session, options):
    assert ray.get(ray.remote(num_cpus=0, **options)(Plain).remote().answer.remote()) == 42


def test_number_of_threads_follows_num_cpus(run_program):
    finished = run_program("""
import os
ray.init(num_cpus=2)

@ray.remote
class Actor:
    def threads(self):
        return os.environ.get("OMP_NUM_THREADS")

print(ray.get(Actor.options(num_cpus=2).remote().threads.remote()))
print(ray.get(Actor.options(num_cpus=0).remote().threads.remote()))
print(ray.get(Actor.remote().threads.remote()))
""")
    assert finished.stdout.split()[-3:] == ["2", "1", "1"]
