"""A little of tests/stress/leaks.py, which `make leaks` runs for 10,000 actors and 100,000 cancellations."""

import subprocess
import sys
from pathlib import Path

import pytest

LEAKS = Path(__file__).with_name("leaks.py")


@pytest.mark.slow
def test_actors_and_cancellations_leave_nothing():
    done = subprocess.run(
        [sys.executable, LEAKS, "--actors", "40", "--cancels", "2000", "--looks", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "right: " in done.stdout
