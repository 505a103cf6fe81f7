"""The benchmarks run end to end; their figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_samples_of_each_engine_are_written(tmp_path):
    file, table = tmp_path / "samples.json", tmp_path / "table.md"
    engines = "miniray,ProcessPoolExecutor,floor"
    done = run(
        "--only", "round_*", "--rounds", "1", "--engines", engines, "--json", str(file), "--markdown", str(table)
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = json.loads(file.read_text())["rows"]["round_trip"]
    measured, gaps = row["samples"], row["gaps"]
    assert sorted([*measured, *gaps]) == sorted(engines.split(","))
    assert measured["miniray"][0] > 0
    assert "one task and its result" in done.stdout
    assert table.read_text().count("|") > 10


def test_missing_engine_is_named_with_the_reason():
    done = run("--only", "round_trip", "--rounds", "1", "--engines", "miniray,ray", "--ray-python", sys.executable)
    assert done.returncode == 0
    assert "ray: not measured, ray is not installed" in done.stdout


def test_cases_can_be_listed_and_chosen():
    assert "batch_1000" in run("--list").stdout
    done = run("--only", "nothing_like_this")
    assert done.returncode != 0
    assert "batch_1000" in done.stderr
