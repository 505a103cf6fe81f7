"""``LoggingConfig`` and the environment variable that stands for it."""

from __future__ import annotations

import pytest

from miniray import LoggingConfig
from miniray._api.init_options import resolve_init_options


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="Invalid encoding type: XML"):
        LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="Unknown python logging standard attribute: colour"):
        LoggingConfig(additional_log_standard_attrs=["colour"])


def test_there_and_back_as_a_dict():
    config = LoggingConfig(encoding="JSON", log_level="DEBUG", additional_log_standard_attrs=["name"])
    assert LoggingConfig.from_dict({**config.to_dict(), "more": 1}) == config


def test_environment_names_the_encoding(monkeypatch):
    assert resolve_init_options().logging_config is None
    monkeypatch.setenv("RAY_LOGGING_CONFIG_ENCODING", "JSON")
    assert resolve_init_options().logging_config == LoggingConfig(encoding="JSON")
    assert resolve_init_options(logging_config=LoggingConfig()).logging_config == LoggingConfig()
