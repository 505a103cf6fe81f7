"""Arrays in shared memory: read-only wherever they come out, shared, and valid as long as somebody looks."""

import gc
import pickle

import pytest

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.usefixtures("session")

# Small values travel inside a message in Ray, large ones in shared memory: what a user sees must not differ.
SIZES = pytest.mark.parametrize("size", [10, 1_000, 1_000_000])


@SIZES
def test_array_from_get_is_read_only(ray, size):
    array = ray.get(ray.put(np.zeros(size)))
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@SIZES
def test_array_returned_by_a_task_is_read_only(ray, size):
    array = ray.get(ray.remote(lambda n: np.arange(n)).remote(size))
    assert not array.flags.writeable
    assert int(array[-1]) == size - 1


@SIZES
def test_array_from_a_ref_argument_is_read_only(ray, size):
    @ray.remote
    def writable(array):
        return array.flags.writeable

    assert ray.get(writable.remote(ray.put(np.zeros(size)))) is False


@SIZES
def test_array_from_a_plain_argument_is_read_only(ray, size):
    @ray.remote
    def writable(array):
        return array.flags.writeable

    assert ray.get(writable.remote(np.zeros(size))) is False


def test_read_only_array_cannot_be_made_writable(ray):
    array = ray.get(ray.put(np.zeros(1_000_000)))
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_write_to_a_read_only_argument_is_the_error_of_the_task(ray):
    @ray.remote
    def write(array):
        array[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        ray.get(write.remote(ray.put(np.zeros(100_000))))


def test_copy_of_the_array_is_writable(ray):
    array = ray.get(ray.put(np.zeros(100_000))).copy()
    array[0] = 1
    assert array.sum() == 1


def test_two_gets_of_a_large_array_share_memory(ray):
    ref = ray.put(np.arange(1_000_000))
    assert np.shares_memory(ray.get(ref), ray.get(ref))


def test_get_in_a_list_shares_memory_too(ray):
    ref = ray.put(np.arange(1_000_000))
    first, second = ray.get([ref, ref])
    assert np.shares_memory(first, second)


def test_array_stays_valid_after_its_ref_is_gone(ray):
    ref = ray.put(np.arange(1_000_000))
    array = ray.get(ref)
    del ref
    gc.collect()
    others = [ray.put(np.zeros(1_000_000)) for _ in range(20)]
    assert int(array.sum()) == 499_999_500_000
    del others


def test_slice_stays_valid_after_array_and_ref_are_gone(ray):
    tail = ray.get(ray.put(np.arange(1_000_000)))[-3:]
    gc.collect()
    others = [ray.put(np.zeros(1_000_000)) for _ in range(20)]
    assert tail.tolist() == [999_997, 999_998, 999_999]
    del others


def test_array_kept_by_a_task_worker_stays_valid(ray):
    @ray.remote
    def keep(array):
        import builtins

        builtins.kept_array = array
        return float(array.sum())

    @ray.remote
    def read():
        import builtins

        array = getattr(builtins, "kept_array", None)
        return None if array is None else float(array.sum())

    assert ray.get(keep.remote(np.ones(1_000_000))) == 1_000_000.0
    others = [ray.put(np.zeros(1_000_000)) for _ in range(10)]
    sums = ray.get([read.remote() for _ in range(10)])
    assert set(sums) <= {None, 1_000_000.0}
    del others


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int8).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24)[::2],
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.array(5),
        np.array([]),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01", "2021-02-03"], dtype="datetime64[D]"),
        np.arange(3, dtype=">i4"),
        np.array([1, "a", None], dtype=object),
    ],
    ids=["2d", "fortran", "strided", "transposed", "0d", "empty", "empty 2d", "bool", "complex", "str", "bytes",
         "structured", "datetime", "big endian", "object"],
)  # fmt: skip
def test_array_of_any_kind_comes_back_equal(ray, array):
    result = ray.get(ray.put(array))
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    assert (result == array).all()


def test_arrays_inside_containers_are_read_only_and_shared(ray):
    ref = ray.put({"pair": [np.arange(200_000), np.ones(200_000)]})
    first, second = ray.get(ref)["pair"], ray.get(ref)["pair"]
    assert not first[0].flags.writeable
    assert np.shares_memory(first[1], second[1])


def test_one_array_twice_in_an_object_is_one_array(ray):
    array = np.arange(100_000)
    first, second = ray.get(ray.put([array, array]))
    assert first is second


def test_views_of_one_array_in_an_object_keep_their_content(ray):
    array = np.arange(100_000)
    head, tail = ray.get(ray.put((array[:10], array[-10:])))
    assert head.tolist() == list(range(10))
    assert tail.tolist() == list(range(99_990, 100_000))


def test_out_of_band_buffer_of_a_users_class_is_read_only(ray):
    class Buffered:
        def __init__(self, data):
            self.data = data

        def __reduce_ex__(self, protocol):
            return (type(self), (pickle.PickleBuffer(self.data),))

    result = ray.get(ray.put(Buffered(bytearray(b"x" * 500_000))))
    view = memoryview(result.data)
    assert view.readonly
    assert bytes(view) == b"x" * 500_000


def test_array_travels_through_several_tasks_unharmed(ray):
    step = ray.remote(lambda array: array + 1)
    ref = ray.put(np.zeros(300_000))
    for _ in range(5):
        ref = step.remote(ref)
    assert float(ray.get(ref).sum()) == 1_500_000.0


def test_task_returning_its_read_only_argument_gives_an_equal_array(ray):
    ref = ray.put(np.arange(300_000))
    assert (ray.get(ray.remote(lambda array: array).remote(ref)) == np.arange(300_000)).all()


def test_task_returning_a_slice_of_its_argument_works(ray):
    ref = ray.put(np.arange(1_000_000))
    part = ray.get(ray.remote(lambda array: array[500_000:]).remote(ref))
    assert part.shape == (500_000,)
    assert int(part[0]) == 500_000


def test_array_is_aligned_for_vector_instructions(ray):
    _, array = ray.get(ray.put(("odd prefix", np.arange(1_000_000))))
    assert array.ctypes.data % 64 == 0
