"""Streams whose reader or maker dies or is cancelled: nobody hangs, each item comes once, nothing is left."""

import os
import random
import signal

import pytest

from helpers.counts import expect_counts
from helpers.states import wait_until
from helpers.streams import Source, counts_of_streams
from miniray import _miniray_core as core
from miniray.exceptions import (
    RayError,
    StreamingGeneratorReplayInconsistentError,
    TaskCancelledError,
    WorkerCrashedError,
)

# --- deaths ---------------------------------------------------------------------------------------------------------


def test_reader_that_dies_ends_the_stream(ray):
    source = ray.remote(Source).remote()
    ray.get(source.pid.remote())

    @ray.remote(max_retries=0)
    def read(source):
        generator = source.endless.options(_generator_backpressure_num_objects=4).remote()
        ray.get(next(generator))
        os.kill(os.getpid(), signal.SIGKILL)

    before = {}
    for _ in range(5):
        with pytest.raises(WorkerCrashedError):
            ray.get(read.remote(source))
        assert ray.get(source.pid.remote())  # the stream has ended: it takes one call at a time
        before = before or counts_of_streams()
    expect_counts(before)


def test_maker_that_dies_wakes_its_reader(ray, endless, log):
    for _ in range(5):
        generator = endless.options(_generator_backpressure_num_objects=2).remote(log)
        pid = ray.get(next(generator))
        os.kill(pid, signal.SIGKILL)
        outcomes = []
        with pytest.raises(WorkerCrashedError):  # noqa: PT012 - after the items that were there
            for ref in generator:
                outcomes.append(ray.get(ref))
        assert len(outcomes) <= 3
        with pytest.raises(StopIteration):
            next(generator)
    assert core._validate() is None


def test_actor_that_dies_mid_stream_and_is_started_again(ray):
    source = ray.remote(Source).options(max_restarts=-1).remote()
    generator = source.endless.options(_generator_backpressure_num_objects=2).remote()
    ray.get(next(generator))
    ray.kill(source, no_restart=False)
    with pytest.raises(RayError):  # noqa: PT012 - after the items that were there
        for ref in generator:
            ray.get(ref)
    assert ray.get(source.pid.remote())


def test_task_is_tried_again_at_any_item(ray, tmp_path):
    @ray.remote(max_retries=-1)
    def dies_often(path, count):
        for i in range(count):
            mark = path / str(i)
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield i, bytes(1000 * (i % 2))

    generator = dies_often.options(_generator_backpressure_num_objects=3).remote(tmp_path, 6)
    assert [ray.get(ref)[0] for ref in generator] == list(range(6))
    assert core._validate() is None


def test_run_that_yields_less_than_the_one_before_is_an_error(ray, tmp_path):
    @ray.remote(max_retries=1)
    def forgets(path):
        if path.exists():
            yield 1
            return
        path.touch()
        yield 1
        yield 2
        yield 3
        os.kill(os.getpid(), signal.SIGKILL)

    refs = list(forgets.remote(tmp_path / "mark"))
    assert ray.get(refs[:3]) == [1, 2, 3]
    with pytest.raises(StreamingGeneratorReplayInconsistentError):
        ray.get(refs[3])
    assert len(refs) == 4


# --- cancel ---------------------------------------------------------------------------------------------------------


def test_cancel_closes_the_generator(ray, endless, log):
    generator = endless.options(_generator_backpressure_num_objects=1).remote(log)
    ray.get(next(generator))
    ray.cancel(generator)
    with pytest.raises(TaskCancelledError):  # noqa: PT012 - after the items that were there
        for ref in generator:
            ray.get(ref)
    wait_until(lambda: log.read_text() == "closed\n", "the generator is closed")


def test_method_that_waits_for_its_reader_is_cancelled(ray):
    source = ray.remote(Source).remote()
    generator = source.endless.options(_generator_backpressure_num_objects=1).remote()
    wait_until(generator.next_ready, "it has yielded")
    ray.cancel(generator)
    with pytest.raises(TaskCancelledError):
        ray.get(list(generator))
    assert ray.get(source.pid.remote())


def test_streams_cancelled_at_random(ray, blocks):
    dice = random.Random(7)
    before = counts_of_streams()
    for _ in range(150):
        generator = blocks.options(_generator_backpressure_num_objects=2).remote(5)
        for _ in range(dice.randrange(4)):
            next(generator, None)
        ray.cancel(generator, force=dice.random() < 0.02)
        if dice.random() < 0.5:
            assert len(list(generator)) <= 6
        del generator
    expect_counts(before)
