"""Values of pyarrow, pandas, scipy, torch and the odder ones of numpy: what is shared, what is read-only, what is a copy.

Buffers that a library hands out to pickle are shared and read-only wherever they come out. What a library or the
language copies into the pickle comes back as a private copy, which its reader may change.
"""

import array
import contextlib
import gc
import importlib

import pytest

np = pytest.importorskip("numpy")

import library_values
from library_values import LENGTH, MAKERS, Holder, Measured, all_read_only, equal, is_right, regions

pytestmark = pytest.mark.usefixtures("_libraries", "module_session")

_CORE = {"arrow_array", "arrow_table", "arrow_buffer", "pandas_frame", "pandas_arrow_frame", "sparse_csr_array"}
_LIBRARIES = {"arrow": "pyarrow", "pandas": "pandas", "sparse": "scipy"}

VALUES = pytest.mark.parametrize("name", MAKERS)
CORE_VALUES = pytest.mark.parametrize("name", sorted(_CORE))


@pytest.fixture(scope="module")
def _libraries():
    """Import what is there of the libraries before the first body, so that it is not part of that body's time."""
    for library in ("pyarrow", "pandas", "scipy.sparse"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)


@pytest.fixture
def make(name):
    """Give the maker of the value of that name."""
    pytest.importorskip(_LIBRARIES[name.partition("_")[0]])
    if name.startswith("pandas_arrow"):
        pytest.importorskip("pyarrow")
    return MAKERS[name]


def addresses(value):
    return [region.address for region in regions(value)]


def fill_the_store(ray):
    """Put twenty other large objects, which would take the memory of whatever was freed."""
    return [ray.put(np.full(300_000, -1.0)) for _ in range(20)]


# ------------------------------------------------------------------------------------------- pyarrow, pandas and scipy


@VALUES
def test_value_of_a_library_comes_back_equal(ray, name, make):
    assert equal(ray.get(ray.put(make())), make())


@VALUES
def test_value_of_a_library_from_get_is_read_only(ray, name, make):
    assert all_read_only(ray.get(ray.put(make())))


@VALUES
def test_two_gets_of_a_value_of_a_library_share_all_its_buffers(ray, name, make):
    ref = ray.put(make())
    first, second = ray.get(ref), ray.get(ref)
    assert addresses(first)
    assert addresses(first) == addresses(second)


@VALUES
def test_value_of_a_library_survives_its_ref(ray, name, make):
    ref = ray.put(make())
    value = ray.get(ref)
    del ref
    gc.collect()
    others = fill_the_store(ray)
    assert equal(value, make())
    del others


@VALUES
def test_buffers_of_a_value_of_a_library_survive_the_value(ray, name, make):
    ref = ray.put(make())
    value = ray.get(ref)
    before = [bytes(part) for part in _contents(value)]
    parts = _contents(value)
    del ref, value
    gc.collect()
    others = fill_the_store(ray)
    assert [bytes(part) for part in parts] == before
    del others


def _contents(value):
    """Give views of the value's buffers that keep nothing alive but what their library makes them keep."""
    library = type(value).__module__.partition(".")[0]
    if library == "scipy":
        return [value.data[10:20]]
    if library == "pandas":
        series = value if value.ndim == 1 else value[value.columns[0]]
        return [np.asarray(series.array)[10:20]]
    buffers = [buffer for buffer in library_values._arrow_buffers(value) if buffer.size]
    return [memoryview(buffer)[:10] for buffer in buffers]


@VALUES
def test_value_of_a_library_from_a_ref_argument_is_right_and_read_only(ray, name, make):
    @ray.remote
    def look(value):
        return is_right(name, value), all_read_only(value)

    assert ray.get(look.remote(ray.put(make()))) == (True, True)


@VALUES
def test_value_of_a_library_from_a_plain_argument_is_right_and_read_only(ray, name, make):
    @ray.remote
    def look(value):
        return is_right(name, value), all_read_only(value)

    assert ray.get(look.remote(make())) == (True, True)


@VALUES
def test_value_of_a_library_returned_by_a_task_is_right_and_read_only(ray, name, make):
    result = ray.get(ray.remote(lambda: MAKERS[name]()).remote())
    assert equal(result, make())
    assert all_read_only(result)


@VALUES
def test_two_gets_of_a_result_of_a_library_share_its_buffers(ray, name, make):
    ref = ray.remote(lambda: MAKERS[name]()).remote()
    assert addresses(ray.get(ref)) == addresses(ray.get(ref))


@CORE_VALUES
def test_task_returning_its_argument_of_a_library_gives_an_equal_value(ray, name, make):
    assert equal(ray.get(ray.remote(lambda value: value).remote(ray.put(make()))), make())


@CORE_VALUES
def test_value_of_a_library_survives_in_a_worker_after_its_ref(ray, name, make):
    @ray.remote
    def keep_and_look(refs):
        value = ray.get(refs.pop())
        gc.collect()
        others = fill_the_store(ray)
        right = is_right(name, value)
        del others
        return right

    assert ray.get(keep_and_look.remote([ray.put(make())])) is True


@CORE_VALUES
@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda value: {"value": value}, lambda outer: outer["value"]),
        (lambda value: [0, [value]], lambda outer: outer[1][0]),
        (lambda value: ("odd prefix", value), lambda outer: outer[1]),
        (Holder, lambda outer: outer.value),
        (lambda value: {"deep": [Holder((value,))]}, lambda outer: outer["deep"][0].value[0]),
    ],
    ids=["dict", "list", "tuple", "dataclass", "deep"],
)
def test_value_of_a_library_inside_another_object_is_equal_read_only_and_shared(ray, name, make, wrap, unwrap):
    ref = ray.put(wrap(make()))
    first, second = unwrap(ray.get(ref)), unwrap(ray.get(ref))
    assert equal(first, make())
    assert all_read_only(first)
    assert addresses(first) == addresses(second)


@CORE_VALUES
def test_value_of_a_library_inside_an_argument_is_right_and_read_only(ray, name, make):
    @ray.remote
    def look(outer, holder):
        values = [outer["deep"][0], holder.value]
        return [(is_right(name, value), all_read_only(value)) for value in values]

    assert ray.get(look.remote(ray.put({"deep": [make()]}), Holder(make()))) == [(True, True)] * 2


@CORE_VALUES
def test_value_of_a_library_inside_a_result_is_right_and_read_only(ray, name, make):
    outer = ray.get(ray.remote(lambda: {"deep": [Holder(MAKERS[name]())]}).remote())
    assert equal(outer["deep"][0].value, make())
    assert all_read_only(outer["deep"][0].value)


@CORE_VALUES
def test_value_of_a_library_twice_in_an_object_is_one_value(ray, name, make):
    value = make()
    outer = ray.get(ray.put({"pair": [value, value], "holder": Holder(value)}))
    assert outer["pair"][0] is outer["pair"][1]
    assert outer["pair"][0] is outer["holder"].value


@CORE_VALUES
def test_put_of_a_value_of_a_library_does_not_make_the_original_read_only(ray, name, make):
    value = make()
    before = [region.read_only for region in regions(value)]
    ray.get(ray.put(value))
    assert [region.read_only for region in regions(value)] == before


# ------------------------------------------------------------------------------------------------------------- pyarrow


def test_numpy_view_of_an_arrow_array_is_read_only_and_shared(ray):
    pytest.importorskip("pyarrow")
    ref = ray.put(MAKERS["arrow_array"]())
    first, second = (ray.get(ref).to_numpy(zero_copy_only=True) for _ in range(2))
    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_memoryview_of_an_arrow_buffer_refuses_writes(ray):
    pytest.importorskip("pyarrow")
    view = memoryview(ray.get(ray.put(MAKERS["arrow_buffer"]())))
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1


def test_mutable_arrow_buffer_comes_back_read_only(ray):
    pa = pytest.importorskip("pyarrow")
    buffer = pa.py_buffer(bytearray(b"x" * 500_000))
    assert buffer.is_mutable
    result = ray.get(ray.put(buffer))
    assert not result.is_mutable
    assert result.equals(buffer)


def test_put_of_a_mutable_arrow_buffer_is_a_snapshot(ray):
    pa = pytest.importorskip("pyarrow")
    content = bytearray(b"x" * 500_000)
    ref = ray.put(pa.py_buffer(content))
    content[:] = b"y" * 500_000
    assert ray.get(ref).to_pybytes() == b"x" * 500_000


def test_slice_of_an_arrow_table_comes_back_equal(ray):
    pytest.importorskip("pyarrow")
    part = MAKERS["arrow_table"]().slice(5, 10)
    assert ray.get(ray.put(part)).equals(part)


def test_slice_of_an_arrow_table_from_get_survives_table_and_ref(ray):
    pytest.importorskip("pyarrow")
    part = ray.get(ray.put(MAKERS["arrow_table"]())).slice(5, 2)
    gc.collect()
    others = fill_the_store(ray)
    assert part.to_pydict() == {"x": [5.0, 6.0], "text": ["text 5", "text 6"]}
    del others


def test_metadata_of_an_arrow_schema_is_kept(ray):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": [1]}).replace_schema_metadata({"origin": "test"})
    assert ray.get(ray.put(table)).schema.metadata == {b"origin": b"test"}


def test_empty_arrow_table_comes_back_with_its_schema(ray):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": pa.array([], "f8"), "text": pa.array([], "string")})
    assert ray.get(ray.put(table)).equals(table)


def test_arrow_compute_works_on_shared_buffers(ray):
    pytest.importorskip("pyarrow")
    import pyarrow.compute as pc

    table = ray.get(ray.put(MAKERS["arrow_table"]()))
    assert table.filter(pc.greater(table["x"], LENGTH - 3)).num_rows == 2
    assert pc.sum(table["x"]).as_py() == LENGTH * (LENGTH - 1) / 2


# -------------------------------------------------------------------------------------------------------------- pandas


def test_write_into_a_frame_from_get_is_a_value_error(ray):
    pytest.importorskip("pandas")
    frame = ray.get(ray.put(MAKERS["pandas_frame"]()))
    with pytest.raises(ValueError, match="read-only"):
        frame.iloc[0, 0] = 5.0


def test_write_into_a_series_from_get_is_a_value_error(ray):
    pytest.importorskip("pandas")
    series = ray.get(ray.put(MAKERS["pandas_series"]()))
    with pytest.raises(ValueError, match="read-only"):
        series.iloc[0] = 5.0


def test_write_into_a_frame_argument_is_the_error_of_the_task(ray):
    pytest.importorskip("pandas")

    @ray.remote
    def write(frame):
        frame.iloc[0, 0] = 5.0

    with pytest.raises(ValueError, match="read-only"):
        ray.get(write.remote(MAKERS["pandas_frame"]()))


def test_copy_of_a_frame_from_get_is_writable(ray):
    pytest.importorskip("pandas")
    ref = ray.put(MAKERS["pandas_frame"]())
    frame = ray.get(ref).copy()
    frame.iloc[0, 0] = 5.0
    assert frame.iloc[0, 0] == 5.0
    assert ray.get(ref).iloc[0, 0] == 0.0


def test_new_column_of_a_frame_from_get_is_seen_by_nobody_else(ray):
    pytest.importorskip("pandas")
    ref = ray.put(MAKERS["pandas_frame"]())
    frame = ray.get(ref)
    frame["new"] = frame["x"] + 1
    assert list(frame.columns) == ["x", "y", "new"]
    assert list(ray.get(ref).columns) == ["x", "y"]


def test_write_into_an_arrow_backed_series_is_seen_by_nobody_else(ray):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    ref = ray.put(MAKERS["pandas_arrow_series"]())
    series = ray.get(ref)
    series.iloc[0] = 5.0
    assert series.iloc[0] == 5.0
    assert ray.get(ref).iloc[0] == 0.0


def test_pandas_computes_on_shared_columns(ray):
    pytest.importorskip("pandas")
    frame = ray.get(ray.put(MAKERS["pandas_mixed_frame"]()))
    assert frame.groupby("flag")["n"].sum().sum() == LENGTH * (LENGTH - 1) // 2
    assert frame.sort_values("x", ascending=False)["n"].iloc[0] == LENGTH - 1
    assert len(frame.merge(frame, on="n")) == LENGTH


def test_column_of_a_frame_from_get_survives_frame_and_ref(ray):
    pytest.importorskip("pandas")
    column = ray.get(ray.put(MAKERS["pandas_frame"]()))["y"]
    gc.collect()
    others = fill_the_store(ray)
    assert column.sum() == LENGTH * (LENGTH - 1)
    del others


def test_frame_of_python_objects_is_a_copy_of_its_own(ray):
    pd = pytest.importorskip("pandas")
    ref = ray.put(pd.DataFrame({"things": pd.Series([{"a": 1}, [2], None], dtype=object)}))
    frame = ray.get(ref)
    frame.iloc[0, 0]["a"] = 5
    assert ray.get(ref).iloc[0, 0] == {"a": 1}


@pytest.mark.parametrize("kind", ["category", "multi index", "time zone", "nullable", "empty", "attributes"])
def test_frame_of_any_kind_comes_back_equal(ray, kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "name": ["a", "b", "a"]})
    if kind == "category":
        frame["name"] = frame["name"].astype("category")
    elif kind == "multi index":
        frame = frame.set_index(["name", "x"])
        frame["value"] = range(3)
    elif kind == "time zone":
        frame["when"] = pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin")
    elif kind == "nullable":
        frame["n"] = pd.array([1, None, 3], dtype="Int64")
    elif kind == "empty":
        frame = frame.iloc[:0]
    else:
        frame.attrs["origin"] = "test"
    result = ray.get(ray.put(frame))
    pd.testing.assert_frame_equal(result, frame)
    assert result.attrs == frame.attrs


# --------------------------------------------------------------------------------------------------------------- scipy


def test_write_into_a_sparse_array_from_get_is_a_value_error(ray):
    pytest.importorskip("scipy")
    entries = ray.get(ray.put(MAKERS["sparse_csr_array"]()))
    with pytest.raises(ValueError, match="read-only"):
        entries[0, LENGTH - 1] = 7.0


def test_copy_of_a_sparse_array_from_get_is_writable(ray):
    pytest.importorskip("scipy")
    ref = ray.put(MAKERS["sparse_csr_array"]())
    entries = ray.get(ref).copy()
    entries[0, LENGTH - 1] = 7.0
    assert entries[0, LENGTH - 1] == 7.0
    assert ray.get(ref)[0, LENGTH - 1] == 1.0


def test_scipy_computes_on_shared_arrays(ray):
    pytest.importorskip("scipy")
    entries = ray.get(ray.put(MAKERS["sparse_csr_array"]()))
    assert (entries @ np.ones(LENGTH))[0] == 1.0
    assert (entries.T @ entries).nnz == LENGTH
    assert entries.tocsc().sum() == LENGTH * (LENGTH + 1) / 2


# ---------------------------------------------------------------------------------------- bytes and their like, arrays


def test_bytes_come_back_as_bytes(ray):
    result = ray.get(ray.put(b"x" * 500_000))
    assert type(result) is bytes
    assert result == b"x" * 500_000


@pytest.mark.parametrize("size", [10, 500_000])
@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda value: value, lambda outer: outer),
        (lambda value: [value], lambda outer: outer[0]),
        (lambda value: {"value": value}, lambda outer: outer["value"]),
        (lambda value: {"deep": [[value]]}, lambda outer: outer["deep"][0][0]),
    ],
    ids=["alone", "list", "dict", "deep"],
)
@pytest.mark.parametrize("kind", [bytearray, lambda content: memoryview(content)], ids=["bytearray", "memoryview"])
def test_bytes_like_value_alone_or_in_lists_and_dicts_comes_back_equal(ray, kind, wrap, unwrap, size):
    # Ray's encoding of lists and dicts makes bytes of a bytearray; here it stays one.
    assert unwrap(ray.get(ray.put(wrap(kind(b"x" * size))))) == b"x" * size


@pytest.mark.parametrize("size", [10, 500_000])
def test_memoryview_comes_back_as_bytes(ray, size):
    assert type(ray.get(ray.put(memoryview(b"x" * size)))) is bytes


@pytest.mark.parametrize("kind", [bytearray, lambda content: memoryview(content)], ids=["bytearray", "memoryview"])
def test_bytes_like_argument_arrives_equal(ray, kind):
    assert ray.get(ray.remote(lambda value: value == b"x" * 500_000).remote(kind(b"x" * 500_000)))


@pytest.mark.parametrize("wrap", [lambda value: (value,), Holder], ids=["tuple", "dataclass"])
def test_bytearray_in_a_tuple_or_a_users_class_stays_a_bytearray_of_its_own(ray, wrap):
    def unwrap(outer):
        return outer[0] if isinstance(outer, tuple) else outer.value

    ref = ray.put(wrap(bytearray(b"x" * 500_000)))
    content = unwrap(ray.get(ref))
    assert type(content) is bytearray
    content[0] = 0
    assert unwrap(ray.get(ref)) == b"x" * 500_000


@pytest.mark.parametrize("wrap", [lambda value: (value,), Holder], ids=["tuple", "dataclass"])
def test_memoryview_in_a_tuple_or_a_users_class_comes_back_as_bytes(ray, wrap):
    outer = ray.get(ray.put(wrap(memoryview(b"abc"))))
    result = outer[0] if isinstance(outer, tuple) else outer.value
    assert type(result) is bytes
    assert result == b"abc"


def test_bytearray_twice_in_a_tuple_is_one_bytearray(ray):
    content = bytearray(b"x" * 500_000)
    first, second = ray.get(ray.put((content, content)))
    assert first is second


def test_put_of_a_bytearray_is_a_snapshot(ray):
    content = bytearray(b"x" * 500_000)
    ref = ray.put(content)
    content[:] = b"y" * 500_000
    assert ray.get(ref) == b"x" * 500_000


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda value: value, lambda outer: outer),
        (lambda value: [value], lambda outer: outer[0]),
        (lambda value: {"value": value}, lambda outer: outer["value"]),
        (Holder, lambda outer: outer.value),
    ],
    ids=["alone", "list", "dict", "dataclass"],
)
def test_array_of_the_standard_library_is_a_writable_copy(ray, wrap, unwrap):
    ref = ray.put(wrap(array.array("d", range(LENGTH))))
    numbers = unwrap(ray.get(ref))
    assert numbers == array.array("d", range(LENGTH))
    numbers[0] = 5.0
    assert unwrap(ray.get(ref))[0] == 0.0


def test_array_of_the_standard_library_twice_in_an_object_is_one_array(ray):
    numbers = array.array("d", [1.0])
    first, second = ray.get(ray.put([numbers, numbers]))
    assert first is second


def test_array_of_the_standard_library_as_argument_is_writable(ray):
    @ray.remote
    def write(numbers):
        numbers[0] = 5.0
        return numbers

    original = array.array("d", range(LENGTH))
    assert ray.get(write.remote(original))[0] == 5.0
    assert original[0] == 0.0


# --------------------------------------------------------------------------------------------------------------- numpy

# Contiguous arrays of plain types hand their memory to pickle: shared and read-only.
_SHARED_ARRAYS = {
    "structured": lambda: np.zeros(LENGTH, dtype=[("a", "i4"), ("b", "f8")]),
    "nested structured": lambda: np.zeros(LENGTH, dtype=[("a", [("x", "f4"), ("y", "f4")]), ("b", "i2", (3,))]),
    "fortran": lambda: np.asfortranarray(np.arange(LENGTH, dtype="f8").reshape(100, -1)),
    "view of a part": lambda: np.arange(2 * LENGTH)[LENGTH:],
    "0d": lambda: np.array(5.0),
    "one byte": lambda: np.array([7], dtype="u1"),
    "big endian": lambda: np.arange(LENGTH, dtype=">i4"),
    "float16": lambda: np.arange(LENGTH, dtype="f2"),
    "long double": lambda: np.arange(LENGTH, dtype=np.longdouble),
    "complex": lambda: np.arange(LENGTH) * (1 + 2j),
    "bool": lambda: np.arange(LENGTH) % 3 == 0,
    "text": lambda: np.array(["abc", "äöü€"] * (LENGTH // 2)),
    "bytes": lambda: np.array([b"abc", b"de"] * (LENGTH // 2)),
    "five dimensions": lambda: np.arange(2 * 3 * 4 * 5 * 600.0).reshape(2, 3, 4, 5, 600),
}

# numpy copies these into the pickle.
_COPIED_ARRAYS = {
    "record": lambda: np.rec.fromarrays([np.arange(LENGTH), np.arange(LENGTH) / 2], names="n,x"),
    "masked": lambda: np.ma.masked_array(np.arange(LENGTH), mask=np.arange(LENGTH) % 3 == 0),
    "datetime": lambda: np.arange(LENGTH).astype("M8[s]"),
    "timedelta": lambda: np.arange(LENGTH).astype("m8[ms]"),
    "subclass": lambda: np.arange(LENGTH).view(Measured),
    "object": lambda: np.array([1, "a", None, (2,)], dtype=object),
}

# Equal they come back too, but whether shared depends on the version of numpy.
_OTHER_ARRAYS = {
    "strided": lambda: np.arange(2 * LENGTH)[::2],
    "negative strides": lambda: np.arange(LENGTH)[::-1],
    "negative strides in two dimensions": lambda: np.arange(LENGTH).reshape(100, -1)[::-1, ::-1],
    "transposed": lambda: np.arange(LENGTH).reshape(10, 100, -1).transpose(1, 0, 2),
    "broadcast": lambda: np.broadcast_to(np.arange(LENGTH), (3, LENGTH)),
    "empty": lambda: np.array([]),
    "empty in two dimensions": lambda: np.zeros((0, 3), dtype="i2"),
    "no bytes per item": lambda: np.zeros(5, dtype="V0"),
}

_ARRAYS = {**_SHARED_ARRAYS, **_COPIED_ARRAYS, **_OTHER_ARRAYS}
SHARED_ARRAYS = pytest.mark.parametrize("make", _SHARED_ARRAYS.values(), ids=_SHARED_ARRAYS)
COPIED_ARRAYS = pytest.mark.parametrize("make", _COPIED_ARRAYS.values(), ids=_COPIED_ARRAYS)
ARRAYS = pytest.mark.parametrize("make", _ARRAYS.values(), ids=_ARRAYS)


def same_array(left, right):
    """Tell whether type, dtype, shape, mask and content agree."""
    return (
        type(left) is type(right)
        and left.dtype == right.dtype
        and left.shape == right.shape
        and np.array_equal(np.ma.getmaskarray(left), np.ma.getmaskarray(right))
        and bool(np.all(left == right))
    )


@ARRAYS
def test_unusual_array_comes_back_equal(ray, make):
    assert same_array(ray.get(ray.put(make())), make())


@ARRAYS
def test_unusual_array_goes_through_a_task_unharmed(ray, make):
    assert same_array(ray.get(ray.remote(lambda values: values).remote(make())), make())


@SHARED_ARRAYS
def test_unusual_array_of_a_plain_type_is_read_only_and_shared(ray, make):
    ref = ray.put(make())
    first, second = ray.get(ref), ray.get(ref)
    assert not first.flags.writeable
    assert np.shares_memory(first, second)


@SHARED_ARRAYS
def test_unusual_array_of_a_plain_type_is_read_only_as_argument_and_result(ray, make):
    @ray.remote
    def pass_on(values, refs):
        return values.flags.writeable, ray.get(refs[0]).flags.writeable, values

    as_argument, from_get, result = ray.get(pass_on.remote(make(), [ray.put(make())]))
    assert (as_argument, from_get, result.flags.writeable) == (False, False, False)


@SHARED_ARRAYS
def test_unusual_array_survives_its_ref(ray, make):
    ref = ray.put(make())
    values = ray.get(ref)
    del ref
    gc.collect()
    others = fill_the_store(ray)
    assert same_array(values, make())
    del others


@COPIED_ARRAYS
def test_array_that_numpy_copies_is_writable_and_nobody_else_sees_the_write(ray, make):
    ref = ray.put(make())
    values = ray.get(ref)
    values[0] = values[-1]
    assert same_array(ray.get(ref), make())


def test_fortran_order_is_kept(ray):
    assert ray.get(ray.put(np.asfortranarray(np.arange(600.0).reshape(20, 30)))).flags.f_contiguous


def test_field_of_a_structured_array_from_get_is_read_only(ray):
    structured = ray.get(ray.put(np.zeros(LENGTH, dtype=[("a", "i4"), ("b", "f8")])))
    with pytest.raises(ValueError, match="read-only"):
        structured["b"][0] = 1.0


def test_field_of_a_structured_array_alone_comes_back_equal(ray):
    structured = np.zeros(LENGTH, dtype=[("a", "i4"), ("b", "f8")])
    structured["b"] = np.arange(LENGTH)
    assert same_array(ray.get(ray.put(structured["b"])), structured["b"])


def test_fields_of_a_record_array_are_attributes_still(ray):
    records = ray.get(ray.put(_COPIED_ARRAYS["record"]()))
    assert records.x[-1] == (LENGTH - 1) / 2


def test_fill_value_of_a_masked_array_is_kept(ray):
    masked = np.ma.masked_array([1, 2], mask=[False, True], fill_value=-7)
    assert ray.get(ray.put(masked)).filled().tolist() == [1, -7]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrix_of_numpy_stays_a_matrix(ray):
    matrix = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    result = ray.get(ray.put(matrix))
    assert type(result) is np.matrix
    assert (result * result == matrix * matrix).all()


def test_memmap_comes_back_equal_and_without_its_file(ray, tmp_path):
    path = tmp_path / "numbers"
    np.arange(LENGTH, dtype="f8").tofile(path)
    mapped = np.memmap(path, dtype="f8", mode="r+")
    ref = ray.put(mapped)
    mapped[:] = 0
    mapped.flush()
    path.unlink()
    assert np.array_equal(ray.get(ref), np.arange(LENGTH, dtype="f8"))


def test_memmap_opened_in_a_task_is_a_right_result(ray, tmp_path):
    path = tmp_path / "numbers"
    np.arange(LENGTH, dtype="f8").tofile(path)
    result = ray.get(ray.remote(lambda path: np.memmap(path, dtype="f8", mode="r")).remote(path))
    assert np.array_equal(result, np.arange(LENGTH, dtype="f8"))


def test_scalar_of_numpy_keeps_its_type(ray):
    for scalar in (np.float32(1.5), np.int8(-3), np.bool_(True), np.datetime64("2020-01-01"), np.str_("a")):
        result = ray.get(ray.put(scalar))
        assert type(result) is type(scalar)
        assert result == scalar


def test_dtype_of_numpy_is_a_value(ray):
    dtype = np.dtype([("a", "i4"), ("b", "f8")])
    assert ray.get(ray.put(dtype)) == dtype


def test_arrays_of_all_sizes_around_limits_in_one_object_are_right_and_read_only(ray):
    arrays = [np.full(size, size % 251, dtype="u1") for size in (1, 63, 64, 65, 4_095, 4_096, 4_097, 65_536, 102_401)]
    for sent, came in zip(arrays, ray.get(ray.put(arrays)), strict=True):
        assert np.array_equal(sent, came)
        assert not came.flags.writeable


def test_array_twice_at_different_depths_is_one_array(ray):
    values = np.arange(LENGTH)
    outer = ray.get(ray.put({"list": [values], "tuple": (values, [values]), "holder": Holder(values)}))
    assert outer["list"][0] is outer["tuple"][0]
    assert outer["list"][0] is outer["tuple"][1][0]
    assert outer["list"][0] is outer["holder"].value


def test_array_twice_among_the_arguments_of_a_container_is_one_array_in_the_task(ray):
    values = np.arange(LENGTH)
    assert ray.get(ray.remote(lambda pair: pair[0] is pair[1]).remote((values, values))) is True


def test_object_that_holds_array_and_views_of_it_keeps_all_content(ray):
    base = np.arange(LENGTH)
    outer = ray.get(ray.put([base, base[::2], base[10:], base.reshape(100, -1).T, base.view("u1")]))
    assert np.array_equal(outer[0], base)
    assert np.array_equal(outer[1], base[::2])
    assert np.array_equal(outer[2], base[10:])
    assert np.array_equal(outer[3], base.reshape(100, -1).T)
    assert np.array_equal(outer[4], base.view("u1"))


def test_thousand_arrays_in_an_object_are_all_right_and_read_only(ray):
    arrays = ray.get(ray.put([np.full(100 + i, i) for i in range(1_000)]))
    assert all(values.size == 100 + i and (values == i).all() for i, values in enumerate(arrays))
    assert not any(values.flags.writeable for values in arrays)


def test_list_twice_in_a_users_object_is_one_list(ray):
    shared = [1]
    holder = ray.get(ray.put(Holder((shared, shared))))
    assert holder.value[0] is holder.value[1]


def test_users_object_twice_in_a_list_is_one_object(ray):
    holder = Holder([1])
    first, second = ray.get(ray.put([holder, holder]))
    assert first is second


def test_object_that_holds_itself_comes_back_holding_itself(ray):
    holder = Holder(None)
    holder.value = [holder, np.arange(LENGTH)]
    result = ray.get(ray.put(holder))
    assert result.value[0] is result
    assert not result.value[1].flags.writeable


def test_list_that_holds_itself_comes_back_holding_itself(ray):
    values = [1]
    values.append(values)
    result = ray.get(ray.put(values))
    assert result[1] is result


@pytest.mark.slow
def test_array_of_more_than_a_hundred_megabytes_is_shared_by_driver_and_task(ray):
    @ray.remote
    def look(values):
        return values.flags.writeable, int(values[-1]), int(values[::1000].sum())

    size = 15_000_000
    ref = ray.put(np.arange(size))
    first, second = ray.get(ref), ray.get(ref)
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    assert ray.get(look.remote(ref)) == (False, size - 1, int(first[::1000].sum()))


@pytest.mark.slow
def test_array_of_more_than_a_hundred_megabytes_is_a_right_result(ray):
    size = 15_000_000
    result = ray.get(ray.remote(lambda: np.arange(size)).remote())
    assert np.array_equal(result, np.arange(size))


# --------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool", "complex64"])
def test_tensor_of_any_type_comes_back_equal(ray, dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.arange(LENGTH).to(getattr(torch, dtype))
    result = ray.get(ray.put(tensor))
    assert result.dtype == tensor.dtype
    assert torch.equal(result, tensor)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["0d", "empty", "strided", "transposed", "view"])
def test_tensor_of_any_layout_comes_back_equal(ray, kind):
    torch = pytest.importorskip("torch")
    numbers = torch.arange(float(LENGTH))
    tensor = {
        "0d": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "strided": numbers[::2],
        "transposed": numbers.reshape(100, -1).T,
        "view": numbers[10:20],
    }[kind]
    result = ray.get(ray.put(tensor))
    assert result.stride() == tensor.stride()
    assert torch.equal(result, tensor)


@pytest.mark.slow
def test_tensor_from_get_is_a_copy_that_may_be_written(ray):
    torch = pytest.importorskip("torch")
    ref = ray.put(torch.zeros(LENGTH))
    first, second = ray.get(ref), ray.get(ref)
    assert first.data_ptr() != second.data_ptr()
    first[0] = 1
    assert second[0] == 0
    assert ray.get(ref)[0] == 0


@pytest.mark.slow
def test_tensor_argument_may_be_written_and_nobody_else_sees_it(ray):
    torch = pytest.importorskip("torch")

    @ray.remote
    def add_one(tensor):
        tensor += 1
        return tensor

    ref = ray.put(torch.zeros(LENGTH))
    assert torch.equal(ray.get(add_one.remote(ref)), torch.ones(LENGTH))
    assert torch.equal(ray.get(add_one.remote(torch.zeros(LENGTH))), torch.ones(LENGTH))
    assert torch.equal(ray.get(ref), torch.zeros(LENGTH))


@pytest.mark.slow
def test_tensor_survives_its_ref(ray):
    torch = pytest.importorskip("torch")
    tensor = ray.get(ray.put(torch.arange(float(LENGTH))))
    gc.collect()
    others = fill_the_store(ray)
    assert torch.equal(tensor, torch.arange(float(LENGTH)))
    del others


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
def test_tensor_over_a_shared_array_is_shared_too(ray):
    torch = pytest.importorskip("torch")
    ref = ray.put(np.arange(float(LENGTH)))
    first, second = (torch.from_numpy(ray.get(ref)) for _ in range(2))
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.slow
def test_tensor_twice_in_an_object_is_one_tensor(ray):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(LENGTH)
    outer = ray.get(ray.put({"pair": [tensor, tensor], "holder": Holder(tensor)}))
    assert outer["pair"][0] is outer["pair"][1]
    assert outer["pair"][0] is outer["holder"].value


@pytest.mark.slow
def test_tensor_that_wants_a_gradient_still_does(ray):
    torch = pytest.importorskip("torch")
    weights = ray.get(ray.put(torch.ones(3, requires_grad=True)))
    (weights * 2).sum().backward()
    assert weights.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.slow
def test_module_of_torch_computes_the_same_in_a_task(ray):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 2)
    inputs = torch.ones(3, 4)
    result = ray.get(ray.remote(lambda module, inputs: module(inputs).detach()).remote(module, inputs))
    assert torch.allclose(result, module(inputs).detach())


@pytest.mark.slow  # last in the file, because it ends the session of the others
def test_tensors_are_shared_when_the_environment_asks_for_it(run_program):
    pytest.importorskip("torch")
    finished = run_program(
        """
import torch
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
ref = ray.put(torch.arange(100_000.0))
first, second = ray.get(ref), ray.get(ref)
print("shared", first.data_ptr() == second.data_ptr(), "equal", torch.equal(first, torch.arange(100_000.0)))
""",
        RAY_ENABLE_ZERO_COPY_TORCH_TENSORS="1",
    )
    assert "shared True equal True" in finished.stdout
