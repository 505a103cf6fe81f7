"""A program forks while its other threads are in the middle of calls and hold locks: the child is free of all of it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from miniray import _miniray_core as core


def run_in_child(function):
    """Fork; return what the function printed to a pipe in the child, which must end with status 0."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(60)  # a watchdog for a child that hangs
            os.write(write_fd, str(function()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status
    return text


@pytest.fixture
def busy(ray):
    """Keep threads in the middle of submit, get, put, wait and of what is printed; give the session."""
    ends = threading.Event()
    errors = []

    def work():
        f = ray.remote(lambda i: print(i) or i)
        try:
            while not ends.is_set():
                refs = [f.remote(i) for i in range(20)]
                ray.wait(refs)
                assert ray.get(refs) == list(range(20))
                assert len(ray.get(ray.put(bytes(200_000)))) == 200_000
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield ray
    ends.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_child_has_no_session_and_keeps_its_views(busy):
    view = busy.get(busy.put(bytearray(b"x" * 300_000)))
    kept = busy.put("kept")

    def look():
        return busy.is_initialized(), len(view), view[-1]

    for _ in range(30):
        assert run_in_child(look) == f"(False, 300000, {ord('x')})"
    assert busy.get(kept) == "kept"
    assert core._validate() is None


def test_child_may_have_a_session_of_its_own(busy):
    def own():
        with busy.init(num_cpus=1, object_store_memory=8 << 20, log_to_driver=False):
            return sum(busy.get([busy.remote(lambda i: i).remote(i) for i in range(30)]))

    for _ in range(8):
        assert run_in_child(own) == "435"
    assert core._validate() is None


def test_child_of_a_task_is_free_too(ray):
    @ray.remote
    def fork_in_the_middle(part):
        pids = []
        ends = threading.Event()

        def work():
            while not ends.is_set():
                ray.get(ray.remote(num_cpus=0)(lambda i: i).remote(1))

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if len(part) == 300_000 and not ray.is_initialized() else 1)
            pids.append(pid)
        ends.set()
        thread.join()
        return [os.waitpid(pid, 0)[1] for pid in pids]

    assert ray.get(fork_in_the_middle.remote(ray.put(bytes(300_000)))) == [0] * 10
    assert core._validate() is None
