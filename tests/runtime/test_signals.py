"""Signals: handlers that call miniray, SIGTERM to workers and to the supervisor, Ctrl-Z and fg in a terminal."""

from __future__ import annotations

import itertools
import os
import pty
import signal
import subprocess
import sys
import time

from helpers.programs import KIND_SUPERVISOR, KIND_WORKER, pids_of, supervisor_pid
from helpers.states import is_stopped, wait_until
from miniray import _miniray_core as core


def test_signal_handler_may_call_miniray(ray):
    """The handler comes in the middle of calls, its own among them, hundreds of times."""
    calls, numbers = [], itertools.count()
    square = ray.remote(lambda i: i * i)
    kept = ray.put("kept")

    def handler(number, frame):
        i = next(numbers)
        ref = square.remote(i)
        calls.append((i, ref, ray.get(ray.put(i)), ray.get(kept)))
        if i % 50 == 0:
            ray.wait([ref])

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        rounds = 0
        while len(calls) < 500:
            refs = [square.remote(i) for i in range(20)]
            assert ray.get(refs) == [i * i for i in range(20)]
            assert len(ray.get(ray.put(bytes(100_000)))) == 100_000
            assert len(ray.wait([square.remote(3)], timeout=None)[0]) == 1
            rounds += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rounds > 0
    assert sorted(i for i, _, _, _ in calls) == list(range(len(calls)))
    assert all((value, text) == (i, "kept") for i, _, value, text in calls)
    assert ray.get([ref for _, ref, _, _ in calls]) == [i * i for i, _, _, _ in calls]
    assert core._validate() is None


def test_signal_handler_in_a_task_may_call_miniray(ray):
    @ray.remote
    def task():
        calls, numbers = [], itertools.count()

        def handler(number, frame):
            i = next(numbers)
            calls.append(ray.get(ray.put(i)) == i)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(calls) < 50:
            assert ray.get(ray.remote(lambda: 5).remote()) == 5
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return calls

    assert set(ray.get(task.remote())) == {True}


def test_terminated_idle_worker_is_replaced(ray):
    ray.get([ray.remote(lambda: 1).remote() for _ in range(9)])
    wait_until(lambda: len(pids_of(KIND_WORKER)) == 2, "two workers")
    old = pids_of(KIND_WORKER)
    for pid in old:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: len(new := pids_of(KIND_WORKER)) == 2 and not set(new) & set(old), "two others")
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(50)]) == list(range(50))


def test_task_of_a_terminated_worker_runs_again(ray, tmp_path):
    @ray.remote
    def task():
        first = not (tmp_path / "runs").exists()
        with (tmp_path / "runs").open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        while first:
            time.sleep(0.001)
        return "done"

    ref = task.remote()
    wait_until(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text().endswith("\n"), "it runs")
    os.kill(int((tmp_path / "runs").read_text()), signal.SIGTERM)
    assert ray.get(ref) == "done"
    assert len(set((tmp_path / "runs").read_text().split())) == 2


def test_task_may_handle_the_signal_itself(ray):
    @ray.remote(max_retries=0)
    def task():
        seen = []
        signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return seen

    assert ray.get(task.remote()) == [signal.SIGTERM]


def test_terminated_supervisor_is_replaced(ray):
    ray.get(ray.remote(lambda: 1).remote())
    old = supervisor_pid()
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: len(found := pids_of(KIND_SUPERVISOR)) == 1 and found != [old], "another supervisor")
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(50)]) == list(range(50))


# A shell with job control: runs one program in the foreground, and again in the foreground when it has been stopped.
SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        print("ended", os.waitstatus_to_exitcode(status), flush=True)
        break
    print("stopped", job, flush=True)
    assert sys.stdin.readline() == "fg\\n"
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
"""

IN_THE_FOREGROUND = """
import os, time
import miniray as ray
from miniray import _miniray_core as core
ray.init(num_cpus=2, object_store_memory=8 << 20)
f = ray.remote(max_retries=0)(lambda i: i)
ray.get([f.remote(i) for i in range(20)])
while len(core._processes()) < 4: time.sleep(0.001)
begun = {pid for pid, _, _, _ in core._processes()}
print("begun", flush=True)
while not os.path.exists(GATE):
    assert ray.get([f.remote(i) for i in range(100)]) == list(range(100))
assert {pid for pid, _, _, _ in core._processes()} == begun
assert core._validate() is None
print("right", flush=True)
"""


def test_job_control_stops_and_continues_a_program(tmp_path):
    gate = tmp_path / "gate"
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", SHELL, f"GATE = {str(gate)!r}\n{IN_THE_FOREGROUND}"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        said = b""

        def hear(word):
            nonlocal said
            while word not in said:
                said += os.read(ours, 4096)
            said = said.partition(word)[2]

        hear(b"begun")
        for _ in range(3):
            os.write(ours, b"\x1a")  # Ctrl-Z
            hear(b"stopped ")
            while b"\n" not in said:
                said += os.read(ours, 4096)
            job = int(said.split()[0])
            wait_until(lambda job=job: is_stopped(job), "it stands still")
            os.write(ours, b"fg\n")
            wait_until(lambda job=job: not is_stopped(job), "it goes on")
        gate.touch()
        hear(b"right")
        hear(b"ended 0")
        assert shell.wait() == 0
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
