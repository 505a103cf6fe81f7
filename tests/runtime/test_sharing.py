"""Threads, forks and child processes of the driver and of tasks."""

import gc
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest

import miniray
from helpers.states import descriptors, wait_until
from miniray import _miniray_core as core


def test_eight_threads_submit_and_get(ray):
    square = ray.remote(lambda i: i * i)
    failures = []

    def work(number):
        try:
            for _ in range(20):
                values = [number * 1000 + i for i in range(50)]
                assert ray.get([square.remote(i) for i in values]) == [i * i for i in values]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_shutdown_while_another_thread_waits_ends_its_wait(ray, tmp_path):
    gate = tmp_path / "gate"
    waiting = ray.remote(lambda: [None for _ in iter(gate.exists, True)]).remote()
    outcome = []

    def wait():
        try:
            outcome.append(ray.get(waiting))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: core._statistics()["running"] == 1, "the task runs")
    ray.shutdown()
    thread.join()
    assert isinstance(outcome[0], ValueError)
    assert "shutdown" in str(outcome[0])


def test_refs_may_be_dropped_anywhere(ray):
    class Holder:
        def __init__(self):
            self.ref = ray.put(bytes(50_000))
            self.cycle = self

        def __del__(self):
            self.ref = None

    before = core._statistics()["objects"]
    for _ in range(50):
        Holder()
    refs = [ray.put(i) for i in range(1000)]
    dropping = threading.Thread(target=refs.clear)
    dropping.start()
    dropping.join()
    gc.collect()
    wait_until(lambda: core._statistics()["objects"] <= before, "the objects go")


def test_thirty_sessions_one_after_the_other():
    def session():
        miniray.init(num_cpus=1, log_to_driver=False)
        assert miniray.get(miniray.remote(lambda i: i).remote(5)) == 5
        miniray.shutdown()

    session()
    before = descriptors()
    for _ in range(30):
        session()
    assert descriptors() <= before


def test_forked_child_leaves_the_session_alone(ray):
    ref = ray.put(bytes(50_000))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            gc.collect()
            del ref
            code = int(miniray.is_initialized())
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(ray.get(ref)) == 50_000
    assert ray.get(ray.remote(lambda: 1).remote()) == 1


def test_forked_child_that_exits_normally_does_not_end_the_session(ray):
    ray.get(ray.remote(lambda: 1).remote())
    child = multiprocessing.get_context("fork").Process(target=len, args=("abc",))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert ray.get(ray.remote(lambda: 2).remote()) == 2


def test_task_may_start_processes(ray):
    @ray.remote
    def task():
        out = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True).stdout
        child = multiprocessing.get_context("fork").Process(target=len, args=("abc",))
        child.start()
        child.join()
        return out, child.exitcode

    assert ray.get([task.remote() for _ in range(4)]) == [("42\n", 0)] * 4
    assert core._validate() is None


def test_standard_input_of_a_task_is_empty(ray):
    assert ray.get(ray.remote(lambda: sys.stdin.read()).remote()) == ""


def test_init_in_a_task_is_refused_clearly(ray):
    with pytest.raises(RuntimeError, match="init"):
        ray.get(ray.remote(lambda: miniray.init()).remote())
    assert ray.get(ray.remote(lambda: miniray.is_initialized()).remote()) is True


def test_task_that_prints_a_lot_does_not_block(start_program):
    program = start_program(
        "ray.init(num_cpus=1)\nray.get(ray.remote(lambda: [print('x' * 100_000) for _ in range(30)]).remote())\nray.shutdown()"
    )
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert out.count("x") >= 30 * 100_000
