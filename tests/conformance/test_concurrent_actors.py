"""Actors whose calls run in several threads, and concurrency groups of threads and of loops."""

import asyncio
import threading

import pytest

pytestmark = pytest.mark.usefixtures("session")


class Threads:
    """Methods that tell where they run, or wait for each other."""

    def __init__(self, parties=1):
        self.barrier = threading.Barrier(parties)
        self.opened = threading.Event()
        self.local = threading.local()

    def meet(self):
        self.barrier.wait(60)
        return threading.get_ident()

    def wait(self):
        self.opened.wait(60)
        return "went on"

    def open(self):
        self.opened.set()

    def ident(self):
        return threading.get_ident()

    def count(self):
        self.local.count = getattr(self.local, "count", 0) + 1
        return self.local.count

    def first(self, refs, ray):
        return ray.get(refs[0])

    def back(self, value):
        return value

    def fail(self):
        raise KeyError("lost")


@pytest.fixture
def make(ray):
    """Give a function that makes an actor of Threads."""

    def make(parties=1, **options):
        return ray.remote(num_cpus=0, **options)(Threads).remote(parties)

    return make


def test_calls_run_at_once_in_threads(ray, make):
    actor = make(4, max_concurrency=4)
    assert len(set(ray.get([actor.meet.remote() for _ in range(4)]))) == 4


def test_no_more_threads_than_allowed(ray, make):
    actor = make(max_concurrency=3)
    assert len(set(ray.get([actor.ident.remote() for _ in range(60)]))) <= 3


def test_one_at_a_time_is_one_thread(ray, make):
    actor = make(max_concurrency=1)
    assert len(set(ray.get([actor.ident.remote() for _ in range(20)]))) == 1
    assert ray.get([actor.count.remote() for _ in range(20)]) == list(range(1, 21))


def test_call_that_waits_holds_nobody_up(ray, make):
    actor = make(max_concurrency=2)
    waiting = actor.wait.remote()
    assert ray.get(actor.back.remote(1)) == 1
    ray.get(actor.open.remote())
    assert ray.get(waiting) == "went on"


def test_calls_beyond_the_limit_wait(ray, make):
    actor = make(3, max_concurrency=2)
    waiting = [actor.meet.remote() for _ in range(3)]
    assert ray.wait(waiting, timeout=0.3) == ([], waiting)
    ray.kill(actor)


def test_errors_and_values(ray, exceptions, make):
    actor = make(max_concurrency=2)
    with pytest.raises(KeyError, match="lost") as caught:
        ray.get(actor.fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert ray.get([actor.back.remote(i) for i in range(100)]) == list(range(100))


def test_methods_may_block_in_get(ray, make, gate):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return 5

    actor = make(max_concurrency=2)
    waiting = actor.__ray_call__.remote(
        lambda self, refs: __import__(refs[1]).get(refs[0]), [late.remote(gate), ray.__name__]
    )
    assert ray.get(actor.back.remote(1)) == 1
    gate.open()
    assert ray.get(waiting) == 5


def test_call_with_an_unready_argument_holds_nobody_up(ray, make, gate):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return "late"

    actor = make(max_concurrency=2)
    waiting = actor.back.remote(late.remote(gate))
    assert ray.get(actor.back.remote("early")) == "early"
    gate.open()
    assert ray.get(waiting) == "late"


def test_exit_lets_calls_finish_that_run(ray, exceptions):
    @ray.remote(num_cpus=0, max_concurrency=2)
    class Leaving:
        def __init__(self):
            self.left = threading.Event()

        def wait(self):
            self.left.wait(60)
            return "finished"

        def leave(self, package):
            self.left.set()
            __import__(f"{package}.actor").actor.exit_actor()

    actor = Leaving.remote()
    waiting = actor.wait.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote(ray.__name__))
    assert ray.get(waiting) == "finished"
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.wait.remote())


def grouped(ray):
    @ray.remote(num_cpus=0, concurrency_groups={"io": 2, "one": 1})
    class Grouped(Threads):
        @ray.method(concurrency_group="io")
        def io_meet(self):
            return self.meet()

        @ray.method(concurrency_group="io")
        def io_wait(self):
            return self.wait()

        @ray.method(concurrency_group="one")
        def one_count(self):
            return self.count()

        @ray.method(concurrency_group="one")
        def one_ident(self):
            return self.ident()

    return Grouped


def test_groups_have_threads_of_their_own(ray):
    actor = grouped(ray).remote(2)
    in_io = set(ray.get([actor.io_meet.remote() for _ in range(2)]))
    in_one = set(ray.get([actor.one_ident.remote() for _ in range(5)]))
    in_default = set(ray.get([actor.ident.remote() for _ in range(5)]))
    assert [len(each) for each in (in_io, in_one, in_default)] == [2, 1, 1]
    assert len(in_io | in_one | in_default) == 4


def test_blocked_group_holds_no_other_up(ray):
    actor = grouped(ray).remote()
    waiting = [actor.io_wait.remote() for _ in range(4)]
    assert ray.get([actor.back.remote(1), actor.one_count.remote()]) == [1, 1]
    assert ray.wait(waiting, timeout=0)[0] == []
    ray.get(actor.open.remote())
    assert ray.get(waiting) == ["went on"] * 4


def test_group_of_one_thread_keeps_its_locals(ray):
    actor = grouped(ray).remote()
    assert ray.get([actor.one_count.remote() for _ in range(10)]) == list(range(1, 11))


def test_group_of_a_call(ray):
    actor = grouped(ray).remote()
    one = ray.get(actor.one_ident.remote())
    assert ray.get(actor.ident.options(concurrency_group="one").remote()) == one
    assert ray.get(actor.ident.remote()) != one


def test_groups_of_async_actors(ray):
    @ray.remote(num_cpus=0, concurrency_groups={"io": 2})
    class Grouped:
        def __init__(self):
            self.there = 0

        @ray.method(concurrency_group="io")
        async def wait(self):
            self.there += 1
            while self.there < 3:
                await asyncio.sleep(0.001)
            return id(asyncio.get_running_loop())

        async def come(self):
            self.there += 1
            return id(asyncio.get_running_loop())

    actor = Grouped.remote()
    waiting = [actor.wait.remote() for _ in range(2)]
    default = ray.get(actor.come.remote())
    first, second = ray.get(waiting)
    assert first == second != default
