"""Streams in miniray's own terms: what is dropped stops and goes, and nothing is left."""

import gc
import os
import threading

import pytest

from helpers.counts import expect_counts
from helpers.states import wait_until
from helpers.streams import AsyncSource, counts_of_streams
from miniray import _miniray_core as core
from miniray import diagnostics
from miniray.exceptions import ObjectStoreFullError, RayError

# --- dropped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-1, 2])
def test_next_yield_ends_a_task_whose_generator_is_dropped(ray, endless, log, limit):
    first = endless.options(_generator_backpressure_num_objects=limit).remote(log)
    del first
    wait_until(lambda: core._statistics()["tasks"] == 0, "the first ends")
    before = counts_of_streams()
    log.write_text("")
    generator = endless.options(_generator_backpressure_num_objects=limit).remote(log)
    completed = generator.completed()
    ray.get(next(generator))
    del generator
    assert ray.get(completed) is None
    assert log.read_text() == "closed\n"
    del completed
    expect_counts(before)


def test_items_that_nobody_took_go_with_the_generator(ray, blocks):
    before = counts_of_streams()
    generator = blocks.remote(50, 10_000)
    completed = generator.completed()
    assert ray.get(completed) is None
    kept = next(generator)
    assert core._statistics()["used_bytes"] >= before["used_bytes"] + 500_000
    del generator
    wait_until(lambda: core._statistics()["used_bytes"] < before["used_bytes"] + 20_000, "49 of 50 items go")
    assert ray.get(kept) == bytes(10_000)
    del kept, completed
    expect_counts(before)


def test_ten_thousand_dropped_generators_leave_nothing(ray, blocks):
    before = counts_of_streams()
    for count in range(10_000):
        generator = blocks.remote(count % 4, 10 + 1000 * (count % 2))
        if count % 3 == 0:
            next(generator, None)
        elif count % 3 == 1:
            generator.next_ready()
        del generator
    expect_counts(before)


def test_dropped_generators_of_generators(ray, blocks):
    @ray.remote
    class Outer:  # one process, which exports the function once
        def stream(self):
            for _ in range(3):
                generator = blocks.remote(5)
                yield [next(generator)]

    outer = Outer.remote()
    ray.get(list(outer.stream.remote()))
    before = counts_of_streams()
    for _ in range(20):
        generator = outer.stream.remote()
        next(generator)
        del generator
    expect_counts(before)


def test_refs_in_items_that_nobody_took_go(ray):
    @ray.remote
    def refs():
        for i in range(20):
            yield [ray.put(bytes(10_000)), i]

    ray.get(list(refs.remote()))
    before = counts_of_streams()
    generator = refs.remote()
    ray.get(generator.completed())
    del generator
    expect_counts(before)


def test_async_generator_is_closed_when_its_reader_goes(ray, log):
    source = ray.remote(AsyncSource).remote()
    for limit in (-1, 1):
        generator = source.endless.options(_generator_backpressure_num_objects=limit).remote(log)
        ray.get(next(generator))
        completed = generator.completed()
        del generator
        assert ray.get(completed) is None
    assert log.read_text() == "closed\n" * 2
    del completed
    assert ray.get(source.pid.remote())
    assert core._validate() is None


def test_waiting_generators_do_not_count_as_dropped(ray, blocks):
    before = counts_of_streams()
    generators = [blocks.options(_generator_backpressure_num_objects=1).remote(3) for _ in range(20)]
    while generators:
        ready, generators = ray.wait(generators)
        assert len(ray.get(next(ready[0], ray.put(b"")))) in (0, 1000)
        if not ready[0].is_finished():
            generators.append(ready[0])
    del ready
    expect_counts(before)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_items_that_nobody_took_are_told_as_kept_by_an_object(ray, blocks):
    generator = blocks.remote(3, 5000)
    ray.get(generator.completed())
    taken = next(generator)
    rows = [row for row in diagnostics.memory().rows if row.size_bytes >= 5000]
    assert sorted(row.holder_kinds for row in rows) == [("object",), ("object",), ("ref",)]
    assert next(row for row in rows if row.object_id == taken.hex()).holder_kinds == ("ref",)


def test_threads_share_a_generator(ray, blocks):
    generator = blocks.remote(2000, 4)
    found = []

    def read():
        found.extend(ray.get(ref) for ref in generator)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(bytes([i % 256]) * 4 for i in range(2000))


def test_generator_of_an_earlier_session(ray, blocks):
    generator = blocks.remote(3)
    next(generator)
    ray.shutdown()
    ray.init(num_cpus=2)
    for look in (generator.__next__, generator.next_ready, generator.is_finished):
        with pytest.raises(ValueError, match="owner is unknown"):
            look()


def test_error_that_was_read_is_not_told_again(ray, capfd):
    @ray.remote
    def fail():
        yield 1
        raise KeyError("told once")

    @ray.remote(max_retries=0)
    def crash():
        yield 1
        os._exit(1)

    for task in (fail, crash):
        generator = task.remote()
        ray.wait([generator])
        for ref in generator:
            try:
                ray.get(ref)
            except RayError:
                continue
        ray.wait([generator])
        del generator, ref
    gc.collect()
    assert "Unhandled error" not in capfd.readouterr().err


def test_nobody_makes_a_generator_by_hand(ray):
    with pytest.raises(TypeError, match=r"made by \.remote"):
        ray.ObjectRefGenerator()


def test_store_that_is_full_ends_the_stream(small_store):
    ray = small_store

    @ray.remote(max_retries=0)
    def blocks():
        while True:
            yield bytes(500_000)

    generator = blocks.remote()
    refs = list(generator)
    assert [len(ray.get(ref)) for ref in refs[:-1]] == [500_000] * (len(refs) - 1)
    assert len(refs) > 2
    with pytest.raises(ObjectStoreFullError):
        ray.get(refs[-1])
    del refs, generator
    wait_until(lambda: counts_of_streams()["used_bytes"] < 20_000, "the items go")
    assert core._validate() is None


@pytest.fixture
def small_store():
    """Give a session whose store is small, and from which nothing is spilled."""
    import miniray

    miniray.init(num_cpus=2, object_store_memory=4 << 20, object_spilling_limit=0)
    yield miniray
    miniray.shutdown()


def test_items_that_nobody_reads_are_spilled(ray):
    @ray.remote
    def blocks(count):
        for i in range(count):
            yield bytes([i]) * 1_000_000

    ray.shutdown()
    ray.init(num_cpus=2, object_store_memory=6 << 20)
    generator = blocks.remote(20)
    assert ray.get(generator.completed()) is None
    assert [ray.get(ref)[0] for ref in generator] == list(range(20))
    assert core._validate() is None
