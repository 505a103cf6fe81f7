"""Who ends, and who notices: unreaped drivers, the GIL in C, a main thread that ends, slow deaths, killed supervisors."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import signal
import threading
import time
from pathlib import Path

import pytest

import miniray
from helpers.programs import KIND_SUPERVISOR, KIND_WORKER, pids_of, supervisor_pid
from helpers.states import LOST_SECONDS, is_gone, wait_until
from miniray import _miniray_core as core
from miniray._runtime import runtime
from miniray.exceptions import GetTimeoutError, WorkerCrashedError

BLOCKED = 3  # process_table.hpp WorkerState

BUSY_IN_C = """
ray.init(num_cpus=2, object_store_memory=16 << 20)
def keep_the_gil(i):
    open(f"{folder}/{i}", "w").close()
    ctypes.PyDLL(None).sleep(600)
refs = [ray.remote(keep_the_gil).remote(i) for i in range(2)]
while len(os.listdir(folder)) < 2: time.sleep(0.001)
ready()
sys.stdin.read()
"""


@pytest.mark.parametrize("with_supervisor", [False, True], ids=["driver", "driver and supervisor"])
def test_workers_that_keep_the_gil_in_c_end_with_a_killed_driver(start_program, tmp_path, with_supervisor):
    program = start_program(f"import ctypes\nfolder = {str(tmp_path)!r}\n{BUSY_IN_C}")
    program.wait_ready()
    assert len(program.others) == 3
    if with_supervisor:
        program.process.send_signal(signal.SIGSTOP)  # it must not start another
        os.kill(program.others[0], signal.SIGKILL)
    program.process.kill()
    program.expect_nothing_left()  # the driver is a zombie meanwhile: its parent has not asked for its status
    assert program.process.wait(LOST_SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize("disposition", ["SIG_IGN", "SIG_DFL"])
def test_program_that_reaps_all_children_disturbs_nothing(start_program, disposition):
    program = start_program(
        "import signal, threading\n"
        f"signal.signal(signal.SIGCHLD, signal.{disposition})\n"
        "def reap():\n"
        "    while True:\n"
        "        try: os.wait()\n"
        "        except ChildProcessError: time.sleep(0.001)\n"
        "threading.Thread(target=reap, daemon=True).start()\n"
        "ray.init(num_cpus=2)\n"
        "f = ray.remote(max_retries=-1)(lambda i: i)\n"
        "for _ in range(3):\n"
        "    for pid in [pid for pid, kind, _, _ in core._processes() if kind in (2, 3)]: os.kill(pid, 9)\n"
        "    assert ray.get([f.remote(i) for i in range(100)]) == list(range(100))\n"
        "ready()\n"
        "sys.stdin.read()\n"
        "ray.shutdown()\n"
        "print('well')\n"
    )
    program.wait_ready()
    assert program.finish() == (0, "well\n", "")
    program.expect_nothing_left()


def test_zombies_and_reaped_children_of_a_task_disturb_nothing(ray):
    @ray.remote
    def make_zombies():
        for _ in range(5):
            if os.fork() == 0:
                os._exit(0)
        return os.waitpid(-1, 0)[1]

    assert ray.get([make_zombies.remote() for _ in range(10)]) == [0] * 10
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(20)]) == list(range(20))


def end_this_thread():
    """End the calling thread, and only it, as pthread_exit does."""
    ctypes.CDLL(None).syscall(93 if os.uname().machine == "aarch64" else 60, 0)  # SYS_exit


@pytest.mark.parametrize("is_adopted", [False, True], ids=["own worker", "adopted worker"])
def test_worker_whose_main_thread_ends_is_ended(ray, is_adopted):
    ray.get([ray.remote(lambda: 1).remote() for _ in range(9)])
    if is_adopted:
        replace_supervisor()

    def leave_a_thread_behind():
        threading.Thread(target=time.sleep, args=(600,)).start()
        end_this_thread()

    with pytest.raises(WorkerCrashedError) as caught:
        ray.get(ray.remote(max_retries=1)(leave_a_thread_behind).remote())
    assert caught.value.attempts == 2
    assert "the main thread of this worker ended while other threads ran on" in caught.value.output_tail
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(20)]) == list(range(20))
    assert core._validate() is None


def test_other_threads_of_a_worker_may_end_like_that(ray):
    @ray.remote
    def end_a_thread():
        thread = threading.Thread(target=end_this_thread, daemon=True)
        before = len(os.listdir("/proc/self/task"))
        thread.start()  # which takes the GIL with it unless ctypes released it: it did
        wait_until(lambda: len(os.listdir("/proc/self/task")) == before, "the thread ends")
        return os.getpid()

    assert ray.get(end_a_thread.remote()) in pids_of(KIND_WORKER)


class SlowDeath:
    """Holds a process back in its death, as the writing of a large core dump does: ended for its code, not for others."""

    _SEIZE, _DETACH, _TRACE_EXIT, _EVENT_EXIT, _WALL = 0x4206, 17, 0x40, 6, 0x40000000

    def __init__(self, pid):
        self._pid = pid
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        assert self._libc.ptrace(self._SEIZE, pid, None, self._TRACE_EXIT) == 0, os.strerror(ctypes.get_errno())

    def wait_until_it_dies(self):
        while True:
            _, status = os.waitpid(self._pid, self._WALL)
            if status >> 8 == (signal.SIGTRAP | self._EVENT_EXIT << 8):
                return
            assert os.WIFSTOPPED(status), status
            assert self._libc.ptrace(7, self._pid, None, os.WSTOPSIG(status)) == 0  # PTRACE_CONT: with its signal

    def let_it_end(self):
        assert self._libc.ptrace(self._DETACH, self._pid, None, None) == 0


@pytest.mark.needs_root  # to trace a process that is not a child
def test_nothing_of_a_worker_is_touched_before_its_death_is_complete(ray, tmp_path):
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    @ray.remote(max_retries=0)
    def crash():
        begun.write_text(str(os.getpid()))
        while not gate.exists():
            time.sleep(0.001)
        ctypes.string_at(0)

    ref = crash.remote()
    wait_until(lambda: begun.exists() and begun.read_text(), "the task begins")
    death = SlowDeath(int(begun.read_text()))
    gate.touch()
    death.wait_until_it_dies()
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(50)]) == list(range(50))
    assert int(begun.read_text()) in pids_of(KIND_WORKER)
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.1)
    death.let_it_end()
    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        ray.get(ref)
    assert core._validate() is None


def test_killed_sleeper_does_not_keep_the_others_asleep(ray, tmp_path):
    """Several processes and threads wait for one object; some are killed asleep."""
    gate = tmp_path / "gate"

    @ray.remote
    def make():
        while not gate.exists():
            time.sleep(0.001)
        return "made"

    @ray.remote(max_retries=0, num_cpus=0)
    def wait_for(refs, i):
        (tmp_path / f"waiter-{i}").write_text(str(os.getpid()))
        return ray.get(refs[0])

    ref = make.remote()
    waiters = [wait_for.remote([ref], i) for i in range(6)]
    wait_until(lambda: len([path for path in tmp_path.glob("waiter-*") if path.read_text()]) == 6, "all have begun")
    wait_until(lambda: sum(state == BLOCKED for _, _, state, _ in core._processes()) == 6, "all sleep")
    for i in (0, 3, 5):
        os.kill(int((tmp_path / f"waiter-{i}").read_text()), signal.SIGKILL)
    found = []
    thread = threading.Thread(target=lambda: found.append(ray.get(ref)))
    thread.start()
    gate.touch()
    for i, waiter in enumerate(waiters):
        if i in (0, 3, 5):
            with pytest.raises(WorkerCrashedError):
                ray.get(waiter)
        else:
            assert ray.get(waiter) == "made"
    thread.join()
    assert found == ["made"]


def living(kind):
    return [pid for pid in pids_of(kind) if not is_gone(pid)]


def replace_supervisor():
    old = supervisor_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: len(found := pids_of(KIND_SUPERVISOR)) == 1 and found != [old], "another supervisor")


def test_supervisor_killed_under_load_loses_nothing(ray, tmp_path):
    """Supervisors and workers are killed while thousands of tasks run, nest, and pass objects on."""
    choice = random.Random(11)

    @ray.remote(max_retries=-1)
    def square(i):
        return i * i

    @ray.remote(max_retries=-1)
    def outer(i, part):
        return sum(ray.get([square.remote(i + k) for k in range(5)])) + len(part)

    part = ray.put(bytes(200_000))
    simple, nested = [], []
    for step in range(20):
        simple += [square.remote(step * 200 + i) for i in range(200)]
        nested.append(outer.remote(step, part))
        kind = KIND_SUPERVISOR if step % 4 else KIND_WORKER
        victims: list[int] = []
        wait_until(lambda kind=kind, found=victims: found.extend(living(kind)) or found, "somebody to kill")
        with contextlib.suppress(ProcessLookupError):  # a worker may have ended with its supervisor just now
            os.kill(choice.choice(victims), signal.SIGKILL)
    assert ray.get(simple) == [i * i for i in range(len(simple))]
    assert ray.get(nested) == [sum((i + k) ** 2 for k in range(5)) + 200_000 for i in range(20)]
    wait_until(lambda: len(pids_of(KIND_SUPERVISOR)) == 1 and len(pids_of(KIND_WORKER)) == 2, "the pool is whole")
    assert core._validate() is None


def test_call_is_served_whose_ring_only_a_killed_supervisor_heard(monkeypatch):
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # which would look at everything again and again
    ray = miniray
    ray.init(num_cpus=2, log_to_driver=False)

    @ray.remote(max_retries=-1)
    def outer():
        return ray.get(ray.remote(max_retries=-1)(lambda: "inner").remote())

    wait_until(lambda: core._statistics()["workers"] == 2, "two workers")
    old = supervisor_pid()
    os.kill(old, signal.SIGSTOP)
    refs = [outer.remote() for _ in range(3)]
    doorbell = runtime.current()._doorbell_fd
    wait_until(lambda: select.select([doorbell], [], [], 0)[0], "somebody rings")
    os.read(doorbell, 8)
    for pid in (*pids_of(KIND_WORKER), old):
        os.kill(pid, signal.SIGKILL)
    assert ray.get(refs) == ["inner"] * 3  # two workers block: the third is started only for who rings
    ray.shutdown()


def test_tasks_that_run_while_the_supervisor_is_killed_run_once(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def task(i):
        with (tmp_path / f"runs-{i}").open("a") as runs:
            runs.write("x")
        while not gate.exists():
            time.sleep(0.001)
        return i

    refs = [task.remote(i) for i in range(8)]
    wait_until(lambda: len(list(tmp_path.glob("runs-*"))) == 2, "two run")
    for _ in range(3):
        replace_supervisor()
    gate.touch()
    assert ray.get(refs) == list(range(8))
    assert [Path(tmp_path / f"runs-{i}").read_text() for i in range(8)] == ["x"] * 8
