"""``ObjectStore`` in one process: every method, every error."""

import array
import gc
import threading

import pytest

from helpers.named_segments import segments_of
from miniray._miniray_core import ObjectID, ObjectRef, ObjectStore
from miniray.exceptions import ObjectStoreFullError

MEGABYTE = 1 << 20


@pytest.fixture
def store(name):
    with ObjectStore(name=name, capacity=8 * MEGABYTE) as opened:
        yield opened
        assert opened._validate() is None


@pytest.mark.parametrize("size", [0, 1, 32, 33, 4096, 4097, 100_000, 3 * MEGABYTE])
def test_what_is_put_is_got(store, size):
    data = bytes(i % 251 for i in range(min(size, 5000))) + b"x" * max(0, size - 5000)
    ref = store.put(data)
    assert isinstance(ref, ObjectRef)
    assert store.get(ref) == data


@pytest.mark.parametrize(
    "data",
    [bytearray(b"\x01\x02"), memoryview(b"\x01\x02"), [1, 2], (1, 2), array.array("B", [1, 2])],
    ids=lambda value: type(value).__name__,
)
def test_put_takes_bytes_in_any_form(store, data):
    assert store.get(store.put(data)) == b"\x01\x02"


@pytest.mark.parametrize(
    ("data", "error"), [("text", TypeError), (5, TypeError), (None, TypeError), ([256], ValueError)]
)
def test_put_of_something_else_is_an_error(store, data, error):
    with pytest.raises(error):
        store.put(data)
    assert store.size() == 0


def test_put_under_a_given_ref(store):
    ref = ObjectRef()
    assert store.put(b"one", ref) == ref
    assert store.get(ref) == b"one"


def test_ref_may_come_first_as_well(store):
    ref = ObjectRef()
    store.put(ref, b"one")
    store.put(data=b"two", ref=ObjectID.from_random())
    assert store.get(ref) == b"one"


def test_id_of_a_ref_finds_its_object(store):
    ref = store.put(b"one")
    assert store.get(ref.get_object_id()) == b"one"
    assert store.get(ObjectRef(ObjectID.from_hex(ref.to_hex()))) == b"one"


def test_second_put_under_one_ref_is_a_value_error(store):
    ref = store.put(b"one", ObjectRef())
    with pytest.raises(ValueError, match=f"{ref.to_hex()} exists already"):
        store.put(b"two", ref)
    assert store.get(ref) == b"one"
    assert store.size() == 1


def test_put_under_the_nil_ref_is_a_value_error(store):
    with pytest.raises(ValueError, match="nil"):
        store.put(b"one", ObjectID())


@pytest.mark.parametrize("method", ["get", "get_view", "delete", "remove"])
def test_unknown_ref_is_a_key_error_that_names_it(store, method):
    ref = ObjectRef()
    with pytest.raises(KeyError, match=ref.to_hex()):
        getattr(store, method)(ref)


@pytest.mark.parametrize("method", ["get", "get_view", "delete", "contains"])
def test_something_else_than_a_ref_is_a_type_error(store, method):
    with pytest.raises(TypeError, match="ObjectRef"):
        getattr(store, method)("abc")


@pytest.mark.parametrize("method", ["delete", "remove"])
@pytest.mark.parametrize("ref", [None, ObjectRef()], ids=["own id", "given ref"])
def test_deleted_object_is_gone_and_cannot_be_deleted_again(store, method, ref):
    ref = store.put(b"one", ref)
    getattr(store, method)(ref)
    assert not store.contains(ref)
    assert ref not in store
    assert store.size() == 0
    with pytest.raises(KeyError):
        getattr(store, method)(ref)
    if ref != store.put(b"other"):
        with pytest.raises(KeyError):
            store.get(ref)


def test_given_ref_can_be_used_again_after_delete(store):
    ref = store.put(b"one", ObjectRef())
    store.delete(ref)
    store.put(b"two", ref)
    assert store.get(ref) == b"two"


def test_ref_of_a_deleted_object_is_a_name_like_any_other(store):
    ref = store.put(b"old")
    store.delete(ref)
    others = [store.put(b"other") for _ in range(3)]
    assert store.put(b"new", ref) == ref
    assert store.get(ref) == b"new"
    store.delete(ref)
    assert ref not in store
    assert all(store.get(other) == b"other" for other in others)
    assert store._validate() is None


def test_object_has_one_id_and_names_cannot_be_those_of_objects_to_come(store):
    first = int(store.put(b"first").hex(), 16)  # the number of a row is in the last half, its generation before it
    store.put(b"second", ObjectRef())
    assert ObjectRef(bytes.fromhex(f"{first + 1:032x}")) not in store
    for number in (first + 1, first + 2, first + (1 << 32), first | 0xFFFFFFFF):
        with pytest.raises(ValueError, match="this store gives such ids itself"):
            store.put(b"third", ObjectRef(bytes.fromhex(f"{number:032x}")))
    assert store._validate() is None


def test_size_counts_objects(store):
    refs = [store.put(bytes(100)) for _ in range(10)]
    assert store.size() == len(store) == 10
    store.delete(refs[3])
    assert store.size() == 9
    assert all(ref in store for ref in refs if ref != refs[3])


def test_deleting_gives_the_memory_back(store):
    before = store.used_bytes
    refs = [store.put(bytes(100_000)) for _ in range(20)]
    assert store.used_bytes >= before + 20 * 100_000
    for ref in refs:
        store.delete(ref)
    assert store.used_bytes == before


# --- views --------------------------------------------------------------------------------------------------------------


def test_view_is_read_only_memory_of_the_object(store):
    view = store.get_view(store.put(b"abc" * 1000))
    assert isinstance(view, memoryview)
    assert view.readonly
    assert view.nbytes == 3000
    assert bytes(view) == b"abc" * 1000
    with pytest.raises(TypeError):
        view[0] = 1


def test_two_views_show_the_same_memory(store):
    numpy = pytest.importorskip("numpy")
    ref = store.put(bytes(5000))
    one, other = (numpy.frombuffer(store.get_view(ref), numpy.uint8) for _ in range(2))
    assert one.__array_interface__["data"] == other.__array_interface__["data"]


def test_view_survives_delete_and_then_gives_its_memory_back(store):
    before = store.used_bytes
    ref = store.put(b"x" * 100_000)
    view = store.get_view(ref)
    part = view[10:20]
    store.delete(ref)
    assert store.size() == 0
    for _ in range(5):
        store.put(b"y" * 100_000)
    assert bytes(view[:3]) == b"xxx"
    del view
    assert bytes(part) == b"x" * 10
    used = store.used_bytes
    del part
    assert store.used_bytes < used
    assert store.used_bytes >= before


def test_view_survives_close(name):
    store = ObjectStore(name=name, capacity=MEGABYTE)
    view = store.get_view(store.put(b"still here" * 10))
    store.close()
    del store
    gc.collect()
    assert bytes(view[:10]) == b"still here"
    assert segments_of(name) == []


# --- full ---------------------------------------------------------------------------------------------------------------


def test_full_store_evicts_the_least_recently_used(store):
    refs = [store.put(bytes([i]) * MEGABYTE) for i in range(7)]
    store.get(refs[0])
    store.get_view(refs[1])
    for _ in range(3):
        store.put(bytes(MEGABYTE))
    assert refs[0] in store
    assert refs[1] in store
    assert refs[2] not in store
    assert store.get(refs[0]) == bytes([0]) * MEGABYTE


def test_full_store_never_evicts_what_is_viewed(store):
    view = store.get_view(store.put(b"v" * MEGABYTE))
    for _ in range(30):
        store.put(bytes(MEGABYTE))
    assert bytes(view[-3:]) == b"vvv"


def test_full_store_of_views_is_an_error(store):
    views = []
    with pytest.raises(ObjectStoreFullError, match="1,048,576 bytes"):
        views.extend(store.get_view(store.put(bytes(MEGABYTE))) for _ in range(100))
    assert len(views) >= 6
    views.clear()
    store.put(bytes(MEGABYTE))


def test_eviction_can_be_an_error_instead(name):
    with ObjectStore(name=name, capacity=4 * MEGABYTE, eviction="error") as store:
        refs = []
        with pytest.raises(ObjectStoreFullError):
            refs.extend(store.put(bytes(MEGABYTE)) for _ in range(100))
        assert len(refs) >= 3
        assert all(ref in store for ref in refs)
        store.delete(refs.pop())
        store.put(bytes(MEGABYTE))
        assert store._validate() is None


def test_object_larger_than_the_store_is_an_error(store):
    kept = store.put(b"kept")
    with pytest.raises(ObjectStoreFullError, match="8,388,608|8,392,704"):
        store.put(bytes(9 * MEGABYTE))
    assert kept in store


def test_full_table_evicts_or_is_an_error(name):
    with ObjectStore(name=name, capacity=MEGABYTE, max_objects=50) as store:
        refs = [store.put(b"x") for _ in range(60)]
        assert store.size() == 50
        assert refs[9] not in store
        assert refs[10] in store
    with ObjectStore(name=name, capacity=MEGABYTE, max_objects=50, eviction="error") as store:
        for _ in range(50):
            store.put(b"x")
        with pytest.raises(MemoryError, match="50 object entries"):
            store.put(b"x")


# --- opening and closing ------------------------------------------------------------------------------------------------


def test_segment_lies_in_shared_memory_while_the_store_lives(name):
    store = ObjectStore(name=name, capacity=MEGABYTE)
    assert segments_of(name) == [f"miniray_{name}_objectstore"] == [store.name]
    store.close()
    store.close()
    assert segments_of(name) == []


def test_name_with_the_prefix_is_taken_as_it_is(name):
    with ObjectStore(name=f"miniray_{name}", capacity=MEGABYTE):
        assert segments_of(name) == [f"miniray_{name}"]


def test_opening_before_it_was_made_says_so(name):
    with pytest.raises(FileNotFoundError, match="create=True"):
        ObjectStore(create=False, name=name)


def test_making_it_twice_names_the_owner(name):
    import os

    with ObjectStore(name=name, capacity=MEGABYTE), pytest.raises(FileExistsError, match=f"process {os.getpid()}"):
        ObjectStore(name=name, capacity=MEGABYTE)


def test_second_handle_of_one_process_sees_the_same(store, name):
    with ObjectStore(create=False, name=name) as other:
        ref = other.put(b"one")
        assert store.get(ref) == b"one"
        assert other.size() == store.size() == 1
    assert store.get(ref) == b"one"


def test_closed_store_says_so(name):
    store = ObjectStore(name=name, capacity=MEGABYTE)
    store.close()
    for call in (store.size, lambda: store.put(b""), lambda: store.get(ObjectRef())):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eviction": "mru"}, "'lru' or 'error'"),
        ({"capacity": 0}, "at least 1 byte"),
        ({"max_objects": 0}, "at least 1"),
        ({"name": "a/b"}, "slash"),
        ({"name": "a" * 300}, "200 characters"),
    ],
    ids=str,
)
def test_bad_argument_is_a_value_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        ObjectStore(**arguments)


def test_threads_share_a_store(store):
    errors = []

    def work(number):
        try:
            for i in range(200):
                ref = store.put(bytes([number]) * (i * 7))
                assert store.get(ref) == bytes([number]) * (i * 7)
                if i % 3:
                    store.delete(ref)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.size() == 4 * 67


def test_a_million_objects(name):
    with ObjectStore(name=name, capacity=256 * MEGABYTE) as store:
        refs = [store.put(i.to_bytes(8, "little")) for i in range(1_000_000)]
        assert store.size() == 1_000_000
        assert all(int.from_bytes(store.get(refs[i]), "little") == i for i in range(0, 1_000_000, 997))
        assert store._validate() is None
