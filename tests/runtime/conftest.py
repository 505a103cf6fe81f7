"""Fixtures of the tests of miniray's runtime: sessions, and programs that are killed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import miniray
from helpers.programs import Program
from helpers.states import wait_until
from miniray import _miniray_core as core


@pytest.fixture
def ray() -> Iterator[Any]:
    """Give miniray with a session of two CPUs; at the end, everything must be consistent and returned."""
    miniray.init(num_cpus=2, log_to_driver=False)
    yield miniray
    if not miniray.is_initialized():
        return
    try:
        gc.collect()
        assert core._validate() is None
        wait_until(lambda: core._statistics()["tasks"] == 0, "the tasks end")
    finally:
        miniray.shutdown()  # the tests that follow are not to fail with this one


@pytest.fixture
def start_program() -> Iterator[Callable[..., Program]]:
    """Start programs; kill them at the end."""
    programs: list[Program] = []

    def start(source: str, **environment: str) -> Program:
        programs.append(Program(source, **environment))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
