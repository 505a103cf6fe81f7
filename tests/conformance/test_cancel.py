"""cancel: of tasks that wait, run or are finished, of what they started, and of calls of actors."""

import asyncio
import time

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def busy(ray):
    """Give a task that says that it runs, and runs until it is cancelled."""

    @ray.remote
    def busy(started, *args):
        started.send()
        while True:
            time.sleep(0.001)

    return busy


@pytest.fixture
def back(ray):
    """Give a task that returns its argument."""

    @ray.remote
    def back(value):
        return value

    return back


def expect_cancelled(ray, exceptions, ref):
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)


def test_running_task(ray, exceptions, busy, back, started):
    ref = busy.remote(started)
    started.receive()
    assert ray.cancel(ref) is None
    expect_cancelled(ray, exceptions, ref)
    assert ray.get(back.options(num_cpus=2).remote(1)) == 1


def test_running_task_by_force(ray, exceptions, busy, back, started):
    ref = busy.remote(started)
    started.receive()
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=60)
    assert ray.get(back.options(num_cpus=2).remote(1)) == 1


@pytest.mark.parametrize("force", [False, True])
def test_queued_task_never_runs(ray, exceptions, busy, started, runs, force):
    @ray.remote
    def log(runs):
        runs.add()

    holders = [busy.remote(started) for _ in range(2)]
    for _ in holders:
        started.receive()
    queued = [log.remote(runs) for _ in range(3)]
    ray.cancel(queued[1], force=force)
    expect_cancelled(ray, exceptions, queued[1])
    for holder in holders:
        ray.cancel(holder)
    assert ray.get([queued[0], queued[2]]) == [None, None]
    assert runs.lines() == ["run"] * 2


def test_finished_task_stays_what_it_is(ray, back):
    ref = back.remote(1)
    assert ray.get(ref) == 1
    for force in (False, True):
        ray.cancel(ref, force=force)
    assert ray.get(ref) == 1
    put = ray.put(2)
    ray.cancel(put)
    assert ray.get(put) == 2


def test_value_after_the_interrupt_is_the_result(ray, started):
    @ray.remote
    def catch(started):
        try:
            started.send()
            while True:
                time.sleep(0.001)
        except KeyboardInterrupt:
            return "caught"

    ref = catch.remote(started)
    started.receive()
    ray.cancel(ref)
    assert ray.get(ref, timeout=60) == "caught"


def test_error_after_the_interrupt_is_the_result(ray, started):
    @ray.remote(max_retries=5, retry_exceptions=True)
    def convert(started):
        try:
            started.send()
            while True:
                time.sleep(0.001)
        except KeyboardInterrupt:
            raise ValueError("in its place") from None

    ref = convert.remote(started)
    started.receive()
    ray.cancel(ref)
    with pytest.raises(ValueError, match="in its place"):
        ray.get(ref, timeout=60)


def test_finally_runs(ray, exceptions, started, runs):
    @ray.remote
    def tidy(started, runs):
        try:
            started.send()
            while True:
                time.sleep(0.001)
        finally:
            runs.add("tidied")

    ref = tidy.remote(started, runs)
    started.receive()
    ray.cancel(ref)
    expect_cancelled(ray, exceptions, ref)
    assert runs.lines() == ["tidied"]


def test_cancelled_task_is_not_tried_again(ray, exceptions, started, runs):
    @ray.remote(max_retries=5, retry_exceptions=True)
    def count(started, runs):
        runs.add()
        started.send()
        while True:
            time.sleep(0.001)

    for force in (False, True):
        ref = count.remote(started, runs)
        started.receive()
        ray.cancel(ref, force=force)
        with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
            ray.get(ref, timeout=60)
    assert runs.lines() == ["run"] * 2


def test_all_results_of_a_task(ray, exceptions, busy, started):
    refs = busy.options(num_returns=2).remote(started)
    started.receive()
    ray.cancel(refs[1])
    for ref in refs:
        expect_cancelled(ray, exceptions, ref)


def test_what_a_task_started_is_cancelled_too(ray, exceptions, busy, back, started):
    @ray.remote
    def parent(started):
        return ray_get([busy.remote(started)])

    def ray_get(refs):
        return __import__(package).get(refs[0])

    package = ray.__name__
    ref = parent.remote(started)
    started.receive()
    ray.cancel(ref)
    expect_cancelled(ray, exceptions, ref)
    assert ray.get(back.options(num_cpus=2).remote(1), timeout=60) == 1


def test_what_a_task_started_may_go_on(ray, exceptions, started, second_gate, runs):
    @ray.remote(num_cpus=0)
    def child(started, gate, runs):
        started.send()
        gate.wait()
        runs.add("went on")

    @ray.remote(num_cpus=0)
    def parent(started, gate, runs):
        return __import__(package).get(child.remote(started, gate, runs))

    package = ray.__name__
    ref = parent.remote(started, second_gate, runs)
    started.receive()
    ray.cancel(ref, recursive=False)
    expect_cancelled(ray, exceptions, ref)
    second_gate.open()
    while not runs.lines():
        time.sleep(0.001)


def test_task_that_interrupts_itself(ray, exceptions):
    @ray.remote(max_retries=0)
    def interrupt():
        raise KeyboardInterrupt

    expect_cancelled(ray, exceptions, interrupt.remote())


@pytest.mark.parametrize("what", [1, None, "ref", [1]], ids=repr)
def test_only_refs_may_be_cancelled(ray, what):
    with pytest.raises(TypeError, match="only supported for object refs"):
        ray.cancel(what)


class Plain:
    """A method that blocks until a gate opens."""

    def wait(self, started, gate):
        started.send()
        gate.wait()
        return "finished"

    def log(self, runs):
        runs.add()
        return len(runs.lines())


def test_handle_may_not_be_cancelled(ray):
    with pytest.raises(TypeError, match="For actors, try ray.kill"):
        ray.cancel(ray.remote(num_cpus=0)(Plain).remote())


def test_calls_of_actors(ray, exceptions, started, gate, runs):
    actor = ray.remote(num_cpus=0)(Plain).remote()
    running = actor.wait.remote(started, gate)
    started.receive()
    queued = actor.log.remote(runs)
    ray.cancel(queued)
    with pytest.raises(ValueError, match="force=True is not supported for actor tasks"):
        ray.cancel(running, force=True)
    gate.open()
    assert ray.get(running) == "finished"
    expect_cancelled(ray, exceptions, queued)


def test_running_call_is_let_finish_but_its_value_is_lost(ray, exceptions, started, gate, runs):
    actor = ray.remote(num_cpus=0)(Plain).remote()
    running = actor.wait.remote(started, gate)
    started.receive()
    ray.cancel(running)
    gate.open()
    expect_cancelled(ray, exceptions, running)
    assert ray.get(actor.log.remote(runs)) == 1


def test_calls_of_async_actors(ray, exceptions, started):
    @ray.remote(num_cpus=0)
    class Waiting:
        def __init__(self):
            self.cancelled = 0

        async def wait(self, started):
            try:
                started.send()
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

        async def how_many(self):
            return self.cancelled

    actor = Waiting.remote()
    refs = [actor.wait.remote(started) for _ in range(3)]
    for _ in refs:
        started.receive()
    ray.cancel(refs[0])
    expect_cancelled(ray, exceptions, refs[0])
    assert ray.get(actor.how_many.remote()) == 1
    assert ray.wait(refs[1:], num_returns=2, timeout=0)[0] == []
    for ref in refs[1:]:
        ray.cancel(ref)
        expect_cancelled(ray, exceptions, ref)
    assert ray.get(actor.how_many.remote()) == 3


def test_queued_call_of_an_async_actor(ray, exceptions, started, runs):
    @ray.remote(num_cpus=0, max_concurrency=1)
    class One:
        async def wait(self, started):
            started.send()
            await asyncio.sleep(1000)

        async def log(self, runs):
            runs.add()

    actor = One.remote()
    running = actor.wait.remote(started)
    started.receive()
    queued = [actor.log.remote(runs) for _ in range(2)]
    ray.cancel(queued[0])
    ray.cancel(running)
    for ref in (running, queued[0]):
        expect_cancelled(ray, exceptions, ref)
    assert ray.get(queued[1]) is None
    assert runs.lines() == ["run"]


def test_awaited_ref_of_a_cancelled_task(ray, exceptions, busy, started):
    async def main():
        ref = busy.remote(started)
        started.receive()
        waiting = asyncio.ensure_future(ref)
        await asyncio.sleep(0)
        ray.cancel(ref)
        with pytest.raises(exceptions.TaskCancelledError):
            await waiting

    asyncio.run(main())


@pytest.fixture(params=["async", "threads"])
def make_parent(ray, request):
    """Give a function that makes an actor whose calls start a task and wait for it, as coroutines or in threads."""

    @ray.remote(num_cpus=0)
    class Async:
        async def start(self, child, *args):
            return await child.remote(*args)

    @ray.remote(num_cpus=0, max_concurrency=4)
    class Threads:
        def start(self, child, *args):
            return ray.get(child.remote(*args))

    return (Async if request.param == "async" else Threads).remote


def test_child_of_a_call_among_several(ray, exceptions, busy, back, started, make_parent):
    actor = make_parent()
    cancelled, kept = actor.start.remote(busy, started), actor.start.remote(back, 1)
    started.receive()
    assert ray.get(kept) == 1
    ray.cancel(cancelled)
    expect_cancelled(ray, exceptions, cancelled)
    assert ray.get(back.options(num_cpus=2).remote(2)) == 2


def test_child_of_another_call_runs_on(ray, exceptions, busy, started, gate, make_parent):
    @ray.remote
    def wait(gate, started):
        started.send()
        gate.wait()
        return "waited"

    actor = make_parent()
    kept = actor.start.remote(wait, gate, started)
    started.receive()
    cancelled = actor.start.remote(busy, started)
    started.receive()
    ray.cancel(cancelled)
    expect_cancelled(ray, exceptions, cancelled)
    gate.open()
    assert ray.get(kept) == "waited"


def test_child_of_a_call_among_several_that_is_not_to_be_cancelled(ray, exceptions, runs, started, gate, make_parent):
    @ray.remote
    def wait(gate, started, runs):
        started.send()
        gate.wait()
        runs.add()

    ref = make_parent().start.remote(wait, gate, started, runs)
    started.receive()
    ray.cancel(ref, recursive=False)
    gate.open()
    expect_cancelled(ray, exceptions, ref)
    while not runs.lines():
        time.sleep(0.001)
