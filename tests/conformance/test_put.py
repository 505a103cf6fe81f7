"""put: a snapshot of any value but a ref."""

import threading

import pytest
from payloads import Point, RefusesPickling, UnpickledWrongly

pytestmark = pytest.mark.usefixtures("session")


@pytest.mark.parametrize(
    "value",
    [None, 0, 1.5, "text", b"bytes", [1, [2]], {"a": (1, 2)}, {1, 2}, Point(1, 2, ["t"]), float, bytes(1_000_000)],
    ids=lambda value: type(value).__name__,
)
def test_put_value_comes_back_equal(ray, value):
    assert ray.get(ray.put(value)) == value


def test_put_gives_a_ref_at_once(ray):
    assert isinstance(ray.put(1), ray.ObjectRef)


def test_put_of_equal_values_gives_different_refs(ray):
    assert ray.put(1) != ray.put(1)


def test_put_is_a_snapshot(ray):
    values = [1, 2]
    ref = ray.put(values)
    values.append(3)
    assert ray.get(ref) == [1, 2]


def test_put_of_an_array_is_a_snapshot(ray):
    np = pytest.importorskip("numpy")
    array = np.zeros(100_000)
    ref = ray.put(array)
    array[:] = 1
    assert float(ray.get(ref).sum()) == 0.0


def test_array_stays_writable_for_the_one_who_put_it(ray):
    np = pytest.importorskip("numpy")
    array = np.zeros(100_000)
    ray.put(array)
    array[0] = 5
    assert array[0] == 5


def test_put_of_a_ref_is_a_type_error_that_tells_to_wrap_it(ray):
    with pytest.raises(TypeError, match="wrap the .*ObjectRef in a list"):
        ray.put(ray.put(1))


def test_put_of_a_list_of_refs_gives_them_back(ray):
    inner = ray.put("inner")
    [same] = ray.get(ray.put([inner]))
    assert same == inner
    assert ray.get(same) == "inner"


def test_ref_inside_a_put_value_keeps_its_object_alive(ray):
    inner = ray.put(bytes(500_000))
    outer = ray.put({"inner": inner})
    del inner
    ray.get([ray.put(bytes(500_000)) for _ in range(20)])
    assert len(ray.get(ray.get(outer)["inner"])) == 500_000


def test_unpicklable_value_is_a_type_error(ray):
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(threading.Lock())


def test_unpicklable_part_of_a_value_is_named_in_the_error(ray):
    class Holder:
        def __init__(self):
            self.guard = threading.Lock()

    with pytest.raises(TypeError, match="guard"):
        ray.put(Holder())


def test_error_of_a_pickler_comes_out_of_put_as_it_is(ray):
    with pytest.raises(RuntimeError, match="no pickling today"):
        ray.put(RefusesPickling())


def test_put_works_after_a_refused_put(ray):
    with pytest.raises(TypeError):
        ray.put(threading.Lock())
    assert ray.get(ray.put(1)) == 1


def test_value_that_does_not_unpickle_is_a_system_error_from_get(ray, exceptions):
    with pytest.raises(exceptions.RaySystemError, match="not a number"):
        ray.get(ray.put(UnpickledWrongly()))


def test_put_ref_given_to_a_task_arrives_as_its_value(ray):
    assert ray.get(ray.remote(lambda x: x + 1).remote(ray.put(1))) == 2


def test_task_may_put(ray):
    ref = ray.get(ray.remote(lambda: [ray.put("from a task")]).remote())[0]
    assert ray.get(ref) == "from a task"


def test_owner_argument_is_a_value_error(ray):
    with pytest.raises(ValueError, match="_owner"):
        ray.put(1, _owner="someone")


def test_put_takes_one_value(ray):
    with pytest.raises(TypeError):
        ray.put()
    with pytest.raises(TypeError):
        ray.put(1, 2)


def test_thousands_of_puts_come_back(ray):
    refs = [ray.put((i, str(i))) for i in range(3000)]
    assert ray.get(refs[1234]) == (1234, "1234")
    assert [number for number, _ in ray.get(refs)] == list(range(3000))


def test_refs_that_are_dropped_make_room(ray):
    for i in range(40):
        ref = ray.put(bytes(20_000_000))
        assert len(ray.get(ref)) == 20_000_000, i
        del ref
