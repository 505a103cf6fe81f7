"""Every example runs as its reader would run it, prints what it promises, and leaves nothing behind."""

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHARED_MEMORY = Path("/dev/shm")
TIMEOUT_SECONDS = 120
TOKEN = "MINIRAY_EXAMPLE_TEST"  # environment variable that marks a program and everything it starts

# For each file: its arguments, and regular expressions that must be found in its output, in this order.
EXPECTED = {
    "async_service.py": (
        [],
        [
            r"^900 requests answered, all right: True$",
            r"^50 answers computed; at most \d{2,} requests at once$",
            r"^unknown page: \(404, ",
            r"given up; running now: 0$",
        ],
    ),
    "first_program.py": ([], [r"\(add pid=\d+\)\S* computing 3 \+ 5", r"^Result: 8$"]),
    "grid_search.py": (
        ["--rows", "150", "--other", "threading"],
        [r"^miniray +[\d.]+ s: {'C': ", r"^threading +[\d.]+ s: {'C': ", r"^the same scores: True$"],
    ),
    "matrix_blocks.py": ([], [r"^6 tasks, 216 MB of arguments, 36 MB copied$", r"process: True$", r"writing: True$"]),
    "monte_carlo_pi.py": ([], [r"^ 10 of 40 tasks: ", r"^ 40 of 40 tasks: pi is about 3\.14"]),
    "out_of_core.py": (
        ["--megabytes", "48"],
        [
            r"^sorted 50 MB in ",
            r"^on disk after the first step: 1\d of 24 blocks, ",
            r"limit: True$",
            r"one process: True$",
            r"left on disk: True$",
        ],
    ),
    "parameter_server.py": (
        [],
        [r"^step    0: error \d", r"^step  400: error 0\.0\d\d$", r"^found the weights of the data: True$"],
    ),
    "retry_a_crash.py": (
        [],
        [r"^default retries: second attempt$", r"^no retries: +WorkerCrashedError$", r"^other tasks: +still working$"],
    ),
    "shared_model.py": (
        ["--megabytes", "40"],
        [
            r"^a model of 40 MB: put in \d+ us, got in \d+ us$",
            r"^version 1: scores right: True; ",
            r"^version 3: scores right: True; ",
            r"^own memory of no process grew by more than [0-4]\.\d MB$",
        ],
    ),
    "source_census.py": (
        ["--limit", "60", "--num-cpus", "2"],
        [
            r"^Python \S+: 60 files, [\d.]+ MB, [\d,]+ lines",
            r"^all packages +60 ",
            r"^import +of files",
            r"^ *branches +function",
            r"^lines: half have up to \d+ bytes",
            r"^miniray +\d",
            r"^ProcessPoolExecutor +\d",
            r"^serial +\d",
            r"The results of all are equal\.$",
            r"handed over for one copy of 1\d\d MB, the put\.$",
        ],
    ),
    "streaming_pipeline.py": (
        [],
        [
            r"^the first 20 of 200 are done; the stage goes on: True$",
            r"^180 signals, 20 refused$",
            r"^in order of energy: \[\d+(, \d+){4}\] \.\.\.$",
            r"^a source without an end has ended: True$",
        ],
    ),
    "tree_search.py": (["--size", "6"], [r"^4 ways to place 6 queens", r"^(Q|\.)( (Q|\.)){5}$"]),
    "word_count_tree.py": (
        [],
        [r"^[\d,]+ words of five letters or more in the docstrings of 96 modules$", r"^ +\w+ +\d"],
    ),
}
NEEDS_NUMPY = {"matrix_blocks.py", "out_of_core.py", "parameter_server.py", "shared_model.py", "source_census.py"}


def test_no_example_is_forgotten():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))  # not `slow`: that the examples run is promised to every reader
def test_example_prints_what_it_promises_and_leaves_nothing_behind(name, tmp_path):
    if name in NEEDS_NUMPY:
        pytest.importorskip("numpy")
    arguments, patterns = EXPECTED[name]
    token = uuid.uuid4().hex
    segments_before = segments()

    program = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        check=False,
        cwd=tmp_path,  # an example may not depend on where it is started
        env={**os.environ, TOKEN: token},
        text=True,
        timeout=TIMEOUT_SECONDS,
    )

    shown = f"stdout:\n{program.stdout}\nstderr:\n{program.stderr}"
    assert program.returncode == 0, shown
    position = 0
    for pattern in patterns:
        found = re.compile(pattern, re.MULTILINE).search(program.stdout, position)
        assert found, f"no {pattern!r} (in this order) in {shown}"
        position = found.start()
    assert "Traceback" not in program.stderr, shown
    assert list(tmp_path.iterdir()) == []
    assert eventually_empty(lambda: processes_with(token)) == []
    assert eventually_empty(lambda: segments() - segments_before - mapped_segments()) == set()


def test_missing_scikit_learn_is_told():
    code = f"import sys, runpy; sys.modules['sklearn'] = None; runpy.run_path({str(EXAMPLES / 'grid_search.py')!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert ended.returncode == 1
    assert "This example needs scikit-learn" in ended.stderr


def segments():
    """Return the names of all segments that exist, of whatever program."""
    return {path.name for path in SHARED_MEMORY.glob("miniray_*")}


def mapped_segments():
    """Return the names of segments that a living process has mapped: another program's, since ours has ended."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            found.update(re.findall(r"/dev/shm/(miniray_\S+)", maps.read_text()))
        except OSError:  # gone, or somebody else's
            continue
    return found


def processes_with(token):
    """Return the ids of living processes that inherited the token."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{TOKEN}={token}".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


def eventually_empty(list_leftovers, patience_seconds=2.0):
    """Return what is left; processes that end have this long to do so."""
    deadline = time.monotonic() + patience_seconds
    while (left := list_leftovers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
