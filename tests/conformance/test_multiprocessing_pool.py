"""``util.multiprocessing.Pool``: the interface of ``multiprocessing.Pool``, on actors."""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture(scope="module")
def multi(backend, _environment):
    return importlib.import_module(f"{backend}.util.multiprocessing")


@pytest.fixture(scope="module")
def pool(multi, shared_session):
    """One pool for the bodies that leave it as it was."""
    with multi.Pool(2) as shared:
        yield shared
    shared.join()


def double(value):
    return 2 * value


def add(left, right=0):
    return left + right


def fail_at_two(value):
    if value == 2:
        raise KeyError(value)
    return value


def own_pid(_=None):
    return os.getpid()


def test_apply_passes_arguments_by_position_and_name(pool):
    assert pool.apply(add, (1, 2)) == 3
    assert pool.apply(add, (1,), {"right": 5}) == 6
    assert pool.apply(own_pid) != os.getpid()


def test_apply_async_gives_a_result_to_ask(pool):
    result = pool.apply_async(double, (4,))
    result.wait()
    assert result.ready()
    assert result.successful()
    assert result.get() == 8
    assert result.get(timeout=0) == 8


def test_map_keeps_the_order(pool):
    assert pool.map(double, range(11)) == [2 * number for number in range(11)]
    assert pool.map(double, range(11), chunksize=3) == [2 * number for number in range(11)]
    assert pool.map(double, iter([1, 2, 3])) == [2, 4, 6]
    assert pool.map_async(double, [1, 2]).get() == [2, 4]


def test_map_of_nothing_is_empty(pool):
    assert pool.map(double, []) == []


def test_starmap_unpacks_each_item(pool):
    assert pool.starmap(add, [(1, 2), (3, 4), (5,)]) == [3, 7, 5]
    assert pool.starmap_async(add, [(1, 2)]).get() == [3]


def test_imap_gives_results_in_order(pool):
    assert list(pool.imap(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert list(pool.imap(double, range(7), chunksize=3)) == [0, 2, 4, 6, 8, 10, 12]
    assert list(pool.imap(double, iter([5]))) == [10]


def test_imap_unordered_gives_each_result_once(pool):
    assert sorted(pool.imap_unordered(double, range(7), chunksize=2)) == [0, 2, 4, 6, 8, 10, 12]


def test_imap_takes_items_only_as_results_are_taken(pool):
    results = pool.imap(double, itertools.count())
    assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]


def test_imap_waits_no_longer_than_told(pool, multi, gate):
    def hold(value):
        gate.wait()
        return value

    results = pool.imap(hold, [1])
    with pytest.raises(multi.TimeoutError):
        results.next(timeout=0.01)
    gate.open()
    assert results.next(timeout=60) == 1
    with pytest.raises(StopIteration):
        results.next()


def test_get_waits_no_longer_than_told(pool, multi, gate):
    def hold():
        gate.wait()
        return "held"

    result = pool.apply_async(hold)
    with pytest.raises(multi.TimeoutError):
        result.get(timeout=0.01)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    gate.open()
    assert result.get() == "held"


def test_original_error_is_raised(pool):
    with pytest.raises(KeyError) as caught:
        pool.apply(fail_at_two, (2,))
    assert caught.value.args == (2,)
    with pytest.raises(KeyError):
        pool.map(fail_at_two, range(4))
    result = pool.map_async(fail_at_two, range(4))
    result.wait()
    assert not result.successful()


def test_other_calls_of_a_chunk_run_after_one_has_failed(pool, runs):
    def log_and_fail(value):
        runs.add(str(value))
        return fail_at_two(value)

    with pytest.raises(KeyError):
        pool.map(log_and_fail, range(4), chunksize=4)
    assert sorted(runs.lines()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_imap_gives_errors_as_values(pool, method):
    results = list(getattr(pool, method)(fail_at_two, range(4)))
    (failed,) = [result for result in results if not isinstance(result, int)]
    assert isinstance(failed.underlying, KeyError)
    assert sorted(result for result in results if result is not failed) == [0, 1, 3]


def test_callbacks_get_the_result_or_the_error(pool, multi):
    # the callback may run after the result is there: in a thread of the pool
    answers = multiprocessing.SimpleQueue()
    pool.apply_async(double, (4,), callback=answers.put)
    assert answers.get() == 8
    pool.map_async(double, [1, 2], chunksize=2, callback=answers.put)
    assert answers.get() == [2, 4]
    pool.apply_async(fail_at_two, (2,), error_callback=lambda error: answers.put(type(error).__name__))
    assert "Error" in answers.get()
    answers.close()


def set_word(word):
    os.environ["WORD_OF_THE_INITIALIZER"] = word


def get_word(_):
    return os.environ.get("WORD_OF_THE_INITIALIZER")


def test_initializer_runs_first_in_each_process(multi):
    with multi.Pool(2, initializer=set_word, initargs=("yes",)) as pool:
        assert pool.map(get_word, range(8), chunksize=1) == ["yes"] * 8
    pool.join()


def test_failing_initializer_is_told(multi, exceptions):
    with pytest.raises(exceptions.RayActorError, match="of the initializer"):
        multi.Pool(1, initializer=fail_always)


def fail_always():
    raise ValueError("of the initializer")


def test_process_is_replaced_after_so_many_chunks(multi):
    with multi.Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(own_pid) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    pool.join()


def test_closed_pool_finishes_its_work_and_takes_no_more(multi, gate):
    def hold(value):
        gate.wait()
        return value

    pool = multi.Pool(2)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    results = [pool.apply_async(hold, (number,)) for number in range(4)]
    pool.close()
    for refused in (lambda: pool.apply(double, (1,)), lambda: pool.map(double, [1]), lambda: pool.imap(double, [1])):
        with pytest.raises(ValueError, match="not running"):
            refused()
    with pytest.raises(ValueError, match="not running"):
        pool.__enter__()
    gate.open()
    pool.join()
    assert [result.get() for result in results] == [0, 1, 2, 3]


def test_work_of_a_terminated_pool_fails(multi, exceptions, gate, started):
    def hold(value):
        started.send()
        gate.wait()
        return value

    pool = multi.Pool(1)
    running = pool.apply_async(hold, (1,))
    started.receive()
    pool.terminate()
    pool.join()
    with pytest.raises(exceptions.RayActorError):
        running.get()


@pytest.mark.parametrize(("processes", "message"), [(0, "must be >0"), (-1, "must be >0"), (3, "only 2 CPUs")])
def test_number_of_processes_that_cannot_be(multi, processes, message):
    with pytest.raises(ValueError, match=message):
        multi.Pool(processes)


def test_pool_has_the_cpus_of_the_session_unless_told(multi, gate, started):
    def meet():
        started.send()
        gate.wait()
        return os.getpid()

    with multi.Pool(ray_remote_args={"resources": {"gadget": 1}}) as pool:
        results = [pool.apply_async(meet) for _ in range(2)]
        started.receive()
        started.receive()
        gate.open()
        assert len({result.get() for result in results}) == 2
    pool.join()


def test_pool_in_a_task(ray, backend):
    @ray.remote
    def use_pool():
        made = importlib.import_module(f"{backend}.util.multiprocessing").Pool(2)
        with made as pool:
            return pool.map(double, [1, 2])

    assert ray.get(use_pool.remote()) == [2, 4]
