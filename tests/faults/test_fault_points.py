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
import contextlib, os, time
import miniray as ray
from miniray import _miniray_core as core
ray.init(num_cpus=2, object_store_memory=8 << 20)

@ray.remote(max_retries=-1)
def work(i, *refs):
    inner = ray.get([small.remote(i, j) for j in range(3)])
    return [ray.put(bytes(3000)), sum(inner)]

@ray.remote(max_retries=-1)
def small(i, j):
    return i * j

def fill(i):
    block = ray.create(700_000)
    block[:8] = i.to_bytes(8, "little")
    return block

@ray.remote(max_retries=-1)
def read(value, *refs):
    return int.from_bytes(value[:8], "little"), value[-8:] == value[:8]

for round in range(3):
    large = ray.put(b"x" * 100_000)
    refs = [work.remote(i, large) for i in range(20)]
    assert [total for _, total in ray.get(refs)] == [3 * i for i in range(20)]
    assert len(ray.wait(refs, num_returns=20)[0]) == 20
    many = (16_000, 1000, 1000)[round]  # at first more results than the table keeps pages for
    queued = [small.remote(i, 1) for i in range(many)]
    assert ray.get(queued) == list(range(many))
    del queued, refs
    core._trim()
    # More than the store holds: of the driver and of workers, copied and written in place, with refs inside.
    inner = ray.put(7)
    values = [ray.put(i.to_bytes(8, "little") * 125_000) for i in range(9)]
    pairs = [ray.put([bytes(900_000), inner]) for i in range(4)]
    blocks = [ray.put(fill(i)) for i in range(4)] + [ray.remote(max_retries=-1)(fill).remote(i) for i in range(4)]
    del inner
    assert ray.get([read.remote(value) for value in values]) == [(i, True) for i in range(9)]
    assert [number for number, _ in ray.get([read.remote(block) for block in blocks])] == [*range(4)] * 2
    assert [ray.get(ray.get(pair)[1]) for pair in pairs] == [7] * 4
    assert all(ray.get(value) == i.to_bytes(8, "little") * 125_000 for i, value in enumerate(values))
    del values, pairs, blocks, large

def disk_blocks():
    size = core._statistics()["spill_capacity_bytes"] + 4096
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # listdir's own
            if os.fstat(fd).st_size == size and os.fstat(fd).st_nlink == 0:
                return os.fstat(fd).st_blocks

while core._statistics()["spilled_bytes"] or disk_blocks(): time.sleep(0.002)
assert core._validate() is None
ray.shutdown()
print("right")
"""


def run(point, nth, role, tmp_path, **more):
    token = tmp_path / "token"
    token.touch()
    environment = {
        **os.environ,
        **more,
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

    @pytest.fixture(scope="module")
    def passed(tmp_path_factory):
        """Return which points the program passes in which roles, when one worker dies with the lock in its hand."""
        trace = tmp_path_factory.mktemp("trace") / "passed"
        done, killed = run("transaction.before_commit", 60, "worker", trace.parent, MINIRAY_FAULT_TRACE=str(trace))
        assert (done.returncode, done.stdout, killed) == (0, "right\n", True), done.stderr
        return set(trace.read_text().split())

    def test_program_passes_every_point(passed):
        assert {line.partition("@")[0] for line in passed} == set(POINTS)
        for point in ("spill.begun", "spill.writing", "spill.written"):
            assert passed >= {f"{point}@driver", f"{point}@worker"}

    @pytest.mark.parametrize("nth", [1, 2, 9, 60])
    @pytest.mark.parametrize("role", ["worker", "supervisor"])
    @pytest.mark.parametrize("point", POINTS)
    def test_program_ends_right_whoever_dies(passed, point, role, nth, tmp_path):
        if nth > 1 and f"{point}@{role}" not in passed:
            return  # a run without a death, once more
        done, _ = run(point, nth, role, tmp_path)
        assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr

    @pytest.mark.parametrize(
        ("point", "nth"),
        [(point, nth) for point in POINTS if point.startswith("transaction.") for nth in (1, 5, 200, 3000)]
        + [
            (point, nth)
            for point in POINTS
            if point.startswith("spill.") and point != "spill.discarding"
            for nth in (1, 3)
        ],
    )
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
