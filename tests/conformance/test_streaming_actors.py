"""Generator methods of actors: plain, threaded and async ones."""

import asyncio
import os

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


class Counter:
    """Methods that yield."""

    def __init__(self):
        self.state = 0

    def count(self, number, bad=None):
        for i in range(number):
            if i == bad:
                raise KeyError("bad")
            self.state = i
            yield i

    def pair(self):
        yield 1
        yield 2

    def gated(self, gate):
        yield 1
        gate.wait()
        yield 2

    def told(self, started, number):
        for i in range(number):
            started.send(str(i))
            yield i

    def crash(self, gate):
        yield 1
        gate.wait()
        os._exit(1)

    def last(self):
        return self.state

    def until_told(self, gate):
        yield 1
        gate.wait()
        for i in range(1000):  # noqa: UP028 - the same
            yield i


class AsyncCounter:
    """The same with coroutines."""

    async def count(self, number, bad=None):
        for i in range(number):
            await asyncio.sleep(0)
            if i == bad:
                raise KeyError("bad")
            yield i

    async def told(self, started, number):
        for i in range(number):
            started.send(str(i))
            yield i

    def plain(self, number):
        for i in range(number):  # noqa: UP028 - Ray sends values into generators, which range() does not take
            yield i

    async def one(self):
        return 1

    async def endless(self, runs):
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            runs.add("closed")

    async def read(self, counter, number):
        return [await ref async for ref in counter.count.remote(number)]


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


@pytest.fixture(params=["plain", "threaded", "async"])
def counter(ray, request):
    """Give an actor of each kind."""
    if request.param == "async":
        return ray.remote(AsyncCounter).remote()
    return ray.remote(Counter).options(max_concurrency=3 if request.param == "threaded" else 1).remote()


def test_method_streams(ray, counter):
    generator = counter.count.remote(3)
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert values(ray, generator) == [0, 1, 2]
    assert generator.is_finished()
    assert ray.get(generator.completed()) is None


def test_error_is_one_more_ref(ray, counter):
    generator = counter.count.remote(3, 1)
    assert values(ray, generator) == [0, KeyError]
    assert ray.get(generator.completed()) is None
    assert values(ray, counter.count.remote(2)) == [0, 1]


def test_streams_one_after_the_other(ray, counter):
    generators = [counter.count.remote(number) for number in (2, 3, 4)]
    assert [values(ray, each) for each in generators] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_method_waits_for_its_reader(ray, counter, started):
    generator = counter.told.options(_generator_backpressure_num_objects=2).remote(started, 5)
    assert [started.receive(), started.receive()] == ["0", "1"]
    assert ray.wait([generator.completed()], timeout=0.2)[0] == []
    for i in range(5):
        assert ray.get(next(generator)) == i
        if i + 2 < 5:
            assert started.receive() == str(i + 2)
    assert list(generator) == []


def test_item_is_there_while_the_method_goes_on(ray, gate):
    counter = ray.remote(Counter).remote()
    generator = counter.gated.remote(gate)
    assert ray.get(next(generator)) == 1
    assert not generator.next_ready()
    gate.open()
    assert values(ray, generator) == [2]


def test_threads_stream_side_by_side(ray, gate):
    counter = ray.remote(Counter).options(max_concurrency=2).remote()
    waits = counter.gated.remote(gate)
    assert ray.get(next(waits)) == 1
    assert values(ray, counter.count.remote(3)) == [0, 1, 2]
    gate.open()
    assert values(ray, waits) == [2]


def test_coroutines_stream_side_by_side(ray):
    counter = ray.remote(AsyncCounter).remote()
    generators = [counter.count.remote(5) for _ in range(10)]
    assert [values(ray, each) for each in generators] == [list(range(5))] * 10
    assert ray.get(counter.one.remote()) == 1


def test_plain_generator_in_an_async_actor(ray):
    counter = ray.remote(AsyncCounter).remote()
    assert values(ray, counter.plain.remote(3)) == [0, 1, 2]


def test_async_actor_reads_a_stream(ray):
    counter = ray.remote(Counter).remote()
    reader = ray.remote(AsyncCounter).remote()
    assert ray.get(reader.read.remote(counter, 4)) == [0, 1, 2, 3]


def test_fixed_and_dynamic_methods(ray):
    counter = ray.remote(Counter).remote()
    assert ray.get(counter.pair.options(num_returns=2).remote()) == [1, 2]
    assert values(ray, ray.get(counter.pair.options(num_returns="dynamic").remote())) == [1, 2]
    assert values(ray, counter.pair.options(num_returns="streaming").remote()) == [1, 2]


def test_decorated_methods(ray):
    @ray.remote
    class Decorated:
        @ray.method(num_returns=2)
        def two(self):
            yield 1
            yield 2

        @ray.method(num_returns="streaming")
        def stream(self):
            yield 1

        @ray.method(_generator_backpressure_num_objects=1)
        def slow(self, started):
            for i in range(3):
                started.send(str(i))
                yield i

    actor = Decorated.remote()
    assert ray.get(actor.two.remote()) == [1, 2]
    assert values(ray, actor.stream.remote()) == [1]


def test_coroutines_do_not_give_a_fixed_number(ray):
    counter = ray.remote(AsyncCounter).remote()
    refs = counter.count.options(num_returns=2).remote(2)
    assert values(ray, refs) == [TypeError, TypeError]
    assert values(ray, [counter.count.options(num_returns="dynamic").remote(2)]) == [ValueError]


def test_method_that_yields_nothing_does_not_stream(ray):
    counter = ray.remote(Counter).remote()
    with pytest.raises(ValueError, match="generator"):
        counter.last.options(num_returns="streaming").remote()


def test_crash_mid_stream(ray, exceptions, gate):
    counter = ray.remote(Counter).remote()
    generator = counter.crash.remote(gate)
    assert ray.get(next(generator)) == 1
    gate.open()
    assert values(ray, generator) == [exceptions.ActorDiedError]
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(generator.completed())


def test_kill_mid_stream(ray, exceptions, gate):
    counter = ray.remote(Counter).remote()
    generator = counter.gated.remote(gate)
    assert ray.get(next(generator)) == 1
    ray.kill(counter)
    assert values(ray, generator) == [exceptions.ActorDiedError]


def test_last_handle_goes_mid_stream(ray, gate):
    counter = ray.remote(Counter).remote()
    generator = counter.gated.remote(gate)
    del counter
    gate.open()
    assert values(ray, generator) == [1, 2]


def test_cancelled_coroutine_is_closed(ray, exceptions, runs):
    counter = ray.remote(AsyncCounter).remote()
    generator = counter.endless.remote(runs)
    assert ray.get(next(generator)) == 1
    ray.cancel(generator)
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)
    assert runs.lines() == ["closed"]


def test_cancelled_method_ends_at_its_next_yield(ray, exceptions, gate):
    counter = ray.remote(Counter).remote()
    generator = counter.until_told.remote(gate)
    assert ray.get(next(generator)) == 1
    ray.cancel(generator)
    gate.open()
    found = values(ray, generator)
    assert len(found) < 1000
    assert found[-1] is exceptions.TaskCancelledError


def test_handle_in_an_item(ray):
    @ray.remote
    class Maker:
        def make(self):
            for _ in range(2):
                yield ray.remote(Counter).remote()

    maker = Maker.remote()
    handles = [ray.get(ref) for ref in maker.make.remote()]
    assert [values(ray, handle.count.remote(2)) for handle in handles] == [[0, 1]] * 2
