"""A worker that dies is explained: status or signal, its last words, the crash report, exec, closed descriptors, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import pytest

from helpers.programs import KIND_SUPERVISOR, KIND_WORKER, pids_of, supervisor_pid
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import GetTimeoutError, WorkerCrashedError


def death_of(ray, function, *arguments):
    with pytest.raises(WorkerCrashedError) as caught:
        ray.get(ray.remote(max_retries=0)(function).remote(*arguments))
    return caught.value


def test_last_words_are_all_there(ray):
    def speak():
        for i in range(30):
            print(f"line {i}", file=sys.stderr)
        os._exit(3)

    for _ in range(20):
        error = death_of(ray, speak)
        assert error.exit_code == 3
        assert error.signal is None
        assert error.output_tail.splitlines() == [f"line {i}" for i in range(10, 30)]
        assert "line 29" in str(error)


def test_crash_in_native_code_shows_where(ray):
    def crash_here():
        print("before", flush=True)
        ctypes.string_at(0)

    error = death_of(ray, crash_here)
    assert error.signal == "SIGSEGV"
    assert error.fault_report.startswith("Fatal Python error: Segmentation fault")
    assert "in crash_here" in error.fault_report
    assert "in crash_here" in str(error)
    assert error.output_tail == "before"


@pytest.mark.parametrize("end", [lambda: sys.exit(5), lambda: os._exit(5), lambda: ctypes.CDLL(None).exit(5)])
def test_exit_status_is_told(ray, end):
    error = death_of(ray, end)
    assert (error.exit_code, error.signal, error.attempts) == (5, None, 1)


def test_exit_with_status_zero_is_no_endless_retry(ray):
    with pytest.raises(WorkerCrashedError, match="exited with status 0, after 3 attempts"):
        ray.get(ray.remote(max_retries=2)(lambda: os._exit(0)).remote())


def test_exec_ends_the_worker_and_is_told(ray):
    error = death_of(ray, lambda: os.execv("/bin/sleep", ["sleep", "600"]))
    assert "called exec" in error.reason
    assert "sleep 600" in error.reason
    assert error.signal == "SIGKILL"
    assert "subprocess" in str(error)


def test_exec_in_an_adopted_worker_is_seen(ray):
    ray.get([ray.remote(lambda: 1).remote() for _ in range(9)])
    old = supervisor_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: len(found := pids_of(KIND_SUPERVISOR)) == 1 and found != [old], "another supervisor")
    assert "called exec" in death_of(ray, lambda: os.execv("/bin/sleep", ["sleep", "600"])).reason


def test_closed_descriptors_end_the_worker_and_are_told(ray):
    def close_all():
        os.closerange(3, 1024)
        time.sleep(600)

    assert "closed the descriptors" in death_of(ray, close_all).reason
    assert core._validate() is None
    assert ray.get(ray.remote(lambda: "well").remote()) == "well"


def test_child_that_keeps_the_pipe_hides_no_death(ray, tmp_path):
    child = tmp_path / "child"

    def fork_and_die():
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        child.write_text(str(pid))
        os._exit(4)

    try:
        assert death_of(ray, fork_and_die).exit_code == 4
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def test_stopped_worker_holds_only_its_own_task(ray, tmp_path):
    begun, gate = tmp_path / "begun", tmp_path / "gate"

    @ray.remote
    def wait_for_gate():
        begun.write_text(str(os.getpid()))
        while not gate.exists():
            time.sleep(0.001)
        return "done"

    ref = wait_for_gate.remote()
    wait_until(lambda: begun.exists() and begun.read_text(), "the task begins")
    pid = int(begun.read_text())
    os.kill(pid, signal.SIGSTOP)
    gate.touch()
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(20)]) == list(range(20))
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.05)
    os.kill(pid, signal.SIGCONT)
    assert ray.get(ref) == "done"


def test_statuses_are_known_whatever_the_program_does_with_its_children(start_program):
    program = start_program(
        "import signal\n"
        "from miniray.exceptions import WorkerCrashedError\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "ray.init(num_cpus=1)\n"
        "def status():\n"
        "    try: ray.get(ray.remote(max_retries=0)(lambda: os._exit(9)).remote())\n"
        "    except WorkerCrashedError as error: return error.exit_code\n"
        "ready()\n"
        "print(status())\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_DFL)\n"
        "supervisor = next(pid for pid, kind, _, _ in core._processes() if kind == 2)\n"
        "os.kill(supervisor, 9)\n"
        "try: os.waitpid(supervisor, 0)\n"  # takes the status away, or comes too late
        "except ChildProcessError: pass\n"
        "status()\n"  # of an adopted worker, which nobody can reap
        "print(status())\n"
        "ray.shutdown()\n"
    )
    program.wait_ready()
    assert program.finish() == (0, "9\n9\n", "")
    program.expect_nothing_left()


def test_signals_reach_workers_of_a_restarted_supervisor(ray):
    ray.get(ray.remote(lambda: 1).remote())
    old = supervisor_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: len(found := pids_of(KIND_SUPERVISOR)) == 1 and found != [old], "another supervisor")
    adopted = pids_of(KIND_WORKER)
    for pid in adopted:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(adopted) & set(pids_of(KIND_WORKER)), "only workers that the new supervisor forks")
    error = death_of(ray, lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(600)))
    assert error.signal == "SIGTERM"


def test_death_with_thousands_of_results_is_told_in_each(ray):
    refs = ray.remote(num_returns=3000, max_retries=0)(lambda: os._exit(3)).remote()
    for ref in refs:
        with pytest.raises(WorkerCrashedError):
            ray.get(ref)
    assert core._validate() is None
