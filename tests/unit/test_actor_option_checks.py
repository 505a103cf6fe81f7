"""Options of actors: Ray's names, defaults and errors, what is refused by name, and exact demands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import miniray
from miniray._api.actor_options import ACTOR_OPTIONS, resolve_actor_demands, resolve_concurrency, validate_actor_options
from miniray._api.options import RESOURCE_UNIT
from miniray._runtime.concurrency import Concurrency
from miniray.exceptions import UnsupportedFeatureError

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_actor_options.json").read_text())


def test_table_has_the_names_and_defaults_of_ray() -> None:
    assert {name: option.default for name, option in ACTOR_OPTIONS.items()} == {
        name: facts["default"] for name, facts in RAY.items()
    }


@pytest.mark.parametrize("name", sorted(RAY))
def test_option_accepts_the_types_of_ray(name: str) -> None:
    option = ACTOR_OPTIONS[name]
    names = {"None" if each is type(None) else each.__name__ for each in option.types}
    assert names | set(option.type_names) == set(RAY[name]["types"])
    assert option.decorator_only == RAY[name]["decorator_only"]


@pytest.mark.parametrize("name", sorted(RAY))
def test_default_of_each_option_is_valid(name: str) -> None:
    validate_actor_options({name: RAY[name]["default"]})


@pytest.mark.parametrize("name", sorted(RAY))
def test_value_of_another_type_is_a_type_error_that_names_the_option(name: str) -> None:
    with pytest.raises(TypeError, match=f"The type of keyword '{name}' must be .* received type <class 'complex'>"):
        validate_actor_options({name: 1j})


def test_unknown_option_is_a_value_error_that_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"Invalid option keyword max_calls for actors\. .*'max_restarts'"):
        validate_actor_options({"max_calls": 1})


class Plain:
    """A class to decorate."""


@pytest.mark.parametrize(
    "options",
    [
        {"max_pending_calls": 1},
        {"lifetime": "detached"},
        {"runtime_env": {"env_vars": {"A": "1"}}},
        {"enable_tensor_transport": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_option_of_a_later_release_is_refused_by_name(options: dict[str, Any]) -> None:
    name = next(iter(options)).removesuffix("_bundle_index").removesuffix("_capture_child_tasks").replace("_", "[_ ]")
    with pytest.raises(UnsupportedFeatureError, match=name):
        miniray.remote(**options)(Plain)


def test_generator_methods_are_refused_by_name() -> None:
    class Streaming:
        def numbers(self) -> Any:
            yield 1

    class AsyncStreaming:
        async def numbers(self) -> Any:
            yield 1

    for kind in (Streaming, AsyncStreaming):
        with pytest.raises(UnsupportedFeatureError, match=rf"generator methods of actors .*{kind.__name__}\.numbers"):
            miniray.remote(kind)


class Asynchronous:
    """A class with one coroutine."""

    def plain(self) -> None: ...

    async def fetch(self) -> None: ...


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (Plain, {}, Concurrency(False, 1)),
        (Plain, {"max_concurrency": 1}, Concurrency(False, 1)),
        (Plain, {"max_concurrency": 4}, Concurrency(False, 4)),
        (Plain, {"concurrency_groups": {"io": 2}}, Concurrency(False, 1, {"io": 2})),
        (Asynchronous, {}, Concurrency(True, 1000)),
        (Asynchronous, {"max_concurrency": 1}, Concurrency(True, 1)),
    ],
)
def test_concurrency(kind: type, options: dict[str, Any], expected: Concurrency) -> None:
    found = resolve_concurrency(kind, options)
    assert found == expected
    assert found.is_several == (kind is Asynchronous or options not in ({}, {"max_concurrency": 1}))


@pytest.mark.parametrize(
    ("groups", "error", "text"),
    [
        (["io"], TypeError, "must be a dict"),
        ({"": 1}, TypeError, "string that is not empty"),
        ({1: 1}, TypeError, "string that is not empty"),
        ({"io": 0}, ValueError, "'io' must be an integer above 0, got 0"),
        ({"io": "2"}, ValueError, "'io' must be an integer above 0, got '2'"),
    ],
)
def test_bad_concurrency_groups(groups: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        validate_actor_options({"concurrency_groups": groups})


@pytest.mark.parametrize(
    ("options", "place", "hold"),
    [
        ({}, 1, 0),
        ({"num_cpus": None}, 1, 0),
        ({"num_cpus": 0}, 0, 0),
        ({"num_cpus": 0.5}, 0.5, 0.5),
        ({"num_cpus": 3}, 3, 3),
        ({"memory": 10}, 1, 0),
        ({"num_gpus": 0}, 1, 0),
        ({"num_gpus": 1}, 1, 1),
        ({"num_gpus": 1, "num_cpus": 0}, 0, 0),
        ({"resources": {"gadget": 0.5}}, 1, 1),
        ({"resources": {"gadget": 1}, "num_cpus": 0}, 0, 0),
        ({"resources": {}}, 1, 0),
    ],
)
def test_cpus_to_be_placed_and_cpus_to_hold(options: dict[str, Any], place: float, hold: float) -> None:
    placed, held = resolve_actor_demands(options)
    assert (placed.cpu_units, held.cpu_units) == (place * RESOURCE_UNIT, hold * RESOURCE_UNIT)
