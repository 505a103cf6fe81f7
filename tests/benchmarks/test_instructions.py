"""Every operation stays within its budget of instructions, which no other load of the machine changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.instructions import budgets, machine_key, off_budget
from benchmarks.instructions.operations import OPERATIONS
from benchmarks.instructions.stepper import RefusedError, build

ROOT = Path(__file__).resolve().parents[2]
COUNT = "import json, miniray; from benchmarks.instructions.operations import count_all; print(json.dumps(count_all(miniray)))"


def count_in_fresh_process() -> dict[str, int]:
    try:
        build()
    except RefusedError as error:
        pytest.skip(str(error))
    done = subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, capture_output=True, text=True, check=False)
    if "RefusedError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_operations_stay_within_their_budgets():
    found = count_in_fresh_process()
    assert list(found) == list(OPERATIONS)
    assert all(count > 100 for count in found.values())
    assert off_budget(found, budgets()) == [], machine_key()


@pytest.mark.parametrize(("count", "is_off"), [(949, True), (951, False), (1049, False), (1051, True)])
def test_budget_is_missed_by_more_than_five_percent_either_way(count, is_off):
    assert bool(off_budget({"submit": count}, {"submit": 1000})) == is_off
