"""``ObjectID``, ``ObjectRef`` and ``Task``: values without shared memory behind them."""

import array
import copy
import pickle

import pytest

from miniray._miniray_core import ObjectID, ObjectRef, Task, __version__

HEX = "0123456789abcdef0123456789abcdef"


def test_version_is_the_packages():
    import importlib.metadata

    assert __version__ == importlib.metadata.version("miniray")


def test_id_made_without_arguments_is_nil():
    assert ObjectID().is_nil()
    assert ObjectID().to_hex() == "0" * 32


def test_random_ids_differ_and_are_not_nil():
    ids = {ObjectID.from_random() for _ in range(1000)}
    assert len(ids) == 1000
    assert not any(one.is_nil() for one in ids)


def test_id_and_hex_convert_both_ways():
    one = ObjectID.from_hex(HEX)
    assert one.to_hex() == HEX
    assert ObjectID.from_hex(HEX.upper()) == one
    assert len(ObjectID.from_random().to_hex()) == 32


@pytest.mark.parametrize("text", ["", "12", HEX + "0", HEX[:-1] + "g", HEX[:-1] + " ", "é" * 32])
def test_bad_hex_is_a_value_error_that_shows_it(text):
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        ObjectID.from_hex(text)


def test_ids_are_equal_by_value_and_hash_alike():
    assert ObjectID.from_hex(HEX) == ObjectID.from_hex(HEX)
    assert hash(ObjectID.from_hex(HEX)) == hash(ObjectID.from_hex(HEX))
    assert ObjectID.from_hex(HEX) != ObjectID.from_random()
    assert ObjectID() != 0
    assert ObjectID() != None  # noqa: E711 - the comparison itself is the test


def test_id_survives_pickle_and_copy():
    one = ObjectID.from_random()
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one


def test_repr_of_an_id_holds_its_hex():
    assert repr(ObjectID.from_hex(HEX)) == f"ObjectID({HEX})"


def test_refs_are_unique_when_made_without_arguments():
    assert len({ObjectRef() for _ in range(1000)}) == 1000


def test_ref_of_an_id_gives_the_id_back():
    one = ObjectID.from_random()
    ref = ObjectRef(one)
    assert ref.get_object_id() == one
    assert ref.id == one
    assert ref.to_hex() == one.to_hex()


def test_refs_of_one_id_are_equal_and_hash_alike():
    one = ObjectID.from_random()
    assert ObjectRef(one) == ObjectRef(one)
    assert hash(ObjectRef(one)) == hash(ObjectRef(one))
    assert ObjectRef(one) != ObjectRef()
    assert ObjectRef(one) != one


def test_repr_of_a_ref_holds_its_hex():
    ref = ObjectRef()
    assert ref.to_hex() in repr(ref)


@pytest.mark.parametrize("wrong", [5, "x", object()])
def test_ref_of_something_else_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        ObjectRef(wrong)


@pytest.mark.parametrize(
    "given",
    [b"abc", bytearray(b"abc"), memoryview(b"abc"), [97, 98, 99], (97, 98, 99), array.array("B", b"abc")],
    ids=lambda value: type(value).__name__,
)
def test_task_takes_bytes_in_any_form(given):
    ref = ObjectRef()
    task = Task(ref, given, given)
    assert task.return_ref == ref
    assert task.serialized_function == b"abc"
    assert task.serialized_args == b"abc"
    assert type(task.serialized_function) is bytes


@pytest.mark.parametrize("wrong", ["text", 5, None, [1.5], ["a"]])
def test_task_of_something_else_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        Task(ObjectRef(), wrong, b"")


@pytest.mark.parametrize("wrong", [[256], [-1]])
def test_task_of_numbers_that_are_no_bytes_is_a_value_error(wrong):
    with pytest.raises(ValueError, match=r"range\(0, 256\)"):
        Task(ObjectRef(), b"", wrong)


def test_tasks_are_equal_by_value_and_survive_pickle():
    task = Task(ObjectRef(), b"f", b"a")
    assert pickle.loads(pickle.dumps(task)) == task
    assert task != Task(ObjectRef(), b"f", b"a")
    assert "Task(" in repr(task)
