"""A process is killed at each named point of the core, at several passes; the program ends right and leaves nothing.

The points are read from the sources, so that a new one cannot be forgotten. They exist only in the build that ``make test``
installs for this folder (``MINIRAY_FAULTS_SITE``); without it nothing here is collected.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import miniray
from helpers.states import LOST_SECONDS, sessions_of_ours, wait_until

SITE = os.environ.get("MINIRAY_FAULTS_SITE", "")
ROOT = Path(__file__).resolve().parents[2]
POINTS = sorted(
    {
        point
        for path in (ROOT / "cpp").rglob("*.[ch]pp")
        for point in re.findall(r'MINIRAY_FAULT_POINT\("([^"]+)"\)', path.read_text())
    }
)

PROGRAM = """
import miniray as ray
from miniray import _miniray_core as core
ray.init(num_cpus=2)

@ray.remote(max_retries=-1)
def work(i, *refs):
    inner = ray.get([small.remote(i, j) for j in range(3)])
    return [ray.put(bytes(3000)), sum(inner)]

@ray.remote(max_retries=-1)
def small(i, j):
    return i * j

for _ in range(3):
    large = ray.put(b"x" * 100_000)
    refs = [work.remote(i, large) for i in range(20)]
    assert [total for _, total in ray.get(refs)] == [3 * i for i in range(20)]
    assert len(ray.wait(refs, num_returns=20)[0]) == 20
    queued = [small.remote(i, 1) for i in range(3000)]
    assert ray.get(queued) == list(range(3000))
    del queued, refs
    core._trim()
assert core._validate() is None
ray.shutdown()
print("right")
"""


def run(point, nth, role, tmp_path):
    token = tmp_path / "token"
    token.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": SITE,
        "MINIRAY_CRASH_AT": f"{point}:{nth}@{role}",
        "MINIRAY_CRASH_TOKEN": str(token),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LOST_SECONDS,
        check=False,
    )
    return done, not token.exists()


if SITE:

    @pytest.mark.parametrize("nth", [1, 2, 9, 60])
    @pytest.mark.parametrize("role", ["worker", "supervisor"])
    @pytest.mark.parametrize("point", POINTS)
    def test_program_ends_right_whoever_dies(point, role, nth, tmp_path):
        done, _ = run(point, nth, role, tmp_path)
        assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr

    @pytest.mark.parametrize("nth", [1, 5, 200, 3000])
    @pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("transaction.")])
    def test_driver_that_dies_leaves_nothing(point, nth, tmp_path):
        before = sessions_of_ours()
        done, killed = run(point, nth, "driver", tmp_path)
        assert killed
        assert done.returncode == -9
        if nth < 200:  # it had no supervisor yet: the next program clears up
            miniray.init(num_cpus=1)
            miniray.shutdown()
        wait_until(lambda: sessions_of_ours() <= before, "the segments go")

    def test_points_bite(tmp_path):
        assert run("task.claimed", 1, "worker", tmp_path)[1]


def test_release_module_has_no_points():
    module = Path(miniray._miniray_core.__file__).read_bytes()
    assert len(POINTS) >= 10
    assert [point for point in POINTS if point.encode() in module] == []
    assert b"MINIRAY_CRASH_AT" not in module
