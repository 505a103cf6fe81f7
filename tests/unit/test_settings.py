"""Settings from the environment and from ``_system_config``."""

import pytest

from miniray._api.init_options import resolve_init_options

VARIABLE = "RAY_record_ref_creation_sites"


@pytest.mark.parametrize(
    ("variable", "config", "expected"),
    [
        (None, None, False),
        ("1", None, True),
        ("true", None, True),
        ("0", None, False),
        (None, {"record_ref_creation_sites": True}, True),
        ("1", {"record_ref_creation_sites": False}, False),
        ("1", {"something_else": 3}, True),
    ],
)
def test_call_sites_are_recorded_when_rays_variable_or_setting_says_so(monkeypatch, variable, config, expected):
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    assert resolve_init_options(_system_config=config).record_call_sites is expected


def test_size_of_the_store_is_remembered_as_given():
    assert resolve_init_options(object_store_memory=10**8).object_store_was_given
    assert not resolve_init_options().object_store_was_given


def test_memory_monitor_has_rays_defaults(monkeypatch):
    for name in ("memory_usage_threshold", "memory_monitor_refresh_ms", "task_oom_retries"):
        monkeypatch.delenv(f"RAY_{name}", raising=False)
    memory = resolve_init_options().memory
    assert (memory.threshold, memory.refresh_s, memory.retries) == (0.95, 0.25, None)


def test_memory_monitor_is_set_by_the_environment_or_by_the_system_config(monkeypatch):
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.5")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_task_oom_retries", "4")
    memory = resolve_init_options(_system_config={"memory_usage_threshold": 0.8}).memory
    assert (memory.threshold, memory.refresh_s, memory.retries) == (0.8, 0, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_usage_threshold", "1.5"), ("memory_monitor_refresh_ms", "-1"), ("task_oom_retries", "x")],
)
def test_impossible_settings_of_the_memory_monitor_are_named(monkeypatch, name, value):
    monkeypatch.setenv(f"RAY_{name}", value)
    with pytest.raises(ValueError, match=f"RAY_{name} must be a number"):
        resolve_init_options()


@pytest.mark.parametrize(
    ("variable", "config", "expected"), [(None, {}, 30), ("2.5", {}, 2.5), ("5", {"stop_timeout_s": 0}, 0)]
)
def test_limit_of_a_stopped_worker_is_set_by_the_environment_or_by_the_system_config(
    monkeypatch, variable, config, expected
):
    monkeypatch.delenv("MINIRAY_STOP_TIMEOUT_S", raising=False)
    if variable is not None:
        monkeypatch.setenv("MINIRAY_STOP_TIMEOUT_S", variable)
    assert resolve_init_options(_system_config=config).stop_limit_s == expected


def test_impossible_limit_of_a_stopped_worker_is_named(monkeypatch):
    monkeypatch.setenv("MINIRAY_STOP_TIMEOUT_S", "soon")
    with pytest.raises(ValueError, match="MINIRAY_STOP_TIMEOUT_S must be a number from 0 to 1e\\+06, not 'soon'"):
        resolve_init_options()
