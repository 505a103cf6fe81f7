"""Options and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from helpers.states import nothing_left


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run tests marked slow")
    parser.addoption("--backend", choices=["miniray", "ray"], default="miniray", help="what tests/conformance runs on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if config.getoption("--run-slow") else ["slow"]
    if os.geteuid() != 0:
        left_out.append("needs_root")
    for marker in left_out:
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked:
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a segment, a child process or a file descriptor behind."""
    if request.config.getoption("--backend") == "ray" or "unit" in request.path.parts:
        yield  # real Ray keeps its session between tests; unit tests start nothing
        return
    if "shared_session" in request.fixturenames:
        yield  # looked at once, around all tests that share it
        return
    with nothing_left():
        yield
