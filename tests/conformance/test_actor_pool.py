"""``util.ActorPool``: results in and out of order, timeouts, actors that come, go and die."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture
def make_worker(ray):
    @ray.remote(num_cpus=0)
    class Worker:
        def double(self, value):
            return 2 * value

        def hold(self, gate, value):
            gate.wait()
            return value

        def fail(self, value):
            raise KeyError(value)

        def die(self, value):
            os._exit(1)

    return Worker.remote


@pytest.fixture
def pool(util, make_worker):
    return util.ActorPool([make_worker(), make_worker()])


def double(actor, value):
    return actor.double.remote(value)


def fail(actor, value):
    return actor.fail.remote(value)


def die(actor, value):
    return actor.die.remote(value)


def test_map_keeps_the_order_of_the_values(pool):
    assert list(pool.map(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]


def test_map_unordered_gives_each_result_once(pool):
    assert sorted(pool.map_unordered(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]


def test_submitted_work_that_has_no_actor_yet_waits_for_one(pool):
    for value in range(5):
        pool.submit(double, value)
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not pool.has_next()


def test_get_next_waits_for_the_oldest_and_get_next_unordered_does_not(pool, gate):
    pool.submit(lambda actor, value: actor.hold.remote(gate, value), "slow")
    pool.submit(double, 4)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0)
    assert pool.get_next_unordered() == 8
    gate.open()
    assert pool.get_next_unordered() == "slow"


def test_get_next_after_unordered_results_is_refused(pool):
    for value in range(2):
        pool.submit(double, value)
    pool.get_next_unordered()
    pool.get_next_unordered()
    pool.submit(double, 2)
    assert pool.get_next() == 4
    pool.submit(double, 3)
    pool.submit(double, 4)
    taken = pool.get_next_unordered()
    if taken == 8:
        with pytest.raises(ValueError, match="not allowed"):
            pool.get_next()
    else:
        assert pool.get_next() == 8


def test_get_next_of_an_empty_pool_stops(pool):
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_result_that_is_late_is_dropped_when_asked(pool, gate):
    pool.submit(lambda actor, value: actor.hold.remote(gate, value), "slow")
    with pytest.raises(TimeoutError, match="ignored"):
        pool.get_next(timeout=0, ignore_if_timedout=True)
    assert not pool.has_next()
    assert pool.has_free()
    gate.open()


def test_error_of_a_call_is_raised_and_its_actor_goes_on(pool):
    pool.submit(fail, "wrong")
    with pytest.raises(KeyError, match="wrong"):
        pool.get_next()
    assert list(pool.map(double, [1, 2, 3])) == [2, 4, 6]


def test_actor_that_died_leaves_the_pool(util, make_worker, exceptions):
    pool = util.ActorPool([make_worker()])
    pool.submit(die, 0)
    with pytest.raises(exceptions.ActorDiedError):
        pool.get_next()
    assert not pool.has_free()
    pool.submit(double, 3)
    assert not pool.has_next()
    pool.push(make_worker())
    assert pool.get_next() == 6


def test_idle_actors_can_be_taken_and_given_back(util, make_worker):
    actor, other = make_worker(), make_worker()
    pool = util.ActorPool([actor])
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)
    pool.push(other)
    assert {pool.pop_idle(), pool.pop_idle()} == {actor, other}
    assert pool.pop_idle() is None
    assert not pool.has_free()


def test_map_drops_results_that_nobody_took(pool):
    pool.submit(double, 100)
    assert list(pool.map(double, [1, 2])) == [2, 4]


def test_calls_with_several_results(util, ray):
    @ray.remote(num_cpus=0)
    class Pair:
        @ray.method(num_returns=2)
        def pair(self, value):
            return value, -value

    pool = util.ActorPool([Pair.remote()])
    assert list(pool.map(lambda actor, value: actor.pair.remote(value), [1, 2])) == [[1, -1], [2, -2]]
