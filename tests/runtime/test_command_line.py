"""``python -m miniray`` beside live programs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.states import is_gone, segments, wait_until
from miniray import _miniray_core as core

LINE_WIDTH = 100

PROGRAM = """
ray.init(num_cpus=2, object_store_memory=200_000_000)
def make(size):
    return ray.put(bytes(size))
kept = [make(10_000_000), make(30_000)]
@ray.remote
def hold(refs, path):
    while not os.path.exists(path): time.sleep(0.01)
running = hold.remote(kept, "/nowhere")
never = ray.remote(lambda: 1).options(num_cpus=64).remote()
while core._statistics()["running"] != 1 or len(core._processes()) < 4: time.sleep(0.01)
ready()
sys.stdin.readline()
"""


def run(*words):
    """Run a command; return exit code, output and errors."""
    done = subprocess.run([sys.executable, "-m", "miniray", *words], capture_output=True, text=True)
    assert all(len(line) <= LINE_WIDTH for line in done.stdout.splitlines()), done.stdout
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def program(start_program):
    """Give a program that records call sites, runs one task and waits for resources that do not exist; end it in order."""
    program = start_program(PROGRAM, RAY_record_ref_creation_sites="1")
    program.wait_ready()
    yield program
    program.finish()
    program.expect_nothing_left()


def test_memory_lists_objects_with_holders_and_lines(program):
    code, out, err = run("memory", "--session", program.session)
    assert (code, err) == (0, "")
    assert f"Session {program.session}: driver {program.process.pid}" in out
    (line,) = (line for line in out.splitlines() if "9.5 MiB" in line and " sealed " in line and "heap " in line)
    assert "driver, worker" in line
    assert re.search(r"<string>:\d+ make$", line)


def test_memory_as_json_holds_the_same_for_programs(program):
    code, out, err = run("memory", "--session", program.session, "--format", "json", "--sort-by", "callsite")
    assert (code, err) == (0, "")
    (report,) = json.loads(out)["sessions"]
    assert report["session"]["driver_pid"] == program.process.pid
    made = [row for row in report["objects"] if (row["call_site"] or "").endswith(" make")]
    assert [row["size_bytes"] // 10_000 for row in made] == [1000, 3]
    assert {holder["process"] for holder in made[0]["holders"]} == {"driver", "worker"}
    assert report["total"]["objects"] == len(report["objects"]) == report["session"]["objects"]


def test_memory_of_all_sessions_names_this_one(program):
    code, out, _ = run("memory", "--format", "json", "--limit", "1")
    assert code == 0
    reports = {report["session"]["name"]: report for report in json.loads(out)["sessions"]}
    assert len(reports[program.session]["objects"]) == 1


def test_memory_sums_by_line_and_by_process(program):
    code, out, _ = run("memory", "--session", program.session, "--group-by", "callsite")
    assert code == 0
    assert re.search(r" 2  <string>:\d+ make\n", out)
    code, out, _ = run("memory", "--session", program.session, "--group-by", "pid", "--limit", "1")
    assert code == 0
    assert f"driver {program.process.pid}" in out


def test_status_shows_resources_store_workers_and_demands_that_cannot_be_met(program):
    code, out, err = run("status")
    assert (code, err) == (0, "")
    (text,) = (text for text in out.split("\n\n") if f"Session {program.session}" in text)
    assert "of 190.7 MiB used; size by init(object_store_memory=...)" in text
    assert "CPU 1 of 2 used" in text
    assert "1 running" in text
    assert "1 task for CPU 64: can never run" in text


def test_unknown_session_is_told_with_exit_code_one():
    code, out, err = run("memory", "--session", "0000notthere")
    assert (code, out) == (1, "")
    assert "no such session" in err


def test_damaged_session_is_told_with_exit_code_three(program):
    name = f"test{os.getpid()}damaged"
    control = Path(f"/dev/shm/miniray_{name}_scheduler")
    # Cut off behind the header, which names a process that lives: no other program removes it meanwhile.
    with Path(f"/dev/shm/miniray_{program.session}_scheduler").open("rb") as whole:
        header = whole.read(1 << 20)
    control.touch(0o600)
    try:
        control.write_bytes(header)
        code, out, err = run("memory", "--session", name)
    finally:
        control.unlink()
    assert (code, out) == (3, "")
    assert "damaged" in err


def test_reader_that_goes_away_is_no_error(program):
    command = f"{sys.executable} -m miniray memory --session {program.session} --limit 0 --format json"
    done = subprocess.run(["/bin/sh", "-c", f"{command} | head -n 1"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_commands_run_while_workers_are_killed(start_program):
    program = start_program(
        "ray.init(num_cpus=2, log_to_driver=False)\n"
        "ref = ray.put(bytes(10**6))\n"
        "@ray.remote(max_retries=-1)\n"
        "def hold(refs): time.sleep(600)\n"
        "running = [hold.remote([ref]) for _ in range(2)]\n"
        "while core._statistics()['running'] != 2: time.sleep(0.01)\n"
        "ready()\nsys.stdin.readline()\n"
    )
    program.wait_ready()
    for _ in range(3):
        wait_until(lambda: len(worker_holders(program)) == 2, "both workers hold the object")
        workers = worker_holders(program) or {program.others[-1]}  # a look may come in the middle of a change
        os.kill(next(iter(workers)), 9)
        assert run("memory", "--session", program.session)[::2] == (0, "")
        assert run("status")[::2] == (0, "")
        wait_until(lambda before=workers: len(worker_holders(program) - before) == 1, "another worker holds the object")
    program.finish()
    program.expect_nothing_left()


def worker_holders(program):
    """Return the workers that hold an object of the program."""
    return {holder[0] for row in core._observe_objects(program.session) for holder in row[7] if holder[1] == "worker"}


def test_clean_removes_what_a_dead_program_left_and_no_live_session(start_program, program):
    dead = start_program("ray.init(num_cpus=1)\nkept = ray.put(bytes(10**6))\nready()\nsys.stdin.read()")
    dead.wait_ready()
    processes = (dead.process.pid, *dead.others)
    for signal_number in (19, 9):  # stopped first, so that none sees another's end
        for pid in processes:
            os.kill(pid, signal_number)
    dead.process.wait()
    wait_until(lambda: all(map(is_gone, dead.others)), "all are gone")
    left = any(dead.session in name for name in segments())
    code, out, err = run("clean")
    assert (code, err) == (0, "")
    assert not any(dead.session in name for name in segments())
    # A program that started in between may have been faster.
    assert f"removed {dead.session}: " in out or not left or "removed" not in out
    assert sum(program.session in name for name in segments()) == 2
    assert run("memory", "--session", program.session)[0] == 0
