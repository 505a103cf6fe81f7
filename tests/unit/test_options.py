"""Options of tasks: Ray's names, defaults and errors, and exact demands."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from miniray._api import warn_once
from miniray._api.option_table import STRATEGY_TYPE_NAMES, TASK_OPTIONS
from miniray._api.options import (
    DEFAULT_TASK_OPTIONS,
    RESOURCE_UNIT,
    TaskDemand,
    default_max_retries,
    merge_task_options,
    resolve_demand,
    resolve_max_calls,
    validate_task_options,
)
from miniray.exceptions import UnsupportedFeatureError

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_task_options.json").read_text())

# Stand-ins for classes of Ray, which are known by their names.
STRATEGIES: dict[str, type] = {name: type(name, (), {}) for name in STRATEGY_TYPE_NAMES}
PlacementGroup = type("PlacementGroup", (), {})


def test_table_has_the_names_and_defaults_of_ray() -> None:
    assert dict(DEFAULT_TASK_OPTIONS) == {name: facts["default"] for name, facts in RAY.items()}


@pytest.mark.parametrize("name", sorted(RAY))
def test_option_accepts_the_types_of_ray(name: str) -> None:
    option = TASK_OPTIONS[name]
    names = {"None" if each is type(None) else each.__name__ for each in option.types}
    assert names | set(option.type_names) == set(RAY[name]["types"])
    assert option.decorator_only == RAY[name]["decorator_only"]


@pytest.mark.parametrize("name", sorted(RAY))
def test_default_of_each_option_is_valid(name: str) -> None:
    validate_task_options({name: DEFAULT_TASK_OPTIONS[name]}, in_options=False)


@pytest.mark.parametrize("name", sorted(RAY))
def test_value_of_another_type_is_a_type_error_that_names_the_option(name: str) -> None:
    with pytest.raises(TypeError, match=f"The type of keyword '{name}' must be .* received type <class 'complex'>"):
        validate_task_options({name: 1j}, in_options=False)


@pytest.mark.parametrize("in_options", [True, False])
def test_unknown_option_is_a_value_error_that_names_the_valid_ones(in_options: bool) -> None:
    with pytest.raises(ValueError, match=r"Invalid option keyword max_restarts for remote functions\. .*'max_retries'"):
        validate_task_options({"max_restarts": 1}, in_options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_cpus", 0),
        ("num_cpus", 0.0001),
        ("num_cpus", None),
        ("num_gpus", 0.5),
        ("num_gpus", 2.0),
        ("memory", 1.5e9),
        ("resources", {"disk": 0.25, "any name: at all": 3}),
        ("resources", {}),
        ("max_calls", 0),
        ("max_retries", -1),
        ("num_returns", 0),
        ("retry_exceptions", True),
        ("retry_exceptions", [ValueError, OSError]),
        ("retry_exceptions", (KeyError,)),
        ("retry_exceptions", []),
        ("name", ""),
        ("runtime_env", {}),
        ("scheduling_strategy", "DEFAULT"),
        ("scheduling_strategy", "SPREAD"),
        ("placement_group", None),
        ("label_selector", {"ray.io/zone": "!in(a, b)", "gpu": "!old", "empty": ""}),
        ("fallback_strategy", [{"label_selector": {"zone": "in(a)"}}]),
        ("enable_task_events", False),
        ("_labels", {"a": "b"}),
        ("_generator_backpressure_num_objects", -1),
        ("_num_objects_per_yield", 4),
    ],
)
def test_good_value_is_accepted(name: str, value: object) -> None:
    validate_task_options({name: value}, in_options=False)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("num_cpus", -1, "The quantity of resource num_cpus cannot be negative"),
        ("num_cpus", 0.00009, "num_cpus cannot go beyond 0.0001"),
        ("num_cpus", float("nan"), "num_cpus must be a finite number"),
        ("memory", float("inf"), "memory must be a finite number"),
        ("resources", {"disk": -1}, "The quantity of resource disk cannot be negative"),
        ("resources", {"disk": 0.00001}, "disk cannot go beyond 0.0001"),
        ("resources", {"CPU": 1}, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ("resources", {"GPU": 1}, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ("max_calls", -1, "'max_calls' only accepts None, 0 or a positive integer"),
        ("max_retries", -2, "'max_retries' only accepts None, 0, -1"),
        ("num_returns", -1, "only accepts None, a non-negative integer"),
        ("retry_exceptions", [ValueError(1)], "must be either a boolean or a list of exceptions"),
        ("retry_exceptions", [KeyboardInterrupt], "must be either a boolean or a list of exceptions"),
        ("object_store_memory", 1, "not implemented for tasks"),
        ("label_selector", {"-zone": "a"}, "Invalid label key name `-zone`"),
        ("label_selector", {"a/b/": "a"}, "Invalid label key"),
        ("label_selector", {"x@y/zone": "a"}, "Invalid label key prefix `x@y`"),
        ("label_selector", {"zone": "in()"}, "Invalid label selector value"),
        ("fallback_strategy", ["a"], "must be a dictionary"),
        ("fallback_strategy", [{}], "Empty dictionary"),
        ("fallback_strategy", [{"memory": 1}], "Unsupported option found: 'memory'"),
        ("fallback_strategy", [{"label_selector": [1]}], "must be a dictionary"),
        ("fallback_strategy", [{"label_selector": {"zone": "!!a"}}], "Invalid label selector value"),
        ("_generator_backpressure_num_objects", 0, "=0 is not allowed"),
        ("_num_objects_per_yield", 0, "positive integer"),
    ],
)
def test_bad_value_is_a_value_error(name: str, value: object, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        validate_task_options({name: value}, in_options=False)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("resources", {"disk": "1"}), ("resources", {1: 1}), ("num_returns", "many"), ("label_selector", {"zone": 3})],
)
def test_wrong_type_inside_a_value_is_a_type_error(name: str, value: object) -> None:
    with pytest.raises(TypeError):
        validate_task_options({name: value}, in_options=False)


def test_max_calls_belongs_to_the_decorator() -> None:
    validate_task_options({"max_calls": 1}, in_options=False)
    with pytest.raises(ValueError, match=r"Setting 'max_calls' is not supported in '\.options\(\)'"):
        validate_task_options({"max_calls": 1}, in_options=True)


def test_both_spellings_of_a_placement_group_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="should be specified via the scheduling_strategy option"):
        validate_task_options({"placement_group": PlacementGroup(), "scheduling_strategy": "SPREAD"}, in_options=False)


@pytest.mark.parametrize("num_returns", ["streaming", "dynamic"])
def test_stream_of_results_needs_a_generator_function(num_returns: str) -> None:
    with pytest.raises(ValueError, match="can only be used with generator functions"):
        validate_task_options({"num_returns": num_returns}, in_options=False, is_generator_callable=False)


@pytest.mark.parametrize(
    ("options", "is_generator"),
    [
        ({}, True),
        ({"num_returns": "streaming"}, True),
        ({"num_returns": "dynamic"}, None),
        ({"runtime_env": {"env_vars": {"A": "1"}}}, False),
    ],
)
def test_later_work_is_refused_by_name(options: dict[str, Any], is_generator: bool | None) -> None:
    with pytest.raises(UnsupportedFeatureError, match="this release of miniray does not offer it yet"):
        validate_task_options(options, in_options=False, is_generator_callable=is_generator)


def test_bad_value_comes_before_later_work() -> None:
    with pytest.raises(ValueError, match="negative"):
        validate_task_options({"runtime_env": {"pip": ["x"]}, "num_cpus": -1}, in_options=False)


def test_accelerator_type_is_ignored_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warn_once, "_shown", set())
    with caplog.at_level(logging.WARNING, "miniray"):
        for _ in range(3):
            validate_task_options({"accelerator_type": "A100"}, in_options=True)
    assert len(caplog.records) == 1
    assert "accelerator_type='A100'" in caplog.text


def test_options_of_a_call_win_over_those_of_the_decorator() -> None:
    base = {"num_cpus": 2, "name": "a", "max_calls": 1}
    merged = merge_task_options(base, {"name": "b", "max_retries": 0})
    assert merged == {"num_cpus": 2, "name": "b", "max_calls": 1, "max_retries": 0}
    assert base == {"num_cpus": 2, "name": "a", "max_calls": 1}


def test_objects_per_yield_cannot_change_per_call() -> None:
    assert merge_task_options({}, {"_num_objects_per_yield": 1}) == {"_num_objects_per_yield": 1}
    with pytest.raises(ValueError, match="cannot be overridden per task call"):
        merge_task_options({}, {"_num_objects_per_yield": 2})


def test_task_needs_one_cpu_unless_it_says_so() -> None:
    assert resolve_demand({}) == TaskDemand() == TaskDemand(cpu_units=RESOURCE_UNIT)
    assert resolve_demand({"num_cpus": 0}).cpu_units == 0
    assert resolve_demand({"num_cpus": None}).cpu_units == 0


def test_demand_is_exact() -> None:
    demand = resolve_demand(
        {"num_cpus": 0.0003, "num_gpus": 0.5, "memory": 1e9 + 0.5, "resources": {"z": 1, "a": 0.1, "none": 0}}
    )
    assert demand == TaskDemand(3, 5_000, 1_000_000_000, (("a", 1_000), ("z", 10_000)))
    assert demand.units() == {"CPU": 3, "GPU": 5_000, "memory": 10_000_000_000_000, "a": 1_000, "z": 10_000}
    assert demand.quantities() == {"CPU": 0.0003, "GPU": 0.5, "memory": 1e9, "a": 0.1, "z": 1.0}


def test_every_step_of_a_resource_is_kept() -> None:
    steps = [*range(1, 20_001), 640_003, 1_280_001]
    assert [resolve_demand({"num_cpus": each / RESOURCE_UNIT}).cpu_units for each in steps] == steps


def test_quantity_between_two_steps_is_rounded_down() -> None:
    assert resolve_demand({"num_cpus": 1.00007}).cpu_units == 10_000


def test_equal_demands_hash_alike_in_any_order_of_names() -> None:
    first = resolve_demand({"resources": {"a": 1, "b": 2}})
    second = resolve_demand({"resources": {"b": 2.0, "a": 1.0}})
    assert first == second
    assert hash(first) == hash(second)


def test_gpus_above_one_are_whole() -> None:
    assert resolve_demand({"num_gpus": 2.0}).gpu_units == 20_000
    with pytest.raises(ValueError, match="GPU resource quantities >1 must be whole numbers"):
        resolve_demand({"num_gpus": 1.5})


@pytest.mark.parametrize("name", ["CPU", "GPU", "memory", "object_store_memory", "bundle"])
def test_resources_cannot_name_what_has_an_option_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="must not contain the key|reserved for Ray"):
        resolve_demand({"resources": {name: 1}})


@pytest.mark.parametrize(("name", "value"), [("scheduling_strategy", "NEAR"), ("placement_group", "mine")])
def test_unknown_word_is_a_value_error_of_the_call(name: str, value: str) -> None:
    validate_task_options({name: value}, in_options=False)
    with pytest.raises(ValueError, match=f"Invalid {name}.*{value}"):
        resolve_demand({name: value})


def test_default_of_max_retries_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TASK_MAX_RETRIES", raising=False)
    assert default_max_retries() == 3
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert default_max_retries() == 7


def test_worker_of_a_gpu_task_exits_after_one_run_unless_told_otherwise() -> None:
    assert resolve_max_calls({}) == 0
    assert resolve_max_calls({"num_gpus": 0.5}) == 1
    assert resolve_max_calls({"num_gpus": 1, "max_calls": 0}) == 0
    assert resolve_max_calls({"max_calls": 5}) == 5
