"""``util.multiprocessing.Pool`` in miniray's own terms: processes that die, pools that nobody closes."""

from __future__ import annotations

import gc
import os
import signal
import threading

import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import ActorDiedError
from miniray.util.multiprocessing import Pool


def actor_count():
    gc.collect()
    return core._statistics()["actors"]


def die_at_two(value):
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_process_that_dies_fails_its_call_and_is_replaced(ray):
    with Pool(2) as pool:
        with pytest.raises(ActorDiedError):
            pool.map(die_at_two, range(8), chunksize=1)
        assert pool.map(abs, range(-100, 0), chunksize=1) == list(range(100, 0, -1))
        results = list(pool.imap(die_at_two, range(5)))
        assert isinstance(results[2], ActorDiedError)
        assert [*results[:2], *results[3:]] == [0, 1, 3, 4]
    pool.join()


def test_error_carries_the_traceback_of_the_process(ray):
    def fail():
        raise KeyError("in the process")

    with Pool(1) as pool, pytest.raises(KeyError) as caught:
        pool.apply(fail)
    pool.join()
    assert ", in fail" in str(caught.value.__cause__)


def test_values_that_do_not_pickle_fail_their_call_alone(ray):
    with Pool(1) as pool:
        with pytest.raises(TypeError, match="pickle"):
            pool.apply(abs, (threading.Lock(),))
        with pytest.raises(TypeError, match="pickle"):
            pool.apply(threading.Lock)
        assert pool.apply(abs, (-1,)) == 1
    pool.join()


def test_process_that_dies_takes_no_call_along_that_it_did_not_begin(ray):
    with Pool(1) as pool:
        pool.map(abs, range(200), chunksize=1)  # short ones: several are handed over at a time
        results = [pool.apply_async(die_at_two, (number,)) for number in range(200)]
        for number, result in enumerate(results):
            if number == 2:
                with pytest.raises(ActorDiedError):
                    result.get()
            else:
                assert result.get() == number
    pool.join()


def test_callback_that_fails_harms_nothing_else(ray, caplog):
    with Pool(1) as pool:
        pool.apply_async(abs, (-1,), callback=lambda _: 1 / 0).wait()
        assert pool.apply(abs, (-2,)) == 2
    pool.join()
    assert "A callback of a pool failed" in caplog.text


def test_words_of_multiprocessing_for_arguments(ray):
    with Pool(1) as pool:
        assert pool.apply(int, ("11",), kwds={"base": 2}) == 3
        assert pool.starmap_async(pow, [(2, 3), (3, 2)], chunksize=2).get() == [8, 9]
        for wrong in (lambda: pool.map(abs, [1], chunksize=0), lambda: pool.imap(abs, [1], chunksize=0)):
            with pytest.raises(ValueError, match="chunksize must be at least 1"):
                wrong()
    pool.join()


def test_pool_that_nobody_has_any_more_ends(ray):
    pool = Pool(2)
    result = pool.apply_async(abs, (-3,))
    del pool
    assert result.get() == 3  # who waits for a result keeps the pool
    del result
    wait_until(lambda: actor_count() == 0, "the actors of the pool end")


def test_closed_pool_leaves_no_thread_and_no_actor(ray):
    pool = Pool(2)
    pool.map(abs, range(10))
    pool.close()
    pool.close()  # harmless
    pool.join()
    wait_until(lambda: actor_count() == 0, "the actors of the pool end")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("miniray pool")]


def test_pool_does_not_pickle(ray):
    with Pool(1) as pool, pytest.raises(NotImplementedError, match="cannot be passed between processes"):
        pool.__reduce__()
    pool.join()


def test_pool_of_an_ended_session_starts_no_other(ray):
    pool = Pool(1)
    result = pool.apply_async(abs, (-3,))
    assert result.get() == 3
    ray.shutdown()
    pool.close()
    pool.join()
    assert not ray.is_initialized()


def test_program_may_end_with_a_busy_pool(start_program):
    program = start_program("""
from miniray.util.multiprocessing import Pool
pool = Pool(2)
results = pool.map_async(time.sleep, [1000] * 4, chunksize=1)
ready()
sys.stdin.read()
""")
    program.wait_ready()
    code, _, errors = program.finish()
    assert (code, errors) == (0, "")
    program.expect_nothing_left()


def test_pool_without_a_session_starts_one(start_program):
    program = start_program("""
from miniray.util.multiprocessing import Pool
with Pool(3) as pool:
    print(pool.map(abs, [-1, -2]), ray.is_initialized())
""")
    assert program.finish() == (0, "[1, 2] True\n", "")
