"""Every point of the fixed program is killed, stopped and refused in turn: here a part, with ``--run-slow`` more, all in ``make faults``.

The points come from the build itself, their passes from a run that counts them, so that a new point cannot be forgotten.
"""

import dataclasses
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import miniray
from helpers import fault_runs
from helpers.fault_runs import Fault

ROOT = Path(__file__).resolve().parents[2]
LANES = 2  # runs at a time
PARTS = 6


def written_points():
    """Return the names in the sources: of C++ and of Python."""
    core = [path.read_text() for path in (ROOT / "cpp").rglob("*.[ch]pp")]
    python = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    found = [re.findall(r'MINIRAY_(?:FAULT_POINT|SYSTEM_CALL|SYSTEM_TRANSFER)\(\s*"([^"]+)"', text) for text in core]
    found += [re.findall(r'fault_point\("([^"]+)"\)', text) for text in python]
    return {name for names in found for name in names}


def run_until_it_happens(fault, anonymous):
    """Run a fault; when this run passes its point less often than the one that was counted, try an earlier pass."""
    done = fault_runs.run(fault, anonymous)
    while not (done.fired or done.faults) and fault.nth > 1:
        fault = dataclasses.replace(fault, nth=fault.nth // 2)
        done = fault_runs.run(fault, anonymous)
    return fault, done


def run_all(runs):
    """Run faults, some at a time; return what did not end right, and how many have happened."""
    with ThreadPoolExecutor(LANES) as pool:
        done = list(pool.map(lambda item: run_until_it_happens(*item), runs))
    told = [f"{fault}: {run.faults}\n{run.errors[-2000:]}" for fault, run in done if run.faults]
    return told, sum(run.fired for _, run in done)


if fault_runs.SITE:

    @pytest.fixture(scope="module")
    def passed():
        """Return the passes of a run in which one worker dies with the lock, and of one whose memory has no names."""
        named, unnamed = fault_runs.run(None), fault_runs.run(None, anonymous=True)
        assert (named.faults, unnamed.faults) == ([], [])
        return named.passes, unnamed.passes

    def test_every_point_of_the_table_is_in_the_sources():
        assert written_points() == set(fault_runs.points())

    def test_program_passes_every_point(passed):
        assert {point for passes in passed for (_, point), count in passes.items() if count} == set(fault_runs.points())
        for point in ("spill.begun", "spill.writing", "spill.written"):
            assert passed[0]["driver", point]
            assert passed[0]["worker", point]

    def chosen(passed, most, step):
        """Return the faults to try: of each point and role every ``step``-th of its actions and passes."""
        runs = []
        for anonymous, passes in enumerate(passed):
            for number, ((role, point), count) in enumerate(passes.items()):
                if anonymous and passed[0][role, point]:
                    continue
                faults = fault_runs.all_faults({(role, point): count}, most)
                runs += [
                    (fault, bool(anonymous)) for fault in faults[number % step if len(faults) >= step else 0 :: step]
                ]
        return runs

    @pytest.mark.parametrize("part", range(PARTS))
    @pytest.mark.parametrize(
        ("most", "step"), [pytest.param(1, 19, id="some"), pytest.param(2, 29, id="more", marks=pytest.mark.slow)]
    )
    def test_program_ends_right_whatever_happens(passed, most, step, part):
        runs = chosen(passed, most, step)[part::PARTS]
        failures, happened = run_all(runs)
        assert failures == []
        assert happened > len(runs) * 0.8

    @pytest.mark.parametrize(
        ("faults", "complaint"),
        [
            ("spil.begun=kill", "'spil.begun' is no fault point"),
            ("spill.begun=explode", "'explode' is no action"),
            ("spill.begun=errno:EIO", "'spill.begun' is no system call"),
            ("system.pwrite=errno:EWHAT", "'EWHAT' is no error"),
            ("spill.begun@cook=kill", "'cook' is no role"),
            ("spill.begun:x=kill", "'x' is no number"),
            ("spill.begun", "'spill.begun' is without an action"),
        ],
    )
    def test_typo_in_a_fault_ends_the_process(faults, complaint):
        done = subprocess.run(
            [sys.executable, "-c", "import miniray"],
            env=fault_runs.environment(MINIRAY_FAULT=faults),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr

    def test_unknown_point_in_python_is_an_error():
        code = "from miniray._runtime.fault_points import fault_point; fault_point('worker.lost')"
        done = subprocess.run(
            [sys.executable, "-c", code], env=fault_runs.environment(), capture_output=True, check=False
        )
        assert b"ValueError: no such fault point: worker.lost" in done.stderr

    def test_delay_holds_nothing_up_for_good():
        run = fault_runs.run(Fault("transaction.before_commit", "worker", 5, "delay:200"))
        assert (run.fired, run.said, run.faults) == (True, "right", [])


def test_release_module_has_no_points(monkeypatch):
    module = Path(miniray._miniray_core.__file__).read_bytes()
    names = written_points()
    assert len(names) >= 60
    assert [name for name in names if name.encode() in module] == []
    assert b"MINIRAY_FAULT" not in module
    assert [name for name in dir(miniray._miniray_core) if "fault" in name] == []
