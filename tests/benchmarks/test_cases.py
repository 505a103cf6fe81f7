"""Every case and every curve runs on miniray, with tiny counts; the figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.curves import CURVES

ROOT = Path(__file__).resolve().parents[2]
# A point below and one above the middle of each curve; sessions of many workers take long.
POINTS = [f"{curve.name}@{x}" for curve in CURVES.values() for x in (curve.xs[1], curve.xs[3])]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("quick") / "run.json"
    chosen = [part for name in [*CASES, *POINTS] for part in ("--only", name)]
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--engines", "miniray", *chosen]
    done = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(file.read_text())["rows"]


@pytest.mark.parametrize("name", [*CASES, *POINTS])
def test_case_takes_a_sample_of_miniray(rows, name):
    assert rows[name]["gaps"] == {}
    assert len(rows[name]["samples"]["miniray"]) == 1


def test_each_case_has_a_name_of_its_own():
    from benchmarks.cases import SUBJECTS

    names = [case.name for cases in SUBJECTS.values() for case in cases]
    assert len(names) == len(set(names))
    assert not [name for name in names if "@" in name or name in CURVES]
