"""Options and fixtures of all tests."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator

import pytest

from helpers.states import nothing_left


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run tests marked slow")
    parser.addoption("--backend", choices=["miniray", "ray"], default="miniray", help="what tests/conformance runs on")
    parser.addoption("--part", type=_part, default=(1, 1), metavar="K/N", help="run each N-th test, from the K-th on")


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N")
    return int(number), int(count)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if config.getoption("--run-slow") else ["slow"]
    if os.geteuid() != 0:
        left_out.append("needs_root")
    for marker in left_out:
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked:
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    number, count = config.getoption("--part")
    if count > 1:
        kept = items[number - 1 :: count]
        config.hook.pytest_deselected(
            items=[item for place, item in enumerate(items, 1) if place % count != number % count]
        )
        items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what was collected out of the garbage collections before and after each test: they take most of its time."""
    gc.collect()
    gc.freeze()


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
