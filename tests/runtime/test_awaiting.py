"""Awaited refs in miniray's own terms: one thread that sleeps, nothing left, and an end with the session."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import WorkerCrashedError

THREAD = "miniray-awaited"


def threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def switches(thread):
    """How often a thread has gone to sleep."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def objects():
    return core._statistics()["objects"]


@pytest.fixture
def sleeper(ray):
    """Give a task that never ends by itself."""

    @ray.remote(num_cpus=0, max_retries=0)
    def sleep():
        signal.pause()

    return sleep


def test_a_thousand_awaited_refs_are_one_thread_and_leave_nothing(ray):
    @ray.remote
    def back(value):
        return value

    async def main():
        return await asyncio.gather(*(back.remote(i) for i in range(1000)))

    assert asyncio.run(main()) == list(range(1000))
    assert len(threads()) == 1
    wait_until(lambda: objects() == 1, "only the function is left")
    assert [future.result() for future in [back.remote(i).future() for i in range(1000)]] == list(range(1000))
    assert len(threads()) == 1
    wait_until(lambda: objects() == 1, "only the function is left again")


def test_no_thread_for_what_is_ready(ray):
    assert ray.put(1).future().result() == 1
    assert threads() == []


def test_thread_sleeps_while_others_work(ray, sleeper):
    future = sleeper.remote().future()
    pid = ray.remote(lambda: os.getpid())
    ray.get(pid.remote())
    [thread] = threads()
    wait_until(lambda: "futex" in Path(f"/proc/self/task/{thread.native_id}/wchan").read_text(), "the thread sleeps")
    before = switches(thread)
    assert len(set(ray.get([pid.remote() for _ in range(500)]))) <= 2
    assert switches(thread) == before
    assert not future.done()
    ray.shutdown()


def test_session_that_ends_tells_who_waits(ray, sleeper):
    future = sleeper.remote().future()

    async def main():
        waiting = asyncio.ensure_future(sleeper.remote())
        await asyncio.sleep(0)
        ray.shutdown()
        await waiting

    with pytest.raises(ValueError, match="the session ended"):
        asyncio.run(main())
    with pytest.raises(ValueError, match="the session ended"):
        future.result()
    wait_until(lambda: threads() == [], "the thread ends")


def test_next_session_has_a_thread_of_its_own(ray, sleeper):
    lost = sleeper.remote().future()
    ray.shutdown()
    ray.init(num_cpus=2, log_to_driver=False)
    assert ray.remote(lambda: 5).remote().future().result() == 5
    assert isinstance(lost.exception(), ValueError)


def test_death_of_a_worker_is_told_to_who_awaits(ray):
    @ray.remote(max_retries=0)
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        with pytest.raises(WorkerCrashedError):
            await die.remote()

    asyncio.run(main())
    with pytest.raises(WorkerCrashedError):
        die.remote().future().result()


def test_awaiting_worker_that_dies_leaves_nothing(ray, sleeper):
    @ray.remote(max_retries=0)
    def wait(refs):
        futures = [ref.future() for ref in refs]
        os.kill(os.getpid(), signal.SIGKILL)
        return futures

    refs = [sleeper.remote() for _ in range(3)]
    with pytest.raises(WorkerCrashedError):
        ray.get(wait.remote(refs))
    assert core._validate() is None
    ray.shutdown()
