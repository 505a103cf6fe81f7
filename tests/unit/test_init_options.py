"""Arguments of init(): Ray's names, defaults and errors, and what they become on one machine."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from miniray._api import init_options, warn_once
from miniray._api.init_options import (
    CAPACITY_DEFAULTS,
    HIDDEN_DEFAULTS,
    INIT_DEFAULTS,
    auto_connect_enabled,
    resolve_backend,
    resolve_init_options,
)
from miniray._runtime import machine
from miniray.exceptions import UnsupportedFeatureError

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_init.json").read_text())


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the settings of the machine that runs the tests out of the way."""
    for name in (
        "ADDRESS",
        "LOG_TO_DRIVER",
        "ENABLE_AUTO_CONNECT",
        "TMPDIR",
        "LOGGER_LEVEL",
        "LOGGING_CONFIG_ENCODING",
    ):
        monkeypatch.delenv(f"RAY_{name}", raising=False)


def _with_ray(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """Let Ray be installed, or not, whatever the machine has."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)


def test_parameters_and_defaults_are_those_of_ray() -> None:
    params = [(name, default[0]) for name, kind, *default in RAY["params"] if kind != "**"]
    assert [(name, repr(default)) for name, default in INIT_DEFAULTS.items()] == params
    assert sorted(HIDDEN_DEFAULTS) == RAY["hidden"]


def test_defaults_come_from_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_count", lambda: 6)
    monkeypatch.setattr(machine, "gpu_count", lambda: 2)
    monkeypatch.setattr(machine, "memory_limit_bytes", lambda: 10 << 30)
    plan = machine.StorePlan(3 << 30, True, "because", "look")
    monkeypatch.setattr(machine, "plan_store", lambda wanted: plan)
    options = resolve_init_options()
    assert (options.backend, options.num_cpus, options.num_gpus) == ("local", 6, 2)
    assert (options.store, options.memory_bytes) == (plan, 7 << 30)
    assert (options.object_capacity, options.task_capacity, options.worker_capacity) == (1 << 20, 1 << 20, 1024)
    assert (options.log_to_driver, options.logging_level, options.resources) == (True, logging.INFO, {})
    assert len(options.namespace) == 36


def test_real_machine_gives_positive_defaults() -> None:
    options = resolve_init_options()
    assert options.num_cpus >= 1
    assert options.store.size_bytes >= init_options.MIN_OBJECT_STORE_BYTES


def test_arguments_are_kept() -> None:
    options = resolve_init_options(
        "local",
        num_cpus=2.0,
        num_gpus=1,
        resources={"disk": 3.0, "none": 0},
        object_store_memory=64 << 20,
        labels={"zone": "a"},
        namespace="mine",
        ignore_reinit_error=True,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
        logging_format="%(message)s",
        _memory=1 << 30,
        _temp_dir="/tmp/elsewhere",
        _plasma_directory="/dev/shm",
        object_spilling_directory="/spill",
        _node_name="me",
        object_capacity=10,
        task_capacity=20,
        worker_capacity=30,
    )
    assert (options.num_cpus, options.num_gpus, options.resources) == (2, 1, {"disk": 3})
    assert (options.store.size_bytes, options.memory_bytes) == (64 << 20, 1 << 30)
    assert (options.labels, options.namespace, options.ignore_reinit_error) == ({"zone": "a"}, "mine", True)
    assert (options.log_to_driver, options.configure_logging) == (False, False)
    assert (options.logging_level, options.logging_format) == (logging.ERROR, "%(message)s")
    assert (options.temp_folder, options.shared_memory_folder) == ("/tmp/elsewhere", "/dev/shm")
    assert (options.spill_folder, options.node_name) == ("/spill", "me")
    assert (options.object_capacity, options.task_capacity, options.worker_capacity) == (10, 20, 30)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        resolve_init_options().num_cpus = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "arguments",
    [
        {"dashboard_port": 1, "include_dashboard": False, "dashboard_host": "::1"},
        {"cgroup_path": "/x", "system_reserved_cpu": 1.0, "system_reserved_memory": 5, "proxy_server_url": "u"},
        {"_redis_password": "p", "_redis_username": "u", "_metrics_export_port": 1, "_node_ip_address": "::1"},
        {"_system_config": {}, "_tracing_startup_hook": print, "_enable_object_reconstruction": True},
        {"_driver_object_store_memory": 1, "_skip_env_hook": True, "runtime_env": {}},
        {"job_config": SimpleNamespace(runtime_env={}, ray_namespace=None)},
    ],
)
def test_settings_of_clusters_are_accepted(arguments: dict[str, Any]) -> None:
    assert resolve_init_options(**arguments).backend == "local"


def test_unknown_keywords_are_a_runtime_error_that_names_them() -> None:
    with pytest.raises(RuntimeError, match=r"^Unknown keyword argument\(s\): num_cpu, nodes$"):
        resolve_init_options(num_cpu=2, num_cpus=2, nodes=3)


@pytest.mark.parametrize("name", ["local_mode", "allow_multiple", "storage"])
def test_what_ray_removed_is_a_runtime_error(name: str) -> None:
    with pytest.raises(RuntimeError, match=name):
        resolve_init_options(**{name: True})


def test_num_workers_is_another_word_for_num_cpus() -> None:
    assert resolve_init_options(num_workers=3).num_cpus == 3
    assert resolve_init_options(num_workers=3, num_cpus=3).num_cpus == 3
    with pytest.raises(ValueError, match="num_workers=3 and num_cpus=2 are two words for the same thing"):
        resolve_init_options(num_workers=3, num_cpus=2)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_cpus": 1.5}, ValueError, "Resource quantities must all be whole numbers. Violated by resource 'CPU'"),
        ({"num_cpus": -1}, ValueError, "Resource quantities must be nonnegative. Violated by resource 'CPU'"),
        ({"num_cpus": "2"}, AssertionError, "CPU (<class 'str'>): 2"),
        ({"num_gpus": 1e15}, ValueError, "Resource quantities must be at most"),
        ({"num_gpus": float("nan")}, ValueError, "whole numbers"),
        ({"resources": {"disk": 0.5}}, ValueError, "Violated by resource 'disk'"),
        ({"resources": {"CPU": 1}}, AssertionError, "`CPU` cannot be a custom resource"),
        ({"resources": {"memory": 1}}, AssertionError, "`memory` cannot be a custom resource"),
        ({"resources": ["disk"]}, TypeError, "resources must be a dict"),
        ({"resources": {1: 1}}, TypeError, "resources must be a dict"),
        ({"labels": {"a": 1}}, TypeError, "labels must be a dict of strings"),
        ({"object_store_memory": 1000}, ValueError, "Attempting to cap object store memory usage at 1000 bytes"),
        ({"namespace": ""}, ValueError, '"" is not a valid namespace'),
        ({"namespace": 3}, TypeError, "namespace must be None or a string."),
        ({"_temp_dir": "here"}, ValueError, "temp_dir must be absolute path or None."),
        ({"_system_config": 3}, TypeError, "The _system_config must be a dict."),
        ({"logging_level": "loud"}, ValueError, "Unknown level: 'Level LOUD'"),
        ({"task_capacity": 0}, ValueError, "task_capacity must be at least 1, not 0"),
        ({"object_capacity": 2**32 + 5}, ValueError, "object_capacity must be at most 1073741824, not 4294967301"),
        ({"worker_capacity": 65_536}, ValueError, "worker_capacity must be at most 65504, not 65536"),
        ({"object_capacity": 1.5}, TypeError, "object_capacity must be an integer"),
        ({"worker_capacity": True}, TypeError, "worker_capacity must be an integer"),
        ({"address": 3}, TypeError, "address must be None or a string"),
        ({"address": "somewhere"}, ValueError, "Invalid address format: somewhere"),
        ({"runtime_env": {"pip": ["x"]}}, UnsupportedFeatureError, "runtime_env"),
        ({"job_config": SimpleNamespace(runtime_env={"conda": "x"})}, UnsupportedFeatureError, "runtime_env"),
        ({"logging_config": object()}, TypeError, "logging_config must be a LoggingConfig or None, not object"),
    ],
)
def test_bad_argument_is_refused(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        resolve_init_options(**arguments)
    assert text in str(caught.value)


def test_zero_cpus_are_allowed() -> None:
    assert resolve_init_options(num_cpus=0).num_cpus == 0


def test_namespace_may_come_from_the_job_config() -> None:
    job_config = SimpleNamespace(ray_namespace="theirs")
    assert resolve_init_options(job_config=job_config).namespace == "theirs"
    assert resolve_init_options(job_config=job_config, namespace="mine").namespace == "mine"
    assert resolve_init_options().namespace != resolve_init_options().namespace


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("false", False), ("1", True), ("True", True)])
def test_environment_decides_on_the_output_of_workers(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_LOG_TO_DRIVER", value)
    assert resolve_init_options().log_to_driver is expected
    assert resolve_init_options(log_to_driver=not expected).log_to_driver is not expected


def test_environment_decides_on_the_logging_level_and_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_LOGGER_LEVEL", "debug")
    monkeypatch.setenv("RAY_TMPDIR", "/elsewhere")
    options = resolve_init_options()
    assert (options.logging_level, options.temp_folder) == (logging.DEBUG, "/elsewhere")
    assert resolve_init_options(logging_level="error").logging_level == logging.ERROR


def test_environment_may_forbid_a_session_that_starts_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto_connect_enabled()
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "1")
    assert auto_connect_enabled()
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    assert not auto_connect_enabled()


@pytest.mark.parametrize("address", [None, "local"])
def test_local_engine_runs_without_an_address(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_ray(monkeypatch, installed=True)
    assert resolve_backend(address) == "local"


@pytest.mark.parametrize("address", ["auto", "localhost:6379", "ray://host:10001"])
def test_address_of_a_cluster_without_ray_names_the_extra(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_ray(monkeypatch, installed=False)
    with pytest.raises(ConnectionError, match=r"pip install 'miniray\[ray\]'") as caught:
        resolve_init_options(address)
    assert address in str(caught.value)


@pytest.mark.parametrize("address", ["auto", "localhost:6379", "ray://host:10001"])
def test_address_of_a_cluster_with_ray_is_later_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_ray(monkeypatch, installed=True)
    with pytest.raises(UnsupportedFeatureError, match="a Ray cluster"):
        resolve_init_options(address)


@pytest.mark.parametrize("address", [None, "auto"])
def test_address_of_the_environment_takes_the_place_of_none_and_auto(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_ray(monkeypatch, installed=False)
    monkeypatch.setenv("RAY_ADDRESS", "host:6379")
    with pytest.raises(ConnectionError, match="host:6379"):
        resolve_backend(address)
    assert resolve_backend("local") == "local"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert resolve_backend(address) == "local"
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert resolve_backend(None) == "local"


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "_node_name"])
def test_settings_of_a_session_are_refused_for_a_running_cluster(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_ray(monkeypatch, installed=True)
    with pytest.raises(ValueError, match=rf"When connecting to an existing cluster, .*{name}.* must not be provided"):
        resolve_init_options("host:6379", **{name: 1})


def test_resource_isolation_is_ignored_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warn_once, "_shown", set())
    with caplog.at_level(logging.WARNING, "miniray"):
        for _ in range(2):
            resolve_init_options(enable_resource_isolation=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_capacities_are_keywords_of_miniray_alone() -> None:
    assert not set(CAPACITY_DEFAULTS) & {*INIT_DEFAULTS, *HIDDEN_DEFAULTS}
