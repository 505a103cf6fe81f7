"""``util.queue.Queue``: shared by processes, with room for so many items."""

from __future__ import annotations

import asyncio
import importlib
import queue
import threading

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture(scope="module")
def queues(backend, _environment):
    return importlib.import_module(f"{backend}.util.queue")


@pytest.fixture
def make_queue(queues):
    made = []

    def make(*args, **kwargs):
        made.append(queues.Queue(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        if each.actor is not None:
            each.shutdown(force=True)


def test_items_come_in_the_order_in_which_they_went(make_queue):
    shared = make_queue()
    for item in ("a", 2, None, [3]):
        shared.put(item)
    assert len(shared) == shared.size() == shared.qsize() == 4
    assert [shared.get() for _ in range(4)] == ["a", 2, None, [3]]
    assert shared.empty()


def test_full_and_empty_queues_refuse_at_once(make_queue, queues):
    shared = make_queue(maxsize=2)
    assert shared.maxsize == 2
    shared.put_nowait(1)
    assert not shared.full()
    shared.put(2, block=False)
    assert shared.full()
    with pytest.raises(queues.Full):
        shared.put_nowait(3)
    with pytest.raises(queue.Full):
        shared.put(3, block=False)
    with pytest.raises(queue.Full):
        shared.put(3, timeout=0.01)
    assert [shared.get_nowait(), shared.get(block=False)] == [1, 2]
    for refused in (shared.get_nowait, lambda: shared.get(block=False), lambda: shared.get(timeout=0.01)):
        with pytest.raises(queues.Empty):
            refused()
    with pytest.raises(queue.Empty):
        shared.get_nowait()


@pytest.mark.parametrize("maxsize", [0, -1])
def test_queue_without_a_size_is_never_full(make_queue, maxsize):
    shared = make_queue(maxsize)
    shared.put_nowait_batch(range(100))
    assert not shared.full()
    assert len(shared) == 100


def test_negative_timeouts_are_refused(make_queue):
    shared = make_queue()
    with pytest.raises(ValueError, match="non-negative"):
        shared.put(1, timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        shared.get(timeout=-1)


def test_batches_are_all_or_nothing(make_queue, queues):
    shared = make_queue(maxsize=4)
    shared.put_nowait_batch([1, 2, 3])
    with pytest.raises(queues.Full, match="Cannot add 2 items"):
        shared.put_nowait_batch([4, 5])
    with pytest.raises(queues.Empty, match="Cannot get 4 items"):
        shared.get_nowait_batch(4)
    assert shared.get_nowait_batch(2) == [1, 2]
    assert shared.get_nowait_batch(0) == []
    assert shared.get() == 3
    with pytest.raises(TypeError, match="Iterable"):
        shared.put_nowait_batch(5)
    with pytest.raises(TypeError, match="int"):
        shared.get_nowait_batch("2")
    with pytest.raises(ValueError, match="nonnegative"):
        shared.get_nowait_batch(-1)


def test_who_gets_waits_for_who_puts(make_queue, ray, started):
    @ray.remote
    def take(shared):
        started.send()
        return shared.get()

    shared = make_queue()
    ref = take.remote(shared)
    started.receive()
    shared.put("for the task")
    assert ray.get(ref) == "for the task"


def test_who_puts_waits_for_room(make_queue, ray, started):
    @ray.remote
    def add(shared):
        started.send()
        shared.put("second")

    shared = make_queue(maxsize=1)
    shared.put("first")
    ref = add.remote(shared)
    started.receive()
    assert shared.get() == "first"
    assert shared.get() == "second"
    ray.get(ref)


def test_tasks_share_the_work_of_a_queue(make_queue, ray):
    @ray.remote
    def work(source, results):
        while (item := source.get()) is not None:
            results.put(item * item)

    source, results = make_queue(maxsize=3), make_queue()
    workers = [work.remote(source, results) for _ in range(2)]
    for item in [*range(20), None, None]:
        source.put(item)
    ray.get(workers)
    assert sorted(results.get_nowait_batch(20)) == [item * item for item in range(20)]


def test_coroutines_wait_without_stopping_others(make_queue):
    shared = make_queue(maxsize=1)

    async def both():
        taken = asyncio.gather(shared.get_async(), shared.get_async())
        await shared.put_async("one")
        await shared.put_async("two")
        return await taken

    assert sorted(asyncio.run(both())) == ["one", "two"]


def test_coroutines_are_refused_as_others(make_queue, queues):
    shared = make_queue(maxsize=1)

    async def refused():
        with pytest.raises(queues.Empty):
            await shared.get_async(block=False)
        with pytest.raises(queues.Empty):
            await shared.get_async(timeout=0.01)
        await shared.put_async(1)
        with pytest.raises(queues.Full):
            await shared.put_async(2, block=False)
        with pytest.raises(queues.Full):
            await shared.put_async(2, timeout=0.01)
        with pytest.raises(ValueError, match="non-negative"):
            await shared.get_async(timeout=-1)

    asyncio.run(refused())


def test_ref_is_put_as_its_value(make_queue, ray):
    shared = make_queue()
    shared.put(ray.put("value"))
    assert shared.get() == "value"


def test_item_that_does_not_pickle_is_refused(make_queue):
    shared = make_queue()
    with pytest.raises(TypeError):
        shared.put(threading.Lock())
    assert shared.empty()


def test_options_of_the_actor(make_queue, ray):
    shared = make_queue(actor_options={"name": "the queue of this test"})
    shared.put(1)
    assert ray.get(ray.get_actor("the queue of this test").qsize.remote()) == 1


@pytest.mark.parametrize("force", [False, True])
def test_shutdown_ends_the_actor(make_queue, ray, exceptions, force):
    shared = make_queue()
    shared.put(1)
    actor = shared.actor
    shared.shutdown(force=force)
    assert shared.actor is None
    shared.shutdown()  # harmless
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.qsize.remote())
    with pytest.raises(AttributeError):
        shared.put(2)


def test_task_that_waits_gives_its_cpu_to_who_puts(make_queue, ray):
    @ray.remote(num_cpus=2)  # all that there are
    def take(shared):
        return shared.get()

    @ray.remote(num_cpus=2)
    def add(shared):
        shared.put("item")

    shared = make_queue()
    taken = take.remote(shared)
    ray.get(add.remote(shared))
    assert ray.get(taken) == "item"
