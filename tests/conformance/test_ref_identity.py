"""ObjectRef as a value: equality, hash, text, copies, pickles."""

import copy

import cloudpickle
import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_refs_of_different_objects_differ(ray):
    first, second = ray.put(1), ray.put(1)
    assert first != second
    assert not first == second  # noqa: SIM201 - both operators
    assert first.hex() != second.hex()


def test_ref_equals_itself_and_its_copies(ray):
    ref = ray.put(1)
    for same in (ref, copy.copy(ref), copy.deepcopy(ref)):
        assert same == ref
        assert hash(same) == hash(ref)


def test_ref_differs_from_other_things(ray):
    ref = ray.put(1)
    assert ref != 1
    assert ref != ref.hex()
    assert ref is not None


def test_refs_work_in_sets_and_as_keys(ray):
    first, second = ray.put(1), ray.put(2)
    assert len({first, second, first}) == 2
    names = {first: "first", second: "second"}
    assert names[copy.copy(second)] == "second"


def test_refs_have_no_order(ray):
    with pytest.raises(TypeError):
        sorted([ray.put(1), ray.put(2)])


def test_ref_is_true(ray):
    assert ray.put(0)


def test_ref_is_neither_iterable_nor_sized(ray):
    ref = ray.put([1, 2])
    with pytest.raises(TypeError):
        iter(ref)
    with pytest.raises(TypeError):
        len(ref)


def test_hex_and_binary_are_the_same_id(ray):
    ref = ray.put(1)
    assert isinstance(ref.binary(), bytes)
    assert bytes.fromhex(ref.hex()) == ref.binary()
    assert ref.size() == len(ref.binary())


def test_hex_is_stable(ray):
    ref = ray.remote(lambda: 1).remote()
    before = ref.hex()
    ray.get(ref)
    assert ref.hex() == before


def test_repr_and_str_show_the_hex(ray):
    ref = ray.put(1)
    assert repr(ref) == f"ObjectRef({ref.hex()})"
    assert str(ref) == repr(ref)


def test_ref_is_not_nil_and_nil_is(ray):
    assert not ray.put(1).is_nil()
    assert ray.ObjectRef.nil().is_nil()


def test_object_id_is_another_name_of_object_ref(ray):
    assert ray.ObjectID is ray.ObjectRef


def test_ref_made_from_the_binary_id_equals_the_original(ray):
    ref = ray.put("value")
    same = ray.ObjectRef(ref.binary())
    assert same == ref
    assert hash(same) == hash(ref)


def test_ref_from_too_few_bytes_is_a_value_error(ray):
    with pytest.raises(ValueError, match="length"):
        ray.ObjectRef(b"short")


def test_refs_of_one_task_are_different(ray):
    refs = ray.remote(num_returns=5)(lambda: range(5)).remote()
    assert len({ref.hex() for ref in refs}) == 5


def test_copy_keeps_the_object_alive(ray):
    ref = ray.put(bytes(300_000))
    same = copy.copy(ref)
    del ref
    assert len(ray.get(same)) == 300_000


def test_get_gives_the_same_value_through_a_copy(ray):
    ref = ray.put("value")
    assert ray.get([ref, copy.copy(ref), copy.deepcopy(ref)]) == ["value"] * 3


def test_ref_survives_cloudpickle_by_hand(ray):
    ref = ray.put("value")
    [same] = cloudpickle.loads(cloudpickle.dumps([ref]))
    assert same == ref
    assert ray.get(same) == "value"


def test_ref_has_a_text_that_task_can_compute_too(ray):
    ref = ray.put(1)
    assert ray.get(ray.remote(lambda refs: refs[0].hex()).remote([ref])) == ref.hex()


def test_ref_may_be_deleted_while_its_task_runs(ray, gate, started):
    @ray.remote
    def hold(gate, started):
        started.send()
        gate.wait()
        started.send("finished all the same")

    ref = hold.remote(gate, started)
    started.receive()
    del ref
    gate.open()
    assert started.receive() == "finished all the same"


def test_isinstance_works_with_the_public_class(ray):
    assert isinstance(ray.put(1), ray.ObjectRef)
    assert not isinstance(1, ray.ObjectRef)


def test_type_annotation_with_brackets_works(ray):
    assert ray.ObjectRef[int] is not None
