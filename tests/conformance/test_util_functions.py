"""``util``: as_completed, map_unordered, serializers, inspection of what does not pickle, names of actors."""

from __future__ import annotations

import io
import itertools
import threading

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture
def hold(ray):
    @ray.remote(num_cpus=0)
    def hold(gate, value):
        gate.wait()
        return value

    return hold.remote


@pytest.fixture
def echo(ray):
    @ray.remote(num_cpus=0)
    def echo(value):
        return value

    return echo


def test_as_completed_gives_what_is_ready_first(util, ray, echo, hold, gate):
    refs = [hold(gate, "slow"), echo.remote("a"), echo.remote("b")]
    ray.wait(refs[1:], num_returns=2)
    results = util.as_completed(refs, chunk_size=2)
    assert [next(results), next(results)] == ["a", "b"]  # within a chunk in the order given
    gate.open()
    assert list(results) == ["slow"]


def test_as_completed_can_give_refs(util, ray, echo):
    refs = [echo.remote(number) for number in range(12)]
    found = list(util.as_completed(refs, yield_obj_refs=True))
    assert set(found) == set(refs)
    assert sorted(ray.get(found)) == list(range(12))


def test_as_completed_of_nothing_is_nothing(util):
    assert list(util.as_completed([])) == []


def test_as_completed_raises_the_error_of_its_chunk(util, ray):
    @ray.remote(num_cpus=0)
    def fail():
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        list(util.as_completed([fail.remote()]))


@pytest.mark.parametrize("wrong", [{"chunk_size": 0}, {"num_returns": 1}])
def test_as_completed_refuses_numbers_that_cannot_be(util, echo, wrong):
    with pytest.raises(ValueError, match="chunk"):
        next(util.as_completed([echo.remote(1)], **wrong))


def test_map_unordered_gives_each_result_once(util, echo):
    assert sorted(util.map_unordered(echo, range(25), chunk_size=4, backpressure_size=6)) == list(range(25))


def test_map_unordered_takes_items_only_as_far_as_the_limit(util, echo):
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = util.map_unordered(echo, items(), backpressure_size=3, chunk_size=1)
    assert next(results) in (0, 1, 2)
    assert len(taken) == 3
    next(results)
    assert len(taken) == 4
    results.close()


@pytest.mark.parametrize("wrong", [{"chunk_size": 0}, {"num_returns": 1}, {"backpressure_size": 0}])
def test_map_unordered_refuses_numbers_that_cannot_be(util, echo, wrong):
    with pytest.raises(ValueError, match="chunk_size|backpressure_size"):
        next(util.map_unordered(echo, [1], **wrong))


class Connection:
    """Does not pickle, for its lock."""

    def __init__(self, address):
        self.address = address
        self.lock = threading.Lock()


def test_registered_serializer_carries_values_both_ways(util, ray, echo):
    with pytest.raises(TypeError):
        ray.put(Connection("here"))
    util.register_serializer(
        Connection, serializer=lambda value: value.address, deserializer=lambda address: ("rebuilt", address)
    )
    assert ray.get(ray.put([Connection("here")])) == [("rebuilt", "here")]
    assert ray.get(echo.remote(Connection("there"))) == ("rebuilt", "there")
    util.deregister_serializer(Connection)
    with pytest.raises(TypeError):
        ray.put(Connection("here"))
    util.deregister_serializer(Connection)  # harmless


def test_worker_does_not_know_the_serializers_of_the_driver(util, ray):
    @ray.remote(num_cpus=0)
    def make():
        return Connection("worker")

    util.register_serializer(Connection, serializer=lambda value: value.address, deserializer=str)
    with pytest.raises(TypeError):
        ray.get(make.remote())
    util.deregister_serializer(Connection)


class Plain:
    """Pickles without help."""

    def __init__(self, number):
        self.number = number


def test_registered_serializer_wins_over_the_way_a_class_pickles_itself(util, ray):
    util.register_serializer(Plain, serializer=lambda value: value.number, deserializer=lambda number: -number)
    assert ray.get(ray.put(Plain(5))) == -5
    util.deregister_serializer(Plain)
    assert ray.get(ray.put(Plain(5))).number == 5


def test_inspection_of_what_pickles(util):
    printed = io.StringIO()
    assert util.inspect_serializability([1, 2], name="numbers", print_file=printed) == (True, set())
    assert "Checking Serializability of [1, 2]" in printed.getvalue()


def test_inspection_of_a_function_names_the_variable_to_blame(util):
    lock = threading.Lock()

    def use():
        return lock

    printed = io.StringIO()
    fine, failures = util.inspect_serializability(use, name="use", print_file=printed)
    (failure,) = failures
    assert not fine
    assert failure.obj is lock
    assert failure.parent is use
    assert failure.path == ("use", "lock")
    assert "FailTuple(lock [path=use -> lock" in repr(failure)
    assert "'lock'" in printed.getvalue()


def test_inspection_of_an_object_names_the_attribute_to_blame(util):
    connection = Connection("here")
    fine, failures = util.inspect_serializability(connection, print_file=io.StringIO())
    (failure,) = failures
    assert not fine
    assert failure.obj is connection.lock
    assert failure.parent is connection
    assert failure.path == ("lock",)


def test_inspection_stops_at_its_depth(util):
    connection = Connection("here")
    _, failures = util.inspect_serializability(connection, depth=0, print_file=io.StringIO())
    (failure,) = failures
    assert failure.obj is connection


def test_names_of_living_actors_are_listed(util, ray):
    @ray.remote(num_cpus=0)
    class Named:
        def ready(self):
            return True

    here = [Named.options(name=name).remote() for name in ("one", "two")]
    there = Named.options(name="elsewhere", namespace="another").remote()
    ray.get([actor.ready.remote() for actor in [*here, there]])
    assert {"one", "two"} <= set(util.list_named_actors())
    assert "elsewhere" not in util.list_named_actors()
    assert {"name": "elsewhere", "namespace": "another"} in util.list_named_actors(all_namespaces=True)
    for actor in [*here, there]:
        ray.kill(actor)


def test_a_key_is_logged_once(util):
    assert util.log_once("a key of this test")
    assert not util.log_once("a key of this test")
    assert util.log_once("another key of this test")
