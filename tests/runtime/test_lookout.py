"""More workers than processors, here one: tasks begin when others run long or wait for them, also when the lookout is stopped or dies."""

import contextlib
import os
import signal
import time

import pytest

import miniray
from helpers.states import is_gone, is_stopped, wait_until
from miniray._runtime import machine

WORKERS = 6


@pytest.fixture
def start(monkeypatch):
    """Start a session on what seems to be a machine with one processor."""
    monkeypatch.setattr(machine, "cpu_count", lambda: 1)

    def start(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        miniray.init(num_cpus=WORKERS, log_to_driver=False)

    yield start
    miniray.shutdown()


@miniray.remote
def pid_of():
    return os.getpid()


@miniray.remote
def meet(folder, count):
    """Wait until so many of us run."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < count:
        time.sleep(0.001)
    return os.getpid()


@miniray.remote
def burn(folder, count):
    """Do the same, and keep a processor busy."""
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < count:
        pass
    return os.getpid()


@pytest.mark.parametrize("task", [meet, burn])
def test_tasks_that_wait_for_one_another_all_begin(start, task, tmp_path):
    start()
    pids = miniray.get([task.remote(tmp_path, WORKERS) for _ in range(WORKERS)])
    assert len(set(pids)) == WORKERS


def test_tasks_that_wait_begin_behind_many_short_ones(start, tmp_path):
    start()
    short = [pid_of.remote() for _ in range(2000)]
    pids = miniray.get([meet.remote(tmp_path, WORKERS) for _ in range(WORKERS)])
    assert len(set(pids)) == WORKERS
    assert len(miniray.get(short)) == 2000


def test_nested_tasks_begin(start):
    @miniray.remote
    def tree(depth):
        return 1 if depth == 0 else sum(miniray.get([tree.remote(depth - 1) for _ in range(3)]))

    start()
    assert miniray.get(tree.remote(4)) == 81


def test_actors_begin_beside_tasks_that_run(start, tmp_path):
    @miniray.remote(num_cpus=1)
    class Host:
        def pid(self):
            return os.getpid()

    start()
    met = [meet.remote(tmp_path, 3) for _ in range(2)]
    hosts = [Host.remote() for _ in range(3)]
    assert len({*miniray.get([host.pid.remote() for host in hosts])}) == 3
    assert len({*miniray.get([*met, meet.remote(tmp_path, 3)])}) == 3


@pytest.fixture
def lookout(start, tmp_path):
    """Give a start that keeps one task running and tells which worker will be the lookout for the next; let the task end."""
    gates = [tmp_path / f"gate {i}" for i in range(4)]
    idle = []

    @miniray.remote
    def held(gate):
        gate.with_suffix(".reached").touch()
        while not gate.exists():
            time.sleep(0.001)
        return os.getpid()

    def begin(**environment):
        start(**environment)
        everybody = tmp_path / "everybody"
        everybody.mkdir()
        miniray.get([meet.remote(everybody, WORKERS) for _ in range(WORKERS)])
        refs = [held.remote(gate) for gate in gates[:3]]
        wait_until(lambda: len([*tmp_path.glob("*.reached")]) == 3, "three run")
        for gate, ref in zip(
            gates, refs, strict=False
        ):  # one by one: who has been idle for the shortest time is asked first
            gate.touch()
            idle.append(miniray.get(ref))
        busy = held.remote(gates[3])
        assert idle.pop() not in idle
        return idle[-1], busy

    yield begin
    gates[3].touch()
    with contextlib.suppress(ProcessLookupError):
        os.kill(idle[-1], signal.SIGCONT)


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), "the lookout is stopped")


def test_waiting_driver_relieves_a_stopped_lookout(lookout):
    pid, _ = lookout(RAY_memory_monitor_refresh_ms="0")  # so the supervisor sleeps
    stop(pid)
    done, late = miniray.wait([pid_of.remote() for _ in range(2)], num_returns=1)
    assert miniray.get(done[0]) != pid
    os.kill(pid, signal.SIGCONT)
    assert miniray.get(late) == [pid]


def test_supervisor_relieves_a_stopped_lookout(lookout, tmp_path):
    @miniray.remote
    def note():
        (tmp_path / str(os.getpid())).touch()

    pid, _ = lookout()
    stop(pid)
    refs = [note.remote() for _ in range(2)]
    wait_until(lambda: len([name for name in os.listdir(tmp_path) if name.isdigit()]) == 1, "another runs a task")
    assert not (tmp_path / str(pid)).exists()
    os.kill(pid, signal.SIGCONT)
    miniray.get(refs)
    assert (tmp_path / str(pid)).exists()


def test_killed_lookout_is_followed_by_another(lookout):
    pid, _ = lookout()
    stop(pid)
    refs = [pid_of.remote() for _ in range(3)]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), "the lookout has ended")
    assert pid not in miniray.get(refs)


def test_session_ends_with_a_stopped_lookout(lookout):
    pid, held = lookout()
    stop(pid)
    refs = [pid_of.remote() for _ in range(2)]
    miniray.shutdown()
    wait_until(lambda: is_gone(pid), "the lookout has ended")
    del refs, held
