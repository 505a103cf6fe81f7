"""Zero-copy writes: memory of the store that is written first and put, or returned, without a copy."""

import gc
import os
import signal

import pytest

import miniray
from helpers.states import wait_until
from miniray import _miniray_core as core

np = pytest.importorskip("numpy")


def used():
    return core._statistics()["used_bytes"]


def test_put_of_a_store_array_takes_no_more_memory(ray):
    array = ray.empty(1_000_000)
    array[:] = range(1_000_000)
    before = used()
    ref = ray.put(array)
    assert used() - before <= 4096
    assert np.shares_memory(ray.get(ref), ray.get(ref))
    assert (ray.get(ref) == array).all()


def test_array_is_read_only_after_put(ray):
    array = ray.zeros((10, 10), dtype="i4")
    array[3, 4] = 5
    ref = ray.put(array)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    assert int(ray.get(ref).sum()) == 5


LATE_WRITER = """
import numpy as np
ray.init(num_cpus=1)
array = ray.empty({size}, np.uint8)
array[:] = 1
late = array[:10]
ref = ray.put(array)
def is_protected():
    for line in open("/proc/self/maps"):
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        if first <= array.ctypes.data < last:
            return line.split()[1] == "r--s"
while not is_protected():
    time.sleep(0.001)
child = os.fork()
if child == 0:
    late[0] = 2
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(ray.get(ref)[0]))
del late, array
again = ray.empty({size}, np.uint8)
again[:] = 3
print(int(ray.get(ref)[0]), int(ray.get(ray.put(again))[-1]))
ray.shutdown()
"""


@pytest.mark.parametrize("size", [100_000, 100_000_000])
def test_late_writer_hurts_only_itself(start_program, size):
    code, out, err = start_program(LATE_WRITER.format(size=size)).finish()
    assert (code, out.split()) == (0, [str(-signal.SIGSEGV), "1", "1", "3"]), err


def test_structure_that_holds_store_arrays_is_put_without_copies(ray):
    first, second = ray.empty(100_000), ray.empty((300, 400), order="F")
    first[:], second[:] = 1, 2
    before = used()
    ref = ray.put({"pair": [first, second], "again": first, "name": "x"})
    assert used() - before <= 4096
    value = ray.get(ref)
    assert value["pair"][0] is value["again"]
    assert value["pair"][1].flags.f_contiguous
    assert (float(value["again"].sum()), float(value["pair"][1].sum())) == (100_000, 240_000)
    assert not first.flags.writeable
    assert not second.flags.writeable


def test_part_of_a_store_array_is_copied_and_the_rest_stays_writable(ray):
    array = ray.zeros(100_000)
    ref = ray.put(array[:10])
    array[:] = 1
    assert ray.get(ref).tolist() == [0] * 10
    assert array.flags.writeable


def test_task_returns_a_store_array_without_a_copy(ray):
    @ray.remote
    def make(n):
        before = core._statistics()["used_bytes"]
        array = miniray.empty(n)
        array[:] = np.arange(n)
        return array, core._statistics()["used_bytes"] - before

    array, taken = ray.get(make.remote(1_000_000))
    assert array[-1] == 999_999
    assert taken <= 8_004_096
    assert used() <= 8_020_000


def test_store_array_as_an_argument_is_sealed(ray):
    array = ray.zeros(200_000)
    total = ray.remote(lambda value: float(value.sum()))
    array[:] = 1
    assert ray.get(total.remote(array)) == 200_000
    assert not array.flags.writeable
    assert ray.get([total.remote(array), total.remote(array)]) == [200_000] * 2


def test_two_puts_of_one_store_array_share_its_memory(ray):
    array = ray.zeros(100_000)
    first, second = ray.put(array), ray.put([array])
    assert np.shares_memory(ray.get(first), ray.get(second)[0])
    del first, array
    gc.collect()
    assert ray.get(second)[0].sum() == 0


def test_dropping_an_unsealed_array_frees_it(ray):
    before = used()
    array = ray.empty(1_000_000)
    view = array[5:]
    assert used() >= before + 8_000_000
    del array
    assert used() >= before + 8_000_000
    del view
    gc.collect()
    assert used() == before
    assert core._validate() is None


def test_failed_put_leaves_the_array_writable(ray):
    array = ray.zeros(100_000)
    with pytest.raises(TypeError):
        ray.put([array, __import__("threading").Lock()])
    array[0] = 1
    assert array.flags.writeable


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4), (1000, 100)])
@pytest.mark.parametrize("dtype", ["f8", "i1", "?", "c16", "<M8[s]", [("a", "i4"), ("b", "f8")], ">i2", "U5"])
def test_any_shape_and_type_comes_back(ray, shape, dtype):
    array = ray.zeros(shape, dtype)
    expected = np.zeros(shape, dtype)
    value = ray.get(ray.put(array))
    assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
    assert (value == expected).all()
    assert not array.flags.writeable


def test_bytes_of_the_store_stay_a_view(ray):
    block = ray.create(100_000)
    block[:3] = b"abc"
    before = used()
    value = ray.get(ray.put([block, 1]))[0]
    assert used() - before <= 4096
    assert isinstance(value, memoryview)
    assert value.readonly
    assert bytes(value[:3]) == b"abc"
    with pytest.raises(TypeError):
        block[0] = 1


def test_empty_like_takes_shape_type_and_order(ray):
    array = ray.empty_like(np.asfortranarray(np.ones((3, 4), "f4")))
    assert (array.shape, array.dtype, array.flags.f_contiguous) == ((3, 4), np.dtype("f4"), True)
    assert array.flags.writeable
    assert ray.empty_like(array, dtype="i8").dtype == np.dtype("i8")


def test_bad_arguments_are_named(ray):
    with pytest.raises(ValueError, match="-1"):
        ray.create(-1)
    with pytest.raises(TypeError, match="Python objects"):
        ray.empty(3, dtype=object)
    with pytest.raises(ValueError, match="negative"):
        ray.empty((3, -1))


def test_array_read_from_the_store_is_passed_on_without_a_copy(ray):
    ref = ray.put(np.arange(1_000_000))
    array = ray.get(ref)
    before = used()
    identity = ray.remote(lambda value: value)
    again = ray.get(identity.remote(array))
    assert np.shares_memory(array, again)
    assert used() - before <= 8192
    nested = ray.get(ray.put({"a": array, "b": array[400_000:]}))
    assert np.shares_memory(nested["a"], array)
    assert np.shares_memory(nested["b"], array)


def test_small_part_of_an_array_does_not_keep_all_of_it(ray):
    ref = ray.put(np.arange(1_000_000))
    part = ray.put(ray.get(ref)[:1000])
    del ref
    gc.collect()
    assert used() < 1_000_000
    assert ray.get(part)[-1] == 999


def test_array_whose_ref_is_gone_can_still_be_put(ray):
    array = ray.get(ray.put(np.arange(1_000_000)))
    gc.collect()
    assert ray.get(ray.put(array))[-1] == 999_999
    assert core._validate() is None


def test_store_arrays_survive_shutdown():
    miniray.init(num_cpus=1)
    unsealed, sealed = miniray.zeros(1000), miniray.zeros(1000)
    value = miniray.get(miniray.put(sealed))
    miniray.shutdown()
    unsealed[:] = 3
    assert (unsealed.sum(), sealed.sum(), value.sum()) == (3000, 0, 0)


def test_killed_worker_leaves_no_half_written_array(ray):
    @ray.remote(max_retries=0)
    def write():
        array = miniray.empty(1_000_000)
        array[:] = 1
        os._exit(1)

    before = used()
    with pytest.raises(miniray.exceptions.WorkerCrashedError):
        ray.get(write.remote())
    wait_until(lambda: used() < before + 100_000, "its memory comes back")
    assert core._validate() is None


def test_put_of_a_large_array_copies_it_once(ray):
    data = np.ones(50_000_000, np.uint8)
    ray.put(data)
    private = own_bytes()
    ref = ray.put(data)
    assert own_bytes() - private < 5_000_000
    assert ray.get(ref)[0] == 1


def own_bytes():
    """Return the memory of this process that is not the store's."""
    with open("/proc/self/smaps_rollup") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


def test_array_larger_than_any_store_is_refused(ray):
    for nbytes in (1 << 50, 1 << 62, 1 << 70):
        with pytest.raises(miniray.exceptions.ObjectStoreFullError, match="object_store_memory") as caught:
            ray.create(nbytes)
        assert str(caught.value).count("needed") == 1
    with pytest.raises(ValueError, match="order"):
        ray.empty(3, order="A")
