"""Memory of the object store that stays free goes back to the system, and nobody notices."""

import os
import threading

import pytest

import miniray
from helpers.states import wait_until
from miniray import _miniray_core as core

MB = 1 << 20


@pytest.fixture
def resident():
    """Give how many bytes of memory the store of a session of 512 MB takes."""
    miniray.init(num_cpus=2, object_store_memory=512 * MB, log_to_driver=False)
    _, heap = core._session_descriptors()
    yield lambda: os.fstat(heap).st_blocks * 512
    miniray.shutdown()


def trim():
    """Do what the supervisor does, without its pauses."""
    core._begin_heap_trim()
    return sum(iter(core._trim_heap, 0))


def test_memory_that_stays_free_goes_back(resident):
    ref = miniray.put(bytes(100 * MB))
    assert resident() > 100 * MB
    del ref
    assert trim() == 0  # it was used since the last time
    assert 40 * MB < trim() < 60 * MB
    while trim():
        pass
    assert resident() < 40 * MB
    assert miniray.get(miniray.put(b"x" * (50 * MB))) == b"x" * (50 * MB)
    assert core._validate() is None


@pytest.mark.slow
def test_supervisor_gives_it_back(resident):
    ref = miniray.put(bytes(60 * MB))
    del ref
    wait_until(lambda: resident() < 40 * MB, "the memory goes back")
    wait_until(lambda: not core._is_heap_trimmable(), "nothing more is to go")


@pytest.mark.slow
def test_values_are_right_while_memory_is_given_back(resident):
    @miniray.remote
    def make(i, size):
        return bytes([i]) * size

    over = threading.Event()
    given = []

    def trim_all_the_time():
        while not over.is_set():
            given.append(trim())

    thread = threading.Thread(target=trim_all_the_time)
    thread.start()
    try:
        for i in range(12):
            sizes = [(8 + 5 * (i + k) % 16) * MB for k in range(3)]
            refs = [make.remote(i, sizes[0]), make.remote(i + 1, sizes[1]), miniray.put(bytes([i + 2]) * sizes[2])]
            for k, ref in enumerate(refs):
                value = miniray.get(ref)
                assert len(value) == sizes[k]
                assert value.count(i + k) == sizes[k]
            del refs, ref, value
    finally:
        over.set()
        thread.join()
    assert sum(given) > 0
    assert core._validate() is None
