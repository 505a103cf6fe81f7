"""Fixtures of the tests of miniray's runtime: sessions, and programs that are killed."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
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


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocks(ray: Any) -> Any:
    """Give a task that yields blocks of memory, known to the session and both workers."""

    @ray.remote(max_retries=0)
    def blocks(count: int, size: int = 1000) -> Iterator[bytes]:
        for i in range(count):
            yield bytes([i % 256]) * size

    for generator in [blocks.remote(3) for _ in range(20)]:
        ray.get(list(generator))
    return blocks


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give the path of a file to which runs append."""
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def endless(ray: Any) -> Any:
    """Give a task that yields for ever and logs its end."""

    @ray.remote(max_retries=0)
    def endless(path: Path) -> Iterator[int]:
        try:
            while True:
                yield os.getpid()
        finally:
            with open(path, "a") as file:
                file.write("closed\n")

    return endless
