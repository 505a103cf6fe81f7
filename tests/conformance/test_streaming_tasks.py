"""Generator functions as tasks: refs come while the task goes on."""

import asyncio
import os
import pickle
import time

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


def values(ray, refs):
    """Return what refs give, of those in error the type."""
    found = []
    for ref in refs:
        try:
            found.append(ray.get(ref, timeout=60))
        except Exception as error:
            cause = getattr(error, "cause", None)
            found.append(type(cause if isinstance(cause, Exception) else error))
    return found


def test_items_come_in_order_and_then_it_ends(ray, count):
    generator = count.remote(3)
    assert isinstance(generator, ray.ObjectRefGenerator)
    refs = list(generator)
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs)
    assert len(set(refs)) == 3
    assert ray.get(refs) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(generator)


def test_generator_that_yields_nothing(ray, count):
    generator = count.remote(0)
    assert ray.get(generator.completed()) is None
    assert generator.is_finished()
    assert not generator.next_ready()
    assert list(generator) == []


def test_item_is_there_while_the_task_goes_on(ray, gated, gate):
    generator = gated.remote(gate)
    assert iter(generator) is generator
    assert ray.get(next(generator)) == 1
    assert not generator.next_ready()
    assert not generator.is_finished()
    assert ray.wait([generator, generator.completed()], timeout=0) == ([], [generator, generator.completed()])
    gate.open()
    assert ray.get(next(generator)) == 2
    assert list(generator) == []
    assert generator.is_finished()


def test_task_runs_ahead_of_its_reader(ray, count):
    generator = count.remote(5)
    assert ray.get(generator.completed(), timeout=60) is None
    assert generator.completed() == generator.completed()
    assert generator.next_ready()
    assert not generator.is_finished()
    assert ray.get(list(generator)) == [0, 1, 2, 3, 4]
    assert not generator.next_ready()


def test_refs_outlive_the_generator(ray, count):
    generator = count.remote(4)
    refs = [next(generator), next(generator)]
    del generator
    assert ray.get(refs) == [0, 1]


def test_value_of_return_is_not_told(ray):
    @ray.remote
    def ends():
        yield 1
        return 5

    generator = ends.remote()
    assert values(ray, generator) == [1]
    assert ray.get(generator.completed()) is None


def test_error_is_one_more_ref(ray, count):
    generator = count.remote(3, 1)
    assert values(ray, generator) == [0, KeyError]
    assert generator.is_finished()
    assert ray.get(generator.completed()) is None
    with pytest.raises(StopIteration):
        next(generator)


def test_error_counts_as_ready_and_not_as_the_end(ray, count):
    generator = count.remote(1, 0)
    assert ray.wait([generator], timeout=60) == ([generator], [])
    assert generator.next_ready()
    assert not generator.is_finished()
    assert values(ray, [next(generator)]) == [KeyError]
    assert ray.get(generator.completed()) is None
    assert generator.is_finished()
    assert ray.wait([generator], timeout=60) == ([generator], [])


def test_error_of_an_argument(ray, count):
    @ray.remote
    def fail():
        raise ValueError("no")

    generator = count.remote(fail.remote())
    assert values(ray, generator) == [ValueError]
    assert values(ray, [generator.completed()]) == [ValueError]


def test_item_that_does_not_pickle_is_the_error(ray):
    @ray.remote
    def locks():
        import threading

        yield 1
        yield threading.Lock()
        yield 2

    assert values(ray, locks.remote()) == [1, TypeError]


def test_decorator_may_say_it(ray):
    @ray.remote(num_returns="streaming")
    def count():
        yield 1

    assert values(ray, count.remote()) == [1]
    with pytest.raises(ValueError, match="generator"):

        @ray.remote(num_returns="streaming")
        def one():
            return 1


def test_several_items_a_yield(ray):
    @ray.remote(_num_objects_per_yield=2)
    def pairs():
        yield 1, 2
        yield 3, 4

    assert values(ray, pairs.remote()) == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [10, 1000, 2_000_000])
def test_items_of_any_size(ray, size):
    @ray.remote
    def blocks():
        for i in range(3):
            yield bytes([i]) * size

    assert values(ray, blocks.remote()) == [bytes([i]) * size for i in range(3)]


def test_refs_in_items_keep_their_objects(ray):
    @ray.remote
    def outer():
        for i in range(3):
            yield [ray.put([i] * 1000)]

    assert [ray.get(ray.get(ref)[0])[0] for ref in outer.remote()] == [0, 1, 2]


def test_generator_in_a_generator(ray, count):
    @ray.remote
    def outer():
        for ref in count.remote(3):
            yield ray.get(ref) * 10

    @ray.remote
    def passes_refs_on():
        for ref in count.remote(3):  # noqa: UP028 - Ray sends values into generators, which its own do not take
            yield ref

    assert values(ray, outer.remote()) == [0, 10, 20]
    assert [ray.get(ray.get(ref)) for ref in passes_refs_on.remote()] == [0, 1, 2]


def test_items_as_arguments(ray, count):
    @ray.remote
    def double(value):
        return 2 * value

    assert ray.get([double.remote(ref) for ref in count.remote(4)]) == [0, 2, 4, 6]


# --- what a generator may not -------------------------------------------------------------------------------------------


def test_it_does_not_travel(ray, count):
    @ray.remote
    def take(value):
        return value

    generator = count.remote(1)
    for travel in (pickle.dumps, ray.put, take.remote):
        with pytest.raises(TypeError, match="ObjectRefGenerator"):
            travel(generator)


def test_nothing_is_sent_to_it(ray, count):
    generator = count.remote(1)
    for method, arguments in ((generator.send, (1,)), (generator.throw, (ValueError(),)), (generator.close, ())):
        with pytest.raises(NotImplementedError):
            method(*arguments)
    for method, arguments in ((generator.asend, (1,)), (generator.athrow, (ValueError(),)), (generator.aclose, ())):
        with pytest.raises(NotImplementedError):
            asyncio.run(method(*arguments))


def test_get_of_a_generator_gives_it_back(ray, count):
    generator = count.remote(1)
    assert ray.get(generator) is generator
    assert ray.get(generator, timeout=0) is generator
    with pytest.raises(TypeError):
        ray.get([generator])


# --- wait ---------------------------------------------------------------------------------------------------------------


def test_wait_takes_generators_and_refs(ray, gated, gate):
    waits = gated.remote(gate)
    ray.get(next(waits))
    ready = gated.remote(gate)
    value = ray.put(1)
    assert ray.wait([waits, ready, value], num_returns=2, timeout=60) == ([ready, value], [waits])
    gate.open()
    assert ray.wait([waits, ready], num_returns=2, timeout=60) == ([waits, ready], [])
    assert values(ray, waits) == [2]


def test_wait_wants_a_list_of_distinct_ones(ray, count):
    generator = count.remote(1)
    with pytest.raises(TypeError):
        ray.wait(generator)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([generator, generator])


# --- back-pressure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_task_waits_for_its_reader(ray, started, limit):
    @ray.remote
    def tell(started, number):
        for i in range(number):
            started.send(str(i))
            yield i

    generator = tell.options(_generator_backpressure_num_objects=limit).remote(started, 6)
    for i in range(limit):
        assert started.receive() == str(i)
    assert ray.wait([generator.completed()], timeout=0.2)[0] == []
    for i in range(6):
        assert ray.get(next(generator)) == i
        if i + limit < 6:
            assert started.receive() == str(i + limit)
    assert list(generator) == []
    assert ray.get(generator.completed()) is None


def test_no_back_pressure(ray, count):
    generator = count.options(_generator_backpressure_num_objects=-1).remote(50)
    assert ray.get(generator.completed(), timeout=60) is None
    assert values(ray, generator) == list(range(50))
    with pytest.raises(ValueError, match="_generator_backpressure_num_objects"):
        count.options(_generator_backpressure_num_objects=0)


# --- cancel, crashes, retries -------------------------------------------------------------------------------------------


def test_cancel_ends_it(ray, exceptions):
    @ray.remote
    def busy():
        yield 1
        while True:
            time.sleep(0.001)

    generator = busy.remote()
    assert ray.get(next(generator)) == 1
    ray.cancel(generator)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(generator.completed())


def test_crash_is_one_more_ref(ray, exceptions, gate):
    @ray.remote(max_retries=0)
    def crash(gate):
        yield 1
        gate.wait()
        os._exit(1)

    generator = crash.remote(gate)
    assert ray.get(next(generator)) == 1
    gate.open()
    assert values(ray, generator) == [exceptions.WorkerCrashedError]
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(generator.completed())


def test_task_that_is_tried_again_gives_each_item_once(ray, runs, gate):
    @ray.remote(max_retries=1)
    def crash_once(runs, gate):
        run = runs.add()
        yield 1
        yield 2
        if run == 1:
            gate.wait()
            os._exit(1)
        yield 3

    generator = crash_once.remote(runs, gate)
    first = next(generator)
    assert ray.get(first) == 1
    gate.open()
    assert values(ray, generator) == [2, 3]
    assert ray.get(first) == 1
    assert runs.lines() == ["run", "run"]


def test_error_that_is_tried_again(ray, runs):
    @ray.remote(retry_exceptions=True, max_retries=1)
    def fail_once(runs):
        yield 1
        if runs.add() == 1:
            raise ValueError("first")
        yield 2

    assert values(ray, fail_once.remote(runs)) == [1, 2]
