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
