"""Handles of actors and what is called through them, in miniray's own terms: who gets a call, and what is told of its end."""

import os
import signal
import sys
import threading
import time

import pytest

from helpers.actors import Async, Plain
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import ActorDiedError, ActorHandleNotFoundError, TaskCancelledError


def make(ray, actor_class=Plain, **options):
    return ray.remote(num_cpus=0, **options)(actor_class).remote()


def test_handle_of_an_earlier_session_calls_nobody_however_often(ray):
    old = make(ray)
    assert ray.get(old.answer.remote()) == 42
    used, fresh = old.answer, old.pid
    ray.shutdown()
    ray.init(num_cpus=1, log_to_driver=False)
    new = make(ray)
    assert ray.get(new.answer.remote()) == 42
    finished = core._statistics()["finished"]
    for method in (used, fresh) * 3:
        with pytest.raises(ActorHandleNotFoundError):
            method.remote()
    assert ray.get(new.answer.remote()) == 42
    assert core._statistics()["finished"] == finished + 1


def test_threads_that_use_a_method_first_all_reach_the_actor(ray):
    actor = make(ray)
    pid = ray.get(actor.pid.remote())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)
    try:
        for _ in range(200):
            method = actor.pid.options()
            refs = []
            barrier = threading.Barrier(4)

            def call(method=method, refs=refs, barrier=barrier):
                barrier.wait()
                refs.append(method.remote())

            threads = [threading.Thread(target=call) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ray.get(refs) == [pid] * 4
    finally:
        sys.setswitchinterval(interval)


def test_finished_calls_count_no_more_as_pending(ray):
    actor = make(ray, max_pending_calls=2)
    for number in range(2000):
        assert ray.get(actor.back.remote(number)) == number
    refs = [actor.back.options(num_returns=0).remote(1) for _ in range(2)]
    assert refs == [None, None]
    wait_until(lambda: core._actor_facts(actor._ref)[3] == 0, "the calls run")
    assert ray.get(actor.answer.remote()) == 42


def test_cancelled_call_of_a_host_that_dies_is_cancelled(ray):
    actor = make(ray, Async, max_restarts=1, max_task_retries=1)
    waiting = actor.wait.remote()
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    ray.cancel(waiting)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TaskCancelledError):
        ray.get(waiting)
    assert ray.get(actor.back.remote(1)) == 1


def test_detached_actor_warns_once(start_program):
    program = start_program(
        """
@ray.remote(num_cpus=0, lifetime="detached")
class Actor:
    def answer(self): return 42
ray.init(num_cpus=1)
for _ in range(2): ray.get(Actor.remote().answer.remote())
ray.shutdown()
""",
        warnings=True,
    )
    code, _, errors = program.finish()
    assert (code, errors.count("cannot outlive this program")) == (0, 1), errors


def test_end_of_an_actor_that_nobody_asks_about_is_not_told(start_program):
    program = start_program("""
import os
@ray.remote
class Actor:
    def die(self): os._exit(1)
    def leave(self): ray.actor.exit_actor()
    def answer(self): return 42
    def fail(self): raise ValueError("told")
ray.init(num_cpus=2)
for end in ("die", "leave", "__ray_terminate__"):
    ray.wait([getattr(Actor.remote(), end).remote()])
actor = Actor.remote()
ray.get(actor.answer.remote())
ray.kill(actor)
ray.wait([actor.answer.remote()])
ray.wait([Actor.remote().fail.remote()])
ray.shutdown()
""")
    code, _, errors = program.finish()
    assert code == 0
    assert errors.count("Unhandled error") == errors.count("told") == 1, errors


def test_constructor_that_dies_for_ever_is_no_storm_and_is_killed_at_once(ray, tmp_path):
    @ray.remote(num_cpus=0, max_restarts=-1)
    class Dies:
        def __init__(self, path):
            with open(path, "a") as file:
                file.write(f"{time.monotonic()}\n")
            os._exit(1)

        def answer(self):
            return 42

    path = tmp_path / "starts"
    path.touch()
    actor = Dies.remote(str(path))
    waiting = actor.answer.remote()
    wait_until(lambda: len(path.read_text().splitlines()) >= 9, "it is started again and again")
    starts = [float(line) for line in path.read_text().splitlines()]
    assert starts[8] - starts[5] > 0.08 + 0.16 + 0.32
    assert ray.get(make(ray).answer.remote()) == 42
    ray.kill(actor)
    with pytest.raises(ActorDiedError):
        ray.get(waiting)


@pytest.mark.parametrize("size", [10, 100_000])
def test_objects_outlive_the_actor_that_put_them(ray, size):
    @ray.remote(num_cpus=0)
    class Putter:
        def put(self, size):
            return [ray.put(bytes(size))]

        def pid(self):
            return os.getpid()

    actor = Putter.remote()
    (ref,) = ray.get(actor.put.remote(size))
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        ray.get(actor.pid.remote())
    assert ray.get(ref) == bytes(size)
    assert ray.get(ray.remote(lambda value: len(value)).remote(ref)) == size
