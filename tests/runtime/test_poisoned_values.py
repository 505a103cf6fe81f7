"""Values that raise, exit or crash where they are pickled or unpickled; stacks and memory that run out in a task."""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import threading

import pytest

from miniray import _miniray_core as core
from miniray.exceptions import RayError, RaySystemError, RayTaskError, WorkerCrashedError


def crash():
    ctypes.string_at(0)


def leave():
    os._exit(7)


def fail():
    raise RuntimeError("not today")


def ask_to_exit():
    sys.exit(7)


class AtPickling:
    """Calls a function when it is pickled."""

    def __init__(self, function):
        self._function = function

    def __reduce__(self):
        self._function()
        raise AssertionError("not reached")


class AtUnpickling:
    """Calls a function when it is unpickled."""

    def __init__(self, function):
        self._function = function

    def __reduce__(self):
        return self._function, ()


DEATHS = [
    pytest.param(crash, "SIGSEGV", id="crash"),
    pytest.param(leave, "exited with status 7", id="leave"),
    pytest.param(ask_to_exit, "exited with status 7", id="sys.exit"),
]


def expect_all_well(ray):
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(20)]) == list(range(20))
    assert core._validate() is None


@pytest.mark.parametrize(("end", "told"), DEATHS)
def test_result_that_ends_the_process_when_pickled(ray, end, told):
    with pytest.raises(WorkerCrashedError, match=f"{told}, after 2 attempts"):
        ray.get(ray.remote(max_retries=1)(lambda: AtPickling(end)).remote())
    expect_all_well(ray)


def test_result_that_fails_to_be_pickled(ray):
    with pytest.raises(RuntimeError, match="not today") as caught:
        ray.get(ray.remote(lambda: AtPickling(fail)).remote())
    assert isinstance(caught.value, RayTaskError)
    expect_all_well(ray)


@pytest.mark.parametrize("place", ["argument", "put value", "in an object"])
def test_value_that_fails_to_be_pickled_here(ray, place):
    value = [AtPickling(fail)] if place == "in an object" else AtPickling(fail)
    call = ray.put if place == "put value" else ray.remote(lambda value: value).remote
    with pytest.raises(RuntimeError, match="not today"):
        call(value)
    assert core._statistics()["tasks"] == 0
    expect_all_well(ray)


@pytest.mark.parametrize(("end", "told"), DEATHS)
def test_argument_that_ends_the_process_when_unpickled(ray, end, told):
    for argument in (AtUnpickling(end), ray.put(AtUnpickling(end)), [AtUnpickling(end), bytes(200_000)]):
        with pytest.raises(WorkerCrashedError, match=told):
            ray.get(ray.remote(max_retries=0)(lambda value: 1).remote(argument))
    expect_all_well(ray)


def test_argument_that_fails_to_be_unpickled(ray):
    with pytest.raises(RayError, match="not today"):
        ray.get(ray.remote(lambda value: 1).remote(AtUnpickling(fail)))
    expect_all_well(ray)


def test_result_that_fails_to_be_unpickled_here(ray):
    ref = ray.remote(lambda: AtUnpickling(fail)).remote()
    for _ in range(3):
        with pytest.raises((RaySystemError, RuntimeError), match="not today"):
            ray.get(ref)
    expect_all_well(ray)


def test_result_that_asks_this_program_to_exit_when_unpickled(ray):
    ref = ray.remote(lambda: AtUnpickling(ask_to_exit)).remote()
    with pytest.raises((SystemExit, RaySystemError)):
        ray.get(ref)
    expect_all_well(ray)


@pytest.mark.parametrize(("end", "code"), [("ctypes.string_at(0)", -11), ("os._exit(7)", 7)])
def test_result_that_ends_this_program_when_unpickled_leaves_nothing(start_program, end, code):
    program = start_program(
        "import ctypes\n"
        "class Poison:\n"
        f"    def __reduce__(self): return eval, ({end!r}, {{'ctypes': ctypes, 'os': os}})\n"
        "class Poisoned:\n"
        f"    def __reduce__(self): return exec, ({'import ctypes, os; ' + end!r},)\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "ref = ray.remote(lambda: Poisoned()).remote()\n"
        "ray.wait([ref])\n"
        "ready()\n"
        "ray.get(ref)\n"
    )
    program.wait_ready()
    assert program.finish()[0] == code
    program.expect_nothing_left()


def test_exception_that_is_poisoned(ray):
    """What cannot travel is told as text; what ends the process is a crash."""

    class Poisoned(Exception):
        def __init__(self, function):
            super().__init__("poisoned")
            self._function = function

        def __reduce__(self):
            self._function()
            raise AssertionError("not reached")

    def task(function):
        raise Poisoned(function)

    with pytest.raises(RayTaskError, match="poisoned"):
        ray.get(ray.remote(max_retries=0)(task).remote(fail))
    with pytest.raises(WorkerCrashedError, match="status 7"):
        ray.get(ray.remote(max_retries=0)(task).remote(leave))
    expect_all_well(ray)


def overflow_in_c():
    """Call itself through C code that knows no limit of recursion."""
    sys.setrecursionlimit(10**9)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    call = kind(lambda depth: call(depth + 1))
    return call(0)


def test_overflow_of_the_stack_is_a_crash_that_is_explained(ray):
    with pytest.raises(WorkerCrashedError) as caught:
        ray.get(ray.remote(max_retries=0)(overflow_in_c).remote())
    assert caught.value.signal == "SIGSEGV"
    assert "Segmentation fault" in caught.value.fault_report
    expect_all_well(ray)


def test_overflow_of_the_small_stack_of_a_thread_is_one_too(ray):
    def task():
        threading.stack_size(64 << 10)
        thread = threading.Thread(target=overflow_in_c)
        thread.start()
        thread.join()

    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        ray.get(ray.remote(max_retries=0)(task).remote())
    expect_all_well(ray)


def nest(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_value_that_nests_too_deep_is_an_error_at_the_call(ray):
    with pytest.raises(TypeError, match="recursion"):
        ray.put(nest(100_000))
    with pytest.raises(TypeError, match="recursion"):
        ray.remote(lambda value: 1).remote(nest(100_000))
    with pytest.raises(TypeError, match="recursion"):
        ray.get(ray.remote(nest).remote(100_000))
    assert pickle.dumps(ray.get(ray.put(nest(200)))) == pickle.dumps(nest(200))
    expect_all_well(ray)


def test_memory_error_is_the_error_of_its_task(ray):
    @ray.remote
    def greedy():
        return bytes(1 << 60)

    with pytest.raises(MemoryError) as caught:
        ray.get(greedy.remote())
    assert isinstance(caught.value, RayTaskError)
    expect_all_well(ray)


def test_memory_error_where_nothing_is_left_for_the_report(ray):
    """The address space is used up to the last piece, and the frame that holds it is part of the traceback."""

    @ray.remote
    def greedy():
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as file:
            resource.setrlimit(resource.RLIMIT_AS, (int(file.read().split()[0]) * 4096 + (64 << 20), before[1]))
        kept = []
        try:
            for size in (1 << 20, 1 << 12, 1 << 6):
                try:
                    while True:
                        kept.append(bytearray(size))
                except MemoryError:
                    continue
            raise MemoryError("all gone")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    with pytest.raises(MemoryError):
        ray.get(greedy.remote())
    expect_all_well(ray)
