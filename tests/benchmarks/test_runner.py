"""The command runs end to end, and a case that fails or hangs on an engine is a gap, not the end of the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import catalog, runner
from benchmarks.cases.case import shorter
from benchmarks.hosts import Settings
from benchmarks.runner import Measurement

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def measure(engine, *names, **settings):
    measurement = Measurement([engine], Settings(is_quick=True, **settings), 2, lambda line: None)
    return measurement.measure([catalog.find(name) or shorter(name, name, "us", None) for name in names])


def test_samples_of_each_engine_are_written(tmp_path):
    file, table = tmp_path / "samples.json", tmp_path / "table.md"
    engines = "miniray,ProcessPoolExecutor,floor"
    chosen = ("--quick", "--only", "round_*", "--rounds", "2", "--engines", engines)
    done = run(*chosen, "--json", str(file), "--markdown", str(table))
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(file.read_text())
    row = content["rows"]["round_trip"]
    measured, gaps = row["samples"], row["gaps"]
    assert sorted([*measured, *gaps]) == sorted(engines.split(","))
    assert len(measured["miniray"]) == 2
    assert row["quartiles"]["miniray"][0] <= row["medians"]["miniray"] <= row["quartiles"]["miniray"][1]
    assert set(content["versions"]) == set(measured)
    assert content["machine"]["processors"] > 0
    assert "one task and its result" in done.stdout
    assert table.read_text().count("|") > 10


def test_missing_engine_is_named_with_the_reason():
    chosen = ("--quick", "--only", "round_trip", "--rounds", "1", "--engines", "miniray,ray")
    done = run(*chosen, "--ray-python", sys.executable)
    assert done.returncode == 0
    assert "ray: not measured, ray is not installed" in done.stdout


def test_cases_can_be_listed_and_chosen():
    listing = run("--list").stdout
    assert "batch_1000" in listing
    assert "task_length" in listing
    done = run("--only", "nothing_like_this")
    assert done.returncode != 0
    assert "batch_1000" in done.stderr


def test_curves_are_measured_when_they_are_asked_for():
    usual = [case.name for case in catalog.choose(None, with_long=False, with_curves=False)]
    assert "round_trip" in usual
    assert not [name for name in usual if "@" in name or name == "batch_100000"]
    with_curves = [case.name for case in catalog.choose(None, with_long=False, with_curves=True)]
    assert "queued@1000" in with_curves
    points = catalog.choose(["queued@1*"], with_long=False, with_curves=False)
    assert points[0].name == "queued@1"


def test_case_without_an_answer_is_a_gap_and_the_next_is_measured():
    hangs, works = measure("multiprocessing.Pool", "work_100_ms", "round_trip", limit_seconds=0.05)
    assert hangs.gaps == {"multiprocessing.Pool": "no answer within 0.05 s"}
    assert hangs.samples == {}
    assert len(works.samples["multiprocessing.Pool"]) == 2


def test_failed_case_is_a_gap_and_the_next_is_measured():
    missing, works = measure("multiprocessing.Pool", "nothing_like_this", "round_trip")
    assert missing.gaps == {"multiprocessing.Pool": "no such case"}
    assert len(works.samples["multiprocessing.Pool"]) == 2


@pytest.mark.parametrize("is_dead_before", [False, True])
def test_engine_whose_process_ends_is_started_again(monkeypatch, is_dead_before):
    real = runner.Host.sample

    def kill_then_sample(host, case):
        if case == "batch_1000":
            os.kill(host.pid, 9)
            if is_dead_before:
                os.waitid(os.P_PID, host.pid, os.WEXITED | os.WNOWAIT)
        return real(host, case)

    monkeypatch.setattr(runner.Host, "sample", kill_then_sample)
    ended, works = measure("floor", "batch_1000", "round_trip")
    if ended.gaps["floor"] != "no C++ compiler":
        assert ended.gaps == {"floor": "its process ended with status -9"}
        assert len(works.samples["floor"]) == 2


def test_what_an_engine_does_not_offer_is_a_gap():
    (row,) = measure("ProcessPoolExecutor", "put_small")
    assert row.gaps == {"ProcessPoolExecutor": "not offered"}


def test_points_beyond_the_limit_of_an_engine_are_not_measured():
    (row,) = measure("ProcessPoolExecutor", "queued@1000000")
    assert row.gaps == {"ProcessPoolExecutor": "not measured beyond 100,000"}
