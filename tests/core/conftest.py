"""Fixtures of the tests of ``miniray._miniray_core`` alone."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from helpers.named_segments import HANG_SECONDS, SHARED_MEMORY, segments_of


@pytest.fixture
def name() -> Iterator[str]:
    """Give a name for segments that no other test uses; fail if any of them is left."""
    unique = f"test{os.getpid()}-{secrets.token_hex(4)}"
    yield unique
    left = segments_of(unique)
    for file in left:
        (SHARED_MEMORY / file).unlink()
    assert left == []


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``python -c`` with pipes; whatever still runs at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from miniray._miniray_core import *\nimport sys\n" + source, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run_python(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run ``python -c`` to its end and return what it printed; it must succeed and say nothing on stderr."""

    def run(source: str, *arguments: str) -> str:
        out, err = start_python(source, *arguments).communicate(timeout=HANG_SECONDS)
        assert err == ""
        return out

    return run
