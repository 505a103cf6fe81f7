"""A worker is stopped in user code: others go on, and so does it after SIGCONT."""

import contextlib
import os
import signal
import time

import pytest

from helpers.programs import KIND_WORKER, pids_of
from helpers.states import wait_until
from miniray.exceptions import GetTimeoutError


@pytest.fixture
def stopped(ray, tmp_path):
    """Give the process that a task is stopped in, its ref, and what lets the task end."""
    gate = tmp_path / "gate"
    note = tmp_path / "note"

    @ray.remote
    def task():
        note.write_text(str(os.getpid()))
        while not gate.exists():
            time.sleep(0.001)
        return os.getpid()

    ref = task.remote()
    wait_until(lambda: note.exists() and note.read_text(), "the task runs")
    pid = int(note.read_text())
    os.kill(pid, signal.SIGSTOP)
    with open(f"/proc/{pid}/stat") as file:
        wait_until(lambda: file.seek(0) == 0 and file.read().rpartition(")")[2].split()[0] == "T", "it stops")
    yield pid, ref, gate
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_stopped_worker_goes_on_after_sigcont(ray, stopped):
    pid, ref, gate = stopped
    gate.touch()
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.2)
    assert ray.wait([ref], timeout=0) == ([], [ref])
    os.kill(pid, signal.SIGCONT)
    assert ray.get(ref) == pid
    assert pid in pids_of(KIND_WORKER)


def test_other_tasks_go_on_beside_a_stopped_worker(ray, stopped):
    pid, ref, gate = stopped
    assert ray.get([ray.remote(lambda i: i + 1).remote(i) for i in range(50)]) == list(range(1, 51))
    gate.touch()
    os.kill(pid, signal.SIGCONT)
    assert ray.get(ref) == pid


def test_session_ends_with_a_stopped_worker(ray, stopped):
    ray.shutdown()
    pid, _, _ = stopped
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    ray.init(num_cpus=1, log_to_driver=False)
