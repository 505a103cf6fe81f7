"""wait: which refs come back in which list, and what it refuses."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def pending(ray, gate):
    """Give three tasks that run until the gate opens."""

    @ray.remote(num_cpus=0)
    def hold(gate, i):
        gate.wait()
        return i

    yield [hold.remote(gate, i) for i in range(3)]
    gate.open()


def finished(ray, count):
    refs = [ray.remote(lambda i=i: i).remote() for i in range(count)]
    ray.get(refs)
    return refs


def test_wait_gives_a_pair_of_lists(ray):
    ref = ray.put(1)
    result = ray.wait([ref])
    assert isinstance(result, tuple)
    assert result == ([ref], [])
    assert [type(part) for part in result] == [list, list]


def test_wait_of_no_refs_gives_two_empty_lists(ray):
    assert ray.wait([]) == ([], [])
    assert ray.wait([], num_returns=5) == ([], [])
    assert ray.wait([], timeout=0) == ([], [])


def test_default_num_returns_is_one_also_when_more_are_done(ray):
    refs = finished(ray, 4)
    ready, rest = ray.wait(refs)
    assert len(ready) == 1
    assert len(rest) == 3
    assert set(ready + rest) == set(refs)


def test_ready_never_exceeds_num_returns(ray):
    refs = finished(ray, 5)
    ready, rest = ray.wait(refs, num_returns=3, timeout=10)
    assert len(ready) == 3
    assert len(rest) == 2


def test_both_lists_keep_the_order_of_the_input(ray, pending):
    done = finished(ray, 3)
    refs = [pending[0], done[2], pending[2], done[0], done[1], pending[1]]
    ready, rest = ray.wait(refs, num_returns=3)
    assert ready == [done[2], done[0], done[1]]
    assert rest == [pending[0], pending[2], pending[1]]


def test_finished_refs_beyond_num_returns_stay_in_order_among_the_rest(ray, pending):
    done = finished(ray, 3)
    refs = [done[0], pending[0], done[1], pending[1], done[2]]
    ready, rest = ray.wait(refs, num_returns=2)
    assert len(ready) == 2
    assert ready == [ref for ref in refs if ref in ready]
    assert rest == [ref for ref in refs if ref in rest]


def test_wait_of_all_gives_all(ray):
    refs = finished(ray, 4)
    assert ray.wait(refs, num_returns=4) == (refs, [])


def test_wait_without_timeout_blocks_until_enough_are_ready(ray, pending, gate):
    gate.open()
    assert ray.wait(pending, num_returns=3) == (pending, [])


def test_wait_returns_when_its_time_is_over_with_what_is_ready(ray, pending):
    done = ray.put("done")
    ready, rest = ray.wait([pending[0], done, pending[1]], num_returns=2, timeout=0.2)
    assert ready == [done]
    assert rest == [pending[0], pending[1]]


def test_timeout_zero_polls(ray, pending):
    assert ray.wait(pending, timeout=0) == ([], pending)
    done = finished(ray, 1)
    assert ray.wait(done, timeout=0) == (done, [])


def test_timeout_may_be_an_int_a_float_or_none(ray):
    ref = ray.put(1)
    for timeout in (1, 0.5, None):
        assert ray.wait([ref], timeout=timeout) == ([ref], [])


def test_failed_ref_is_ready(ray):
    @ray.remote
    def fail():
        raise ValueError("waited for")

    ref = fail.remote()
    assert ray.wait([ref]) == ([ref], [])
    with pytest.raises(ValueError, match="waited for"):
        ray.get(ref)


def test_ref_of_a_crashed_task_is_ready(ray):
    import os

    ref = ray.remote(max_retries=0)(lambda: os._exit(1)).remote()
    assert ray.wait([ref]) == ([ref], [])


def test_put_ref_is_ready_at_once(ray):
    ref = ray.put(bytes(1_000_000))
    assert ray.wait([ref], timeout=0) == ([ref], [])


def test_wait_does_not_consume_the_refs(ray):
    refs = finished(ray, 2)
    assert ray.wait(refs, num_returns=2) == ray.wait(refs, num_returns=2)
    assert ray.get(refs) == [0, 1]


def test_wait_does_not_change_the_list_it_is_given(ray):
    refs = finished(ray, 3)
    before = list(refs)
    ray.wait(refs, num_returns=2)
    assert refs == before


def test_refs_in_the_result_are_usable(ray):
    [ready], _ = ray.wait([ray.remote(lambda: "value").remote()])
    assert ray.get(ready) == "value"


def test_loop_over_wait_sees_every_result_once(ray):
    refs = [ray.remote(lambda i=i: i).remote() for i in range(50)]
    seen = []
    while refs:
        [ready], refs = ray.wait(refs)
        seen.append(ray.get(ready))
    assert sorted(seen) == list(range(50))


def test_several_refs_of_one_task_become_ready_together(ray):
    refs = ray.remote(num_returns=3)(lambda: (1, 2, 3)).remote()
    assert ray.wait(refs, num_returns=3) == (refs, [])


def test_wait_in_a_task_sees_the_refs_of_the_driver(ray, pending):
    @ray.remote
    def look(refs):
        ready, rest = ray.wait(refs, timeout=0.1)
        return len(ready), len(rest)

    done = ray.put(1)
    assert ray.get(look.remote([done, *pending])) == (1, 3)


def test_wait_without_fetching_works_as_well(ray):
    refs = finished(ray, 2)
    assert ray.wait(refs, num_returns=2, fetch_local=False) == (refs, [])


def test_wait_for_thousands_of_refs(ray):
    refs = [ray.put(i) for i in range(2000)]
    assert ray.wait(refs, num_returns=2000) == (refs, [])


def test_threads_may_wait_at_the_same_time(ray, pending, gate):
    import threading

    results = []
    threads = [threading.Thread(target=lambda: results.append(ray.wait(pending, num_returns=3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert results == [(pending, [])] * 4


def test_wait_of_a_single_ref_is_a_type_error(ray):
    with pytest.raises(TypeError, match="expected a list"):
        ray.wait(ray.put(1))


@pytest.mark.parametrize("make", [tuple, set, iter], ids=["tuple", "set", "iterator"])
def test_wait_of_another_collection_is_a_type_error(ray, make):
    with pytest.raises(TypeError, match="expected a list"):
        ray.wait(make([ray.put(1)]))


@pytest.mark.parametrize("element", [1, None, "ref", []], ids=repr)
def test_wait_of_a_list_with_another_element_is_a_type_error(ray, element):
    with pytest.raises(TypeError, match="got list containing"):
        ray.wait([ray.put(1), element])


def test_duplicate_refs_are_a_value_error(ray):
    ref = ray.put(1)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([ref, ref])


@pytest.mark.parametrize("num_returns", [0, -1])
def test_num_returns_below_one_is_a_value_error(ray, num_returns):
    with pytest.raises(ValueError, match="Invalid number of objects to return"):
        ray.wait([ray.put(1)], num_returns=num_returns)


def test_num_returns_above_the_number_of_refs_is_a_value_error(ray):
    with pytest.raises(ValueError, match="num_returns cannot be greater"):
        ray.wait([ray.put(1)], num_returns=2)


def test_negative_timeout_is_a_value_error_also_without_refs(ray):
    for refs in ([ray.put(1)], []):
        with pytest.raises(ValueError, match="nonnegative"):
            ray.wait(refs, timeout=-1)


def test_options_of_wait_are_keyword_only(ray):
    with pytest.raises(TypeError):
        ray.wait([ray.put(1)], 1)
