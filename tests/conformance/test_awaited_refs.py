"""Refs in event loops and as futures, in the driver and in tasks."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def back(ray):
    """Give a task that returns its argument."""

    @ray.remote(num_cpus=0)
    def back(value):
        return value

    return back


@pytest.fixture
def held(ray, gate):
    """Give the ref of a task that waits until the gate opens, and then gives 7."""

    @ray.remote(num_cpus=0)
    def held(gate):
        gate.wait()
        return 7

    return held.remote(gate)


@pytest.fixture
def failed(ray):
    """Give the ref of a task that raises ValueError."""

    @ray.remote(num_cpus=0, max_retries=0)
    def fail():
        raise ValueError("no such luck")

    return fail.remote()


def test_await_gives_the_value(ray, back, held, gate):
    async def main():
        ref = back.remote([1])
        assert inspect.isawaitable(ref)
        assert await ref == await ref == [1]
        assert await ray.put("here") == "here"
        gate.open()
        assert await held == 7

    asyncio.run(main())


def test_await_raises_the_error_of_the_task(exceptions, failed):
    async def main():
        for _ in range(2):
            with pytest.raises(ValueError, match="no such luck") as caught:
                await failed
            assert isinstance(caught.value, exceptions.RayTaskError)

    asyncio.run(main())


def test_gather_keeps_the_order(ray, back):
    async def main():
        return await asyncio.gather(*(back.remote(i) for i in range(100)), ray.put(100))

    assert asyncio.run(main()) == list(range(101))


def test_gather_may_return_errors(back, failed):
    async def main():
        return await asyncio.gather(back.remote(1), failed, back.remote(2), return_exceptions=True)

    first, error, last = asyncio.run(main())
    assert (first, last) == (1, 2)
    assert isinstance(error, ValueError)


def test_as_completed_gives_what_is_ready(back, held, gate):
    async def main():
        values = []
        for each in asyncio.as_completed([held, back.remote(1)]):
            values.append(await each)
            gate.open()
        return values

    assert asyncio.run(main()) == [1, 7]


def test_wait_takes_futures_of_refs(back, held, gate):
    async def main():
        futures = [asyncio.wrap_future(held.future()), asyncio.wrap_future(back.remote(1).future())]
        done, pending = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({futures[1]}, {futures[0]})
        gate.open()
        await asyncio.wait(futures)
        return [future.result() for future in futures]

    assert asyncio.run(main()) == [7, 1]


def test_as_future_is_a_future_of_the_running_loop(back):
    async def main():
        future = back.remote(5).as_future()
        assert isinstance(future, asyncio.Future)
        assert await future == 5

    asyncio.run(main())


def test_as_future_needs_a_loop(back):
    ref = back.remote(5)
    # In a thread of its own: in the main thread, Python before 3.14 makes a loop for the first who asks.
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        future = threads.submit(ref.as_future)
        with pytest.raises(RuntimeError, match=r"no (current|running) event loop"):
            future.result()


def test_as_future_is_of_the_loop_that_is_set_before_it_runs(back):
    ref = back.remote(5)

    def run():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        with contextlib.closing(loop):
            return loop.run_until_complete(ref.as_future())

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert threads.submit(run).result() == 5


def test_wait_that_times_out_leaves_the_task_alone(ray, held, gate):
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(held, 0.01)
        gate.open()
        return await held

    assert asyncio.run(main()) == ray.get(held) == 7


def test_cancelled_awaiter_leaves_the_task_alone(ray, held, gate):
    async def main():
        async def wait():
            return await held

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    gate.open()
    assert ray.get(held) == 7


def test_ref_is_awaited_in_several_loops_at_once(held, gate):
    begun = threading.Barrier(4)

    async def wait():
        waiting = asyncio.ensure_future(held)
        await asyncio.sleep(0)
        begun.wait()
        return await waiting

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = [pool.submit(asyncio.run, wait()) for _ in range(3)]
        begun.wait()
        gate.open()
        assert [each.result() for each in found] == [7, 7, 7]


def test_loop_that_ended_is_no_trouble(ray, back, held, gate):
    async def leave():
        waiting = asyncio.ensure_future(held)
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    gate.open()
    assert ray.get(held) == 7

    async def main():
        return await back.remote(1), await held

    assert asyncio.run(main()) == (1, 7)


def test_future_gives_the_value(held, gate):
    future = held.future()
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.01)
    gate.open()
    assert future.result() == 7
    assert held.future().result() == 7


def test_future_raises_the_error_of_the_task(exceptions, failed):
    future = failed.future()
    with pytest.raises(ValueError, match="no such luck") as caught:
        future.result()
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(future.exception(), ValueError)


def test_cancelled_future_leaves_the_task_alone(ray, held, gate):
    future = held.future()
    assert future.cancel()
    gate.open()
    assert ray.get(held) == 7
    assert future.cancelled()


def test_future_calls_back(back, held, gate):
    called = threading.Event()
    values = []
    future = held.future()
    future.add_done_callback(lambda done: (values.append(done.result()), called.set()))
    gate.open()
    assert called.wait(60)
    assert values == [7]


def test_futures_as_completed(back):
    futures = [back.remote(i).future() for i in range(20)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures)) == list(range(20))


def test_future_keeps_its_object(ray, gate):
    @ray.remote(num_cpus=0)
    def wait(gate):
        gate.wait()
        return 7

    future = wait.remote(gate).future()
    gate.open()
    assert future.result() == 7


def test_large_values_are_read_only_views(ray):
    numpy = pytest.importorskip("numpy")

    @ray.remote(num_cpus=0)
    def make():
        return numpy.arange(100_000)

    async def main():
        return await make.remote()

    for array in (asyncio.run(main()), make.remote().future().result()):
        assert not array.flags.writeable
        assert array[-1] == 99_999


def test_await_in_a_task(ray, back):
    @ray.remote(num_cpus=0)
    def run():
        async def main():
            return await asyncio.gather(*(back.remote(i) for i in range(10)))

        return asyncio.run(main())

    assert ray.get(run.remote()) == list(range(10))
