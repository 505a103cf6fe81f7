"""Options and fixtures of all tests."""

from __future__ import annotations

import gc
import multiprocessing.resource_tracker
import os
from collections.abc import Iterator

import pytest

from helpers.states import children, descriptors, sessions_of_ours, wait_until


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
    gc.collect()
    before = sessions_of_ours(), children(), descriptors()
    yield
    gc.collect()
    multiprocessing.resource_tracker._resource_tracker._stop()  # what a test with "spawn" started
    # What another program leaves goes with its own clean-up: wait, do not fail at once.
    wait_until(lambda: sessions_of_ours() <= before[0], "no session is left")
    assert children() <= before[1]
    assert descriptors() <= before[2]
