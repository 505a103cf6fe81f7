"""Actors with threads: each thread takes its calls itself, and no call waits while a thread is free."""

import random
import threading
import time

import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core


class Busy:
    """Counts how many of its calls run, and lets them wait for each other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.barriers = {}
        self.ended = []

    def back(self, value):
        return value

    def counted(self, value, seconds=0.0):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        if seconds:
            time.sleep(seconds)
        with self.lock:
            self.running -= 1
        return value

    def meet(self, name, count):
        """Return when so many calls are in here."""
        with self.lock:
            barrier = self.barriers.setdefault(name, threading.Barrier(count))
        barrier.wait()
        return threading.get_ident()

    def thread(self):
        return threading.get_ident()

    def most_at_once(self):
        return self.most

    def give_what_calls_at_its_end(self, actor, name):
        """Return what, when it is let go, calls this actor and waits for the answer."""
        ended = self.ended

        class Caller:
            def __del__(self):
                import miniray

                ended.append(miniray.get(actor.back.remote(name)))

            def __reduce__(self):
                return str, (name,)

        return Caller()

    def ends(self):
        return self.ended


@pytest.fixture
def make(ray):
    def make(threads, **options):
        return ray.remote(num_cpus=0, max_concurrency=threads, **options)(Busy).remote()

    return make


@pytest.mark.parametrize("threads", [2, 3, 8, 40])
def test_as_many_calls_run_at_once_as_there_may_be_threads(ray, make, threads):
    actor = make(threads)
    for round_number in range(3):
        found = ray.get([actor.meet.remote(round_number, threads) for _ in range(threads)])
        assert len(set(found)) == threads


def test_calls_that_come_one_by_one_run_at_once(ray, make):
    """The first runs already, and no thread looks, when the next comes."""
    actor = make(4)
    for round_number in range(20):
        refs = []
        for _ in range(4):
            refs.append(actor.meet.remote(round_number, 4))
            ray.get(ray.put(0))
        assert len(set(ray.get(refs))) == 4


def test_one_call_after_the_other_stays_in_one_thread(ray, make):
    actor = make(8)
    ray.get([actor.thread.remote() for _ in range(100)])
    assert len({ray.get(actor.thread.remote()) for _ in range(200)}) <= 2


def test_limit_holds_whatever_comes(ray, make):
    actor = make(3)
    numbers = random.Random(5)
    refs = [actor.counted.remote(i, numbers.choice([0.0, 0.0, 0.001])) for i in range(600)]
    assert ray.get(refs) == list(range(600))
    assert ray.get(actor.most_at_once.remote()) <= 3


def test_bursts_and_pauses_of_several_callers(ray, make):
    """Threads go to sleep, are woken, and find that another was there before; nothing is lost."""
    actor = make(4)

    @ray.remote(num_cpus=0.1)
    def call(seed):
        numbers = random.Random(seed)
        total = 0
        for _ in range(150):
            count = numbers.choice([1, 1, 1, 2, 5, 30])
            refs = [actor.counted.remote(i, numbers.choice([0.0, 0.0, 0.0, 0.0005])) for i in range(count)]
            assert ray.get(refs) == list(range(count))
            total += count
            if numbers.random() < 0.3:
                time.sleep(numbers.choice([0.0001, 0.0003, 0.001]))
        return total

    assert all(total > 150 for total in ray.get([call.remote(seed) for seed in range(3)]))
    assert ray.get(actor.most_at_once.remote()) <= 4
    wait_until(lambda: core._statistics()["tasks"] == 0, "all have ended")


def test_a_result_whose_end_calls_the_actor_holds_up_nothing(ray, make):
    """The call at its end is made by the thread that would take the next call, and waits for that."""
    actor = make(2)
    expected = []
    for i in range(100):
        expected.append(str(i))
        assert ray.get(actor.give_what_calls_at_its_end.remote(actor, str(i))) == str(i)
        wait_until(lambda: ray.get(actor.ends.remote()) == expected, "it has called")


def test_calls_of_groups_run_beside_a_full_group(ray):
    actor = ray.remote(num_cpus=0, concurrency_groups={"one": 1, "two": 2})(Busy).remote()
    one, two = (actor.meet.options(concurrency_group=name) for name in ("one", "two"))
    for i in range(20):
        refs = [one.remote(i, 3), one.remote(-i - 1, 1), two.remote(i, 3), two.remote(i, 3)]
        assert len(set(ray.get(refs))) == 3
