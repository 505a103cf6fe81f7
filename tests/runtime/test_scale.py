"""Deep, many, large: what a toy would not survive."""

import numpy
import pytest

import miniray
from helpers.programs import KIND_WORKER, pids_of
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import ObjectStoreFullError


def own_memory() -> int:
    """Return this process's own resident memory in bytes: without what it shares."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))


def test_a_hundred_nested_tasks_on_one_cpu():
    miniray.init(num_cpus=1, log_to_driver=False)

    @miniray.remote
    def down(depth):
        return 0 if depth == 0 else 1 + miniray.get(down.remote(depth - 1))

    assert miniray.get(down.remote(100)) == 100
    wait_until(lambda: len(pids_of(KIND_WORKER)) == 1, "surplus workers leave")
    assert core._validate() is None
    miniray.shutdown()


def test_hundred_thousand_queued_tasks_give_their_memory_back(ray):
    identity = ray.remote(lambda i: i)
    ray.get([identity.remote(i) for i in range(10)])
    before = core._statistics()
    refs = [identity.remote(i) for i in range(100_000)]
    used = core._statistics()["control_resident_bytes"] - before["control_resident_bytes"]
    assert used <= 512 * len(refs)
    assert ray.get(refs) == list(range(100_000))
    del refs
    wait_until(lambda: core._statistics()["objects"] == before["objects"], "the objects go")
    wait_until(
        lambda: core._statistics()["control_resident_bytes"] < before["control_resident_bytes"] + (8 << 20),
        "its memory comes back",
    )


def test_large_array_is_read_without_a_copy(ray):
    size = 200_000_000
    ref = ray.put(numpy.ones(size, numpy.uint8))
    before = own_memory()
    array = ray.get(ref)
    assert int(array.sum()) == size
    assert not array.flags.writeable
    assert own_memory() < before + size // 10

    @ray.remote
    def total(array):
        before = own_memory()
        return int(array.sum()), array.flags.writeable, own_memory() - before

    for found, writeable, growth in ray.get([total.remote(ref) for _ in range(4)]):
        assert (found, writeable) == (size, False)
        assert growth < size // 10


@pytest.fixture
def small_session():
    miniray.init(
        num_cpus=1, log_to_driver=False, object_store_memory=80 << 20, object_capacity=200, task_capacity=50,
        object_spilling_limit=0,
    )  # fmt: skip
    yield miniray
    assert core._validate() is None
    miniray.shutdown()


def test_full_store_without_spilling_is_an_error_and_works_again_when_refs_go(small_session):
    ray = small_session
    refs = []
    with pytest.raises(ObjectStoreFullError, match="10,000"):
        refs.extend(ray.put(bytes(10_000_000)) for _ in range(100))
    assert len(refs) >= 5
    assert all(len(ray.get(ref)) == 10_000_000 for ref in refs)
    refs.clear()
    assert len(ray.get(ray.put(bytes(30_000_000)))) == 30_000_000


def test_result_that_finds_no_room_is_an_error(small_session):
    with pytest.raises(ObjectStoreFullError):
        small_session.get(small_session.remote(lambda: bytes(100_000_000)).remote())
    assert small_session.get(small_session.remote(lambda: 1).remote()) == 1


def test_full_object_table_is_an_error_and_works_again(small_session):
    ray = small_session
    refs = []
    with pytest.raises(MemoryError, match="200 object entries"):
        refs.extend(ray.put(1) for _ in range(1000))
    refs.clear()
    assert ray.get(ray.put(2)) == 2


def test_full_task_table_is_an_error_and_works_again(small_session, tmp_path):
    ray = small_session
    gate = tmp_path / "gate"
    wait_for_gate = ray.remote(lambda: [None for _ in iter(gate.exists, True)] and None)
    refs = []
    with pytest.raises(MemoryError, match="50 task entries"):
        refs.extend(wait_for_gate.remote() for _ in range(1000))
    assert len(refs) == 50
    gate.touch()
    ray.get(refs)
    assert ray.get(ray.remote(lambda: 3).remote()) == 3
