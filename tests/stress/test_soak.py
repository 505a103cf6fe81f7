"""A few seconds of tests/stress/soak.py, which `make soak` runs for hours."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [["--no-kills"], ["--threads", "1"], ["--threads", "3", "--store-megabytes", "8"]], ids=str
)
def test_short_soak_ends_right(more):
    done = subprocess.run(
        [sys.executable, SOAK, "--minutes", "0.1", "--seed", "7", *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nright: " in done.stdout
