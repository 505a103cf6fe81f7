"""A few seconds of tests/stress/soak.py, which `make soak` runs for hours."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

SOAK = Path(__file__).with_name("soak.py")


def soak(*options):
    done = subprocess.run(
        [sys.executable, SOAK, "--minutes", "0.1", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    plan, right = re.search(r"^plan: (.*)\nright: (.*)$", done.stdout, re.MULTILINE).groups()
    return plan, json.loads(right)


@pytest.mark.slow
def test_short_soak_ends_right():
    counts = soak("--threads", "3", "--store-megabytes", "8", "--minutes", "1", "--kills", "80")[1]
    assert counts["kills"] >= 80
    assert counts["noted_read"] == counts["noted"] > 0


@pytest.mark.slow
def test_seed_replays_whatever_is_killed():
    plans = {soak("--seed", "7", "--minutes", "0.12", *more)[0] for more in ([], ["--no-kills"])}
    assert len(plans) == 1
