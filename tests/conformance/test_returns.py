"""num_returns: what .remote() gives for 0, 1 and n, and what a wrong number does."""

import threading

import pytest
from payloads import RefusesPickling, UnpickledWrongly

pytestmark = pytest.mark.usefixtures("session")


def test_one_return_is_one_ref(ray):
    ref = ray.remote(lambda: 1).remote()
    assert isinstance(ref, ray.ObjectRef)


def test_function_without_return_gives_none(ray):
    @ray.remote
    def nothing():
        pass

    assert ray.get(nothing.remote()) is None


def test_tuple_stays_one_value_by_default(ray):
    assert ray.get(ray.remote(lambda: (1, 2)).remote()) == (1, 2)


def test_num_returns_one_keeps_a_tuple_and_a_list_whole(ray):
    assert ray.get(ray.remote(num_returns=1)(lambda: (1,)).remote()) == (1,)
    assert ray.get(ray.remote(num_returns=1)(lambda: [1]).remote()) == [1]


def test_num_returns_zero_gives_none_and_the_task_runs(ray, started):
    @ray.remote(num_returns=0)
    def task(started):
        started.send("ran")
        return 1

    assert task.remote(started) is None
    assert started.receive() == "ran"


def test_num_returns_n_gives_a_list_of_n_refs(ray):
    refs = ray.remote(num_returns=3)(lambda: (1, 2, 3)).remote()
    assert type(refs) is list
    assert len(set(refs)) == 3
    assert ray.get(refs) == [1, 2, 3]


@pytest.mark.parametrize(
    ("returned", "values"),
    [((1, 2), [1, 2]), ([1, 2], [1, 2]), ("ab", ["a", "b"]), ({"a": 1, "b": 2}, ["a", "b"]), (range(2), [0, 1])],
    ids=["tuple", "list", "str", "dict", "range"],
)
def test_any_iterable_with_a_length_fills_several_returns(ray, returned, values):
    assert ray.get(ray.remote(num_returns=2)(lambda: returned).remote()) == values


def test_single_ref_of_several_may_be_used_alone(ray):
    _, second, _ = ray.remote(num_returns=3)(lambda: ("a", "b", "c")).remote()
    assert ray.get(second) == "b"
    assert ray.get(ray.remote(lambda x: x.upper()).remote(second)) == "B"


@pytest.mark.parametrize("returned", [(1,), (1, 2, 3), ()], ids=["few", "many", "none"])
def test_wrong_number_of_values_is_a_value_error_from_every_ref(ray, returned):
    refs = ray.remote(num_returns=2)(lambda: returned).remote()
    for ref in refs:
        with pytest.raises(ValueError, match=f"returned {len(returned)} objects, but num_returns=2"):
            ray.get(ref)


@pytest.mark.parametrize("returned", [None, 5])
def test_value_without_length_is_a_type_error_from_every_ref(ray, returned):
    refs = ray.remote(num_returns=2)(lambda: returned).remote()
    for ref in refs:
        with pytest.raises(TypeError, match="has no len"):
            ray.get(ref)


def test_error_comes_out_of_every_ref(ray):
    @ray.remote(num_returns=3)
    def fail():
        raise KeyError("all of them")

    for ref in fail.remote():
        with pytest.raises(KeyError, match="all of them"):
            ray.get(ref)


def test_hundred_returns_come_in_order(ray):
    refs = ray.remote(num_returns=100)(lambda: range(100)).remote()
    assert ray.get(refs) == list(range(100))


def test_big_and_small_returns_may_be_mixed(ray):
    small, big, text = ray.remote(num_returns=3)(lambda: (1, bytes(1_000_000), "x")).remote()
    assert (ray.get(small), len(ray.get(big)), ray.get(text)) == (1, 1_000_000, "x")


def test_one_object_returned_twice_fills_two_refs(ray):
    @ray.remote(num_returns=2)
    def twice():
        values = [1, 2]
        return values, values

    assert ray.get(twice.remote()) == [[1, 2], [1, 2]]


def test_returned_ref_is_given_as_a_ref(ray):
    @ray.remote
    def inner():
        return "inner"

    @ray.remote
    def outer():
        return inner.remote()

    ref = ray.get(outer.remote())
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == "inner"


def test_returned_ref_is_resolved_one_level_only(ray):
    @ray.remote
    def wrap(value):
        return ray.put(value)

    @ray.remote
    def wrap_twice(value):
        return wrap.remote(value)

    level = wrap_twice.remote("core")
    for _ in range(2):
        level = ray.get(level)
        assert isinstance(level, ray.ObjectRef)
    assert ray.get(level) == "core"


def test_ref_of_a_ref_as_argument_arrives_as_the_inner_ref(ray):
    ref_type = ray.ObjectRef

    @ray.remote
    def wrap():
        return ray.put("core")

    @ray.remote
    def look(value):
        return isinstance(value, ref_type), ray.get(value)

    assert ray.get(look.remote(wrap.remote())) == (True, "core")


def test_list_of_refs_is_returned_as_a_list_of_refs(ray):
    @ray.remote
    def start():
        return [ray.put(i) for i in range(3)]

    refs = ray.get(start.remote())
    assert ray.get(refs) == [0, 1, 2]


def test_object_put_by_a_task_lives_on_after_the_task(ray):
    @ray.remote
    def make():
        return [ray.put(bytes(500_000))]

    [ref] = ray.get(make.remote())
    ray.get([ray.remote(lambda: None).remote() for _ in range(20)])
    assert len(ray.get(ref)) == 500_000


def test_task_started_by_a_task_runs_on_after_its_parent(ray, gate):
    @ray.remote(num_cpus=0)
    def child(gate):
        gate.wait()
        return "child done"

    @ray.remote
    def parent(gate):
        return [child.remote(gate)]

    [ref] = ray.get(parent.remote(gate))
    gate.open()
    assert ray.get(ref) == "child done"


def test_unpicklable_return_is_a_type_error(ray):
    with pytest.raises(TypeError, match="cannot pickle"):
        ray.get(ray.remote(lambda: threading.Lock()).remote())


def test_worker_serves_on_after_an_unpicklable_return(ray):
    with pytest.raises(TypeError):
        ray.get(ray.remote(lambda: threading.Lock()).remote())
    assert ray.get(ray.remote(lambda: "fine").remote()) == "fine"


def test_error_of_a_pickler_is_the_error_of_the_task(ray):
    with pytest.raises(RuntimeError, match="no pickling today"):
        ray.get(ray.remote(lambda: RefusesPickling()).remote())


def test_return_that_does_not_unpickle_is_a_system_error(ray, exceptions):
    with pytest.raises(exceptions.RaySystemError, match="not a number"):
        ray.get(ray.remote(lambda: UnpickledWrongly()).remote())


@pytest.mark.parametrize("size", [0, 1, 1000, 102_400, 110_000, 3_000_000])
def test_return_of_any_size_arrives_whole(ray, size):
    assert ray.get(ray.remote(lambda: b"\x05" * size).remote()) == b"\x05" * size


def test_functions_and_classes_may_be_returned(ray):
    @ray.remote
    def make():
        class Made:
            value = 3

        return (lambda x: x + 1), Made

    function, made = ray.get(make.remote())
    assert function(1) == 2
    assert made().value == 3
