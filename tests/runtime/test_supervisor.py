"""The supervisor dies: another takes over, adopts the workers, and calls in flight do not notice."""

import os
import signal
import time
from pathlib import Path

import pytest

from helpers.programs import KIND_SUPERVISOR, KIND_WORKER, pids_of, supervisor_pid
from helpers.states import is_gone, wait_until
from miniray import _miniray_core as core
from miniray.exceptions import WorkerCrashedError


def replace_supervisor():
    old = supervisor_pid()
    os.kill(old, signal.SIGKILL)
    # The new one is there, and has cleared the old one's row away.
    wait_until(lambda: len(found := pids_of(KIND_SUPERVISOR)) == 1 and found != [old], "another supervisor")


@pytest.fixture
def workers(ray):
    ray.get([ray.remote(lambda: 1).remote() for _ in range(20)])
    # One that has a row but is no worker yet ends with the supervisor that it was forked from.
    wait_until(lambda: core._statistics()["idle_workers"] == 2, "two workers")
    return pids_of(KIND_WORKER)


def test_lists_of_processes_name_the_session_of_supervisor_and_workers(ray, workers):
    name = f"miniray_{ray.get_runtime_context().get_session_name()}".encode()
    for pid in (supervisor_pid(), *pids_of(KIND_WORKER)):
        assert name in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_workers_are_adopted(ray, workers):
    replace_supervisor()
    assert sorted(pids_of(KIND_WORKER)) == sorted(workers)
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(100)]) == list(range(100))
    assert core._validate() is None


def test_calls_in_flight_do_not_notice(ray, workers, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        while not gate.exists():
            time.sleep(0.001)
        return os.getpid()

    refs = [wait_for_gate.remote() for _ in range(2)]
    replace_supervisor()
    gate.touch()
    assert sorted(ray.get(refs)) == sorted(workers)


def test_death_of_an_adopted_worker_is_seen(ray, workers):
    replace_supervisor()
    pid_ref = ray.remote(max_retries=0)(lambda: (os.kill(os.getpid(), signal.SIGKILL), time.sleep(600))).remote()
    with pytest.raises(WorkerCrashedError):
        ray.get(pid_ref)
    wait_until(lambda: len(pids_of(KIND_WORKER)) == 2, "two workers again")
    assert ray.get(ray.remote(lambda: "well").remote()) == "well"


def test_worker_and_supervisor_killed_together(ray, workers):
    for pid in (supervisor_pid(), *workers):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, workers)), "they are gone")
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(100)]) == list(range(100))
    assert core._validate() is None


def test_supervisor_killed_again_and_again(ray, workers):
    for i in range(5):
        replace_supervisor()
        assert ray.get(ray.remote(lambda i: i).remote(i)) == i


def test_shutdown_with_a_stopped_supervisor(ray, workers):
    pid = supervisor_pid()
    os.kill(pid, signal.SIGSTOP)
    ray.shutdown()
    assert is_gone(pid)
    assert all(map(is_gone, workers))


def test_output_of_workers_still_arrives_after_the_change(start_program):
    program = start_program(
        "import signal\n"
        "ray.init(num_cpus=1)\n"
        "f = ray.remote(lambda: print('heard'))\n"
        "ray.get(f.remote())\n"
        "old = next(pid for pid, kind, _, _ in core._processes() if kind == 2)\n"
        "os.kill(old, signal.SIGKILL)\n"
        "while not [pid for pid, kind, _, _ in core._processes() if kind == 2 and pid != old]: time.sleep(0.01)\n"
        "ray.get([f.remote() for _ in range(3)])\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert out.count("heard") == 4


def test_supervisor_that_cannot_start_is_told_and_not_tried_for_ever(start_program):
    program = start_program(
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "f = ray.remote(lambda: 5)\n"
        "ray.get(f.remote())\n"
        "ready()\n"
        "for kind in ('scheduler', 'objectstore'): os.unlink(f'/dev/shm/miniray_{runtime.current().name}_{kind}')\n"
        "os.kill(next(pid for pid, kind, _, _ in core._processes() if kind == 2), 9)\n"
        "sys.stdin.readline()\n"
        "print(ray.get(f.remote()))\n"  # the worker lives
        "ray.shutdown()\n"
    )
    program.wait_ready()
    told = [program.process.stderr.readline() for _ in range(4)]
    assert all("the supervisor cannot start: there is no miniray_" in line for line in told[:3])
    assert "no supervisor can be started, so the workers that end are not replaced" in told[3]
    assert program.process.communicate("\n", timeout=60) == ("5\n", "")
    program.expect_nothing_left()


def test_huge_pages_are_asked_for_and_programs_of_tasks_do_not_see_it(ray, workers):
    with open(f"/proc/{supervisor_pid()}/environ", "rb") as file:
        assert b"glibc.malloc.hugetlb=" in file.read()
    assert ray.get(ray.remote(lambda: dict(os.environ)).remote()).get("GLIBC_TUNABLES") == os.environ.get(
        "GLIBC_TUNABLES"
    )


HOLD = """
import os, sys, time
if "miniray._runtime.supervisor" in " ".join(sys.orig_argv):
    folder = os.path.dirname(__file__)
    from miniray import _miniray_core as core
    adopt = core._session_adopt_after_fork
    def held():
        if os.path.exists(folder + "/held"):
            open(f"{folder}/starting-{os.getpid()}", "w").close()
            while os.path.exists(folder + "/held"): time.sleep(0.001)
        adopt()
    core._session_adopt_after_fork = held
"""


def test_worker_that_was_starting_when_its_supervisor_died_does_not_live_unseen(start_program, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HOLD)
    (tmp_path / "held").touch()
    program = start_program(
        "import glob\n"
        f"folder = {str(tmp_path)!r}\n"
        "def pids(kind): return {pid for pid, found, _, _ in core._processes() if found == kind}\n"
        "def starting(): return {int(name.split('-')[-1]) for name in glob.glob(folder + '/starting-*')}\n"
        "def wait(condition):\n"
        "    while not condition(): time.sleep(0.001)\n"
        "ray.init(num_cpus=1, log_to_driver=False)\n"
        "wait(lambda: len(starting()) == 1)\n"
        "(old,), (first,) = pids(2), starting()\n"
        "os.kill(old, 9)\n"
        "wait(lambda: pids(2) and pids(2) != {old} and len(starting()) == 2)\n"  # the next one has looked for workers
        "os.unlink(folder + '/held')\n"
        "wait(lambda: len(pids(3)) == 1 and first not in pids(3))\n"
        "wait(lambda: not os.path.exists(f'/proc/{first}') or open(f'/proc/{first}/stat').read().split()[2] == 'Z')\n"
        "print(ray.get(ray.remote(lambda: os.getpid()).remote()) in starting() - {first})\n",
        PYTHONPATH=str(tmp_path),
    )
    assert program.finish() == (0, "True\n", "")
