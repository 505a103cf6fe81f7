"""How arguments reach a task: bound in the caller, copied at the call, refs resolved at the top level only."""

import threading

import pytest
from payloads import ImportedError, Point, RefusesPickling, UnpickledWrongly

pytestmark = pytest.mark.usefixtures("session")


def collect(first, second="default", *rest, key="key default", **others):
    return first, second, rest, key, others


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        ((1,), {}, (1, "default", (), "key default", {})),
        ((1, 2), {}, (1, 2, (), "key default", {})),
        ((1, 2, 3, 4), {}, (1, 2, (3, 4), "key default", {})),
        ((), {"first": 1}, (1, "default", (), "key default", {})),
        ((), {"second": 2, "first": 1}, (1, 2, (), "key default", {})),
        ((1,), {"key": 5}, (1, "default", (), 5, {})),
        ((1,), {"other": 6, "more": 7}, (1, "default", (), "key default", {"other": 6, "more": 7})),
        ((1, 2, 3), {"key": 4, "self": 5}, (1, 2, (3,), 4, {"self": 5})),
    ],
)
def test_arguments_are_bound_as_in_a_plain_call(ray, args, kwargs, bound):
    assert ray.get(ray.remote(collect).remote(*args, **kwargs)) == bound


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (lambda x: x, (), {}),
        (lambda x: x, (1, 2), {}),
        (lambda x: x, (1,), {"x": 2}),
        (lambda x: x, (), {"z": 2}),
        (lambda x: x, (1,), {"z": 2}),
        (lambda: 1, (1,), {}),
        (lambda *, key: key, (1,), {}),
        (lambda *, key: key, (), {}),
        (lambda x, /: x, (), {"x": 1}),
    ],
    ids=[
        "missing",
        "too many",
        "twice",
        "other name",
        "unknown",
        "none expected",
        "positional",
        "key",
        "positional only",
    ],
)
def test_call_that_does_not_fit_the_signature_is_a_type_error_from_remote(ray, function, args, kwargs):
    with pytest.raises(TypeError):
        ray.remote(function).remote(*args, **kwargs)


def test_missing_argument_is_named_in_the_error(ray):
    @ray.remote
    def area(width, height):
        return width * height

    with pytest.raises(TypeError, match="height"):
        area.remote(3)


def test_call_through_options_checks_the_signature_too(ray):
    with pytest.raises(TypeError):
        ray.remote(collect).options(num_cpus=1).remote()


def test_positional_only_parameters_work(ray):
    @ray.remote
    def subtract(a, b, /):
        return a - b

    assert ray.get(subtract.remote(5, 3)) == 2


def test_default_values_are_those_of_the_definition(ray):
    @ray.remote
    def default(values=(1, 2, 3), name=None):
        return values, name

    assert ray.get(default.remote()) == ((1, 2, 3), None)


def test_mutable_default_is_not_shared_between_driver_and_worker(ray):
    def append(value, into=[]):  # noqa: B006 - the point of the test
        into.append(value)
        return into

    assert ray.get(ray.remote(append).remote(1))[-1] == 1
    assert append.__defaults__ == ([],)


def test_ref_as_positional_argument_arrives_as_its_value(ray):
    assert ray.get(ray.remote(lambda x: x).remote(ray.put({"a": 1}))) == {"a": 1}


def test_ref_as_keyword_argument_arrives_as_its_value(ray):
    assert ray.get(ray.remote(lambda *, x: x).remote(x=ray.put([1]))) == [1]


def test_refs_in_star_arguments_arrive_as_values(ray):
    @ray.remote
    def total(*args, **kwargs):
        return sum(args) + sum(kwargs.values())

    assert ray.get(total.remote(ray.put(1), 2, ray.put(3), a=ray.put(4), b=5)) == 15


def test_same_ref_may_be_given_twice(ray):
    ref = ray.put(4)
    assert ray.get(ray.remote(lambda a, b: a * b).remote(ref, ref)) == 16


def test_task_waits_for_the_result_of_another(ray, gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return 20

    first = slow.remote(gate)
    second = ray.remote(lambda x: x + 1).remote(first)
    assert ray.wait([second], timeout=0.2) == ([], [second])
    gate.open()
    assert ray.get(second) == 21


def test_task_that_waits_for_its_argument_holds_no_cpu(ray, gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return 1

    identity = ray.remote(lambda x: x)
    blocked = [identity.remote(slow.remote(gate)) for _ in range(1)] + [
        identity.remote(slow.options(num_cpus=0).remote(gate)) for _ in range(3)
    ]
    assert ray.get(identity.remote("runs beside them")) == "runs beside them"
    gate.open()
    assert ray.get(blocked) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda ref: [ref], lambda value: value[0]),
        (lambda ref: (ref,), lambda value: value[0]),
        (lambda ref: {"key": ref}, lambda value: value["key"]),
        (lambda ref: {ref}, lambda value: next(iter(value))),
        (lambda ref: [[{"deep": (ref,)}]], lambda value: value[0][0]["deep"][0]),
        (lambda ref: Point(ref, 0), lambda value: value.x),
    ],
    ids=["list", "tuple", "dict", "set", "deep", "attribute"],
)
def test_ref_inside_a_container_arrives_as_a_ref(ray, wrap, unwrap):
    ref_type = ray.ObjectRef

    @ray.remote
    def look(container):
        ref = unwrap(container)
        return isinstance(ref, ref_type), ray.get(ref)

    assert ray.get(look.remote(wrap(ray.put("inside")))) == (True, "inside")


def test_nested_ref_does_not_delay_the_task(ray, gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return 5

    @ray.remote
    def count(refs):
        return len(refs)

    pending = slow.remote(gate)
    assert ray.get(count.remote([pending])) == 1
    gate.open()
    assert ray.get(pending) == 5


def test_nested_ref_keeps_its_identity(ray):
    ref = ray.put(1)
    same = ray.get(ray.remote(lambda refs: refs[0]).remote([ref]))
    assert same == ref
    assert hash(same) == hash(ref)


def test_nested_ref_lives_on_when_the_driver_drops_its_own(ray, gate):
    @ray.remote
    def late(gate, refs):
        gate.wait()
        return ray.get(refs[0])

    ref = ray.put(list(range(1000)))
    result = late.remote(gate, [ref])
    del ref
    gate.open()
    assert ray.get(result) == list(range(1000))


def test_argument_ref_lives_on_when_the_driver_drops_its_own(ray, gate):
    @ray.remote
    def slow(gate):
        gate.wait()
        return bytes(300_000)

    ref = slow.remote(gate)
    result = ray.remote(lambda data: len(data)).remote(ref)
    del ref
    gate.open()
    assert ray.get(result) == 300_000


def test_argument_is_a_snapshot_taken_at_the_call(ray, gate):
    @ray.remote
    def late(gate, values):
        gate.wait()
        return values

    values = [1, 2, 3]
    ref = late.remote(gate, values)
    values.append(4)
    gate.open()
    assert ray.get(ref) == [1, 2, 3]


def test_keyword_argument_is_a_snapshot_taken_at_the_call(ray, gate):
    @ray.remote
    def late(gate, *, values):
        gate.wait()
        return values

    values = {"a": 1}
    ref = late.remote(gate, values=values)
    values["b"] = 2
    gate.open()
    assert ray.get(ref) == {"a": 1}


def test_array_argument_is_a_snapshot_taken_at_the_call(ray, gate):
    np = pytest.importorskip("numpy")

    @ray.remote
    def late(gate, array):
        gate.wait()
        return float(array.sum())

    array = np.ones(200_000)
    ref = late.remote(gate, array)
    array[:] = 7
    gate.open()
    assert ray.get(ref) == 200_000.0


def test_change_of_an_argument_in_the_task_does_not_reach_the_caller(ray):
    @ray.remote
    def change(values):
        values.append("changed")
        return values

    values = ["original"]
    assert ray.get(change.remote(values)) == ["original", "changed"]
    assert values == ["original"]


def test_change_of_a_resolved_ref_does_not_reach_the_stored_object(ray):
    @ray.remote
    def change(values):
        values.append("changed")
        return len(values)

    ref = ray.put(["original"])
    assert ray.get([change.remote(ref), change.remote(ref)]) == [2, 2]
    assert ray.get(ref) == ["original"]


@pytest.mark.parametrize(
    "value",
    [
        None, True, -1, 0, 2**62, 2**64, -(2**70), 1.5, float("inf"), -0.0, 1j, "", "text", "üñïçödé \N{PILE OF POO}",
        "\0", "\ud800", b"", b"\x00\xff", (), (1,), ((), ((),)), [], [1, [2, [3]]], {}, {1: {2: 3}},
        {(1, 2): "tuple key"}, set(), {1, 2}, frozenset({3}), range(5), slice(1, 2, 3), Ellipsis, NotImplemented, int, ValueError,
        Point(1.0, 2.0, ["a"]), len, ImportedError,
    ],
    ids=repr,
)  # fmt: skip
def test_value_comes_back_equal_and_of_the_same_type(ray, value):
    result = ray.get(ray.remote(lambda x: x).remote(value))
    assert result == value
    assert type(result) is type(value)


def test_nan_and_negative_zero_survive(ray):
    nan, zero = ray.get(ray.remote(lambda x: x).remote((float("nan"), -0.0)))
    assert nan != nan
    assert str(zero) == "-0.0"


def test_instances_of_a_class_defined_in_the_test_survive(ray):
    class Local:
        def __init__(self, value):
            self.value = value

        def twice(self):
            return 2 * self.value

    result = ray.get(ray.remote(lambda x: (x.twice(), x)).remote(Local(21)))
    assert result[0] == 42
    assert isinstance(result[1], Local)


def test_functions_and_closures_may_be_arguments(ray):
    offset = 100
    assert ray.get(ray.remote(lambda function, x: function(x)).remote(lambda x: x + offset, 1)) == 101


def test_bytearray_arrives_with_its_content(ray):
    assert ray.get(ray.remote(lambda x: bytes(x)).remote(bytearray(b"abc"))) == b"abc"


def test_aliases_inside_an_instance_are_kept(ray):
    inner = [1]
    assert ray.get(ray.remote(lambda point: point.x is point.y).remote(Point(inner, inner))) is True


def test_recursive_argument_is_kept(ray):
    loop = []
    loop.append(loop)
    assert ray.get(ray.remote(lambda x: x[0] is x).remote(loop)) is True


def test_unpicklable_argument_is_a_type_error_from_remote(ray):
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        ray.remote(lambda x: x).remote(threading.Lock())


def test_unpicklable_keyword_argument_is_a_type_error_from_remote(ray):
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        ray.remote(lambda x: x).remote(x=[threading.Lock()])


def test_error_of_a_pickler_comes_out_of_remote_as_it_is(ray):
    with pytest.raises(RuntimeError, match="no pickling today"):
        ray.remote(lambda x: x).remote(RefusesPickling())


def test_argument_that_does_not_unpickle_fails_the_task_with_a_system_error(ray, exceptions):
    ref = ray.remote(lambda x: x).remote(UnpickledWrongly())
    with pytest.raises(exceptions.RaySystemError, match="not a number") as caught:
        ray.get(ref)
    assert isinstance(caught.value, exceptions.RayTaskError)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 99_999, 102_400, 102_401, 1_000_000, 20_000_000])
def test_bytes_of_any_size_arrive_whole(ray, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    length, copy = ray.get(ray.remote(lambda data: (len(data), data)).remote(data))
    assert length == size
    assert copy == data


def test_many_arguments_arrive_in_order(ray):
    args = list(range(300))
    kwargs = {f"key_{i}": i for i in range(300)}
    result = ray.get(ray.remote(lambda *args, **kwargs: (list(args), kwargs)).remote(*args, **kwargs))
    assert result == (args, kwargs)
    assert list(result[1]) == list(kwargs)


def test_hundreds_of_refs_may_be_arguments_of_one_task(ray):
    refs = [ray.put(i) for i in range(300)]
    assert ray.get(ray.remote(lambda *values: sum(values)).remote(*refs)) == sum(range(300))


def test_thousand_nested_refs_may_be_one_argument(ray):
    refs = [ray.put(i) for i in range(1000)]
    assert ray.get(ray.remote(lambda refs: sum(ray.get(refs))).remote(refs)) == sum(range(1000))


def test_big_argument_given_to_many_tasks_through_one_ref(ray):
    np = pytest.importorskip("numpy")
    ref = ray.put(np.ones(1_000_000))
    parts = [ray.remote(lambda array, i: float(array[i::10].sum())).remote(ref, i) for i in range(10)]
    assert sum(ray.get(parts)) == 1_000_000.0
