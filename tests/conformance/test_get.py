"""get: of one ref, of a list, and what else it refuses."""

import threading

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_get_of_a_ref_gives_its_value(ray):
    assert ray.get(ray.put("value")) == "value"


def test_get_may_be_called_again_and_again(ray):
    ref = ray.remote(lambda: [1]).remote()
    assert [ray.get(ref) for _ in range(3)] == [[1]] * 3


def test_get_of_a_list_keeps_its_order(ray, gate):
    @ray.remote(num_cpus=0)
    def slow(gate):
        gate.wait()
        return "slow"

    refs = [slow.remote(gate), ray.put("put"), ray.remote(lambda: "quick").remote()]
    assert ray.get(refs[2]) == "quick"
    gate.open()
    assert ray.get(refs) == ["slow", "put", "quick"]


def test_get_of_a_list_keeps_duplicates(ray):
    a, b = ray.put("a"), ray.put("b")
    assert ray.get([a, b, a, a]) == ["a", "b", "a", "a"]


def test_get_of_an_empty_list_is_an_empty_list(ray):
    assert ray.get([]) == []


def test_get_of_a_list_of_one_is_a_list(ray):
    assert ray.get([ray.put(1)]) == [1]


def test_get_does_not_change_the_list_it_is_given(ray):
    refs = [ray.put(i) for i in range(3)]
    before = list(refs)
    ray.get(refs)
    assert refs == before


def test_get_of_a_subclass_of_list_works(ray):
    class Refs(list):
        pass

    assert ray.get(Refs([ray.put(1), ray.put(2)])) == [1, 2]


@pytest.mark.parametrize("make", [tuple, set, iter, dict.fromkeys], ids=["tuple", "set", "iterator", "dict"])
def test_get_of_another_collection_is_a_value_error(ray, make):
    with pytest.raises(ValueError, match="must either be an ObjectRef or a list of ObjectRefs"):
        ray.get(make([ray.put(1)]))


@pytest.mark.parametrize("value", [1, None, "ref", b"ref", object()], ids=["int", "None", "str", "bytes", "object"])
def test_get_of_no_ref_is_a_value_error(ray, value):
    with pytest.raises(ValueError, match="must either be an ObjectRef or a list of ObjectRefs"):
        ray.get(value)


@pytest.mark.parametrize("element", [1, None, "ref", [], ()], ids=repr)
def test_get_of_a_list_with_another_element_is_a_type_error(ray, element):
    with pytest.raises(TypeError, match="which is not an"):
        ray.get([ray.put(1), element])


def test_get_of_nested_lists_is_a_type_error(ray):
    with pytest.raises(TypeError, match="which is not an"):
        ray.get([[ray.put(1)]])


def test_timeout_is_keyword_only(ray):
    with pytest.raises(TypeError):
        ray.get(ray.put(1), 1)


def test_get_gives_each_caller_its_own_copy_of_a_mutable_value(ray):
    ref = ray.put([1, 2])
    ray.get(ref).append(3)
    assert ray.get(ref) == [1, 2]


def test_get_fails_fast_while_an_earlier_ref_still_runs(ray, gate):
    @ray.remote(num_cpus=0)
    def slow(gate):
        gate.wait()

    @ray.remote
    def fail():
        raise ValueError("at once")

    running = slow.remote(gate)
    with pytest.raises(ValueError, match="at once"):
        ray.get([running, fail.remote()])
    assert ray.wait([running], timeout=0) == ([], [running])


def test_get_raises_the_error_of_a_list_with_results(ray):
    @ray.remote
    def task(i):
        if i == 3:
            raise ValueError("the third")
        return i

    with pytest.raises(ValueError, match="the third"):
        ray.get([task.remote(i) for i in range(5)])


def test_get_raises_the_first_error_in_list_order_when_all_are_done(ray):
    @ray.remote
    def fail(text):
        raise ValueError(text)

    refs = [fail.remote("one"), fail.remote("two")]
    ray.wait(refs, num_returns=2)
    with pytest.raises(ValueError, match="one"):
        ray.get(refs)


def test_other_refs_stay_usable_after_a_failed_get(ray):
    @ray.remote
    def fail():
        raise ValueError

    good, bad = ray.put("good"), fail.remote()
    with pytest.raises(ValueError):
        ray.get([good, bad])
    assert ray.get(good) == "good"


def test_error_is_raised_by_each_get(ray):
    @ray.remote
    def fail():
        raise ValueError("again")

    ref = fail.remote()
    for _ in range(3):
        with pytest.raises(ValueError, match="again"):
            ray.get(ref)


def test_get_of_thousands_of_refs_keeps_order(ray):
    refs = [ray.put(i) for i in range(3000)]
    assert ray.get(refs) == list(range(3000))


def test_thread_blocked_in_get_does_not_block_other_threads(ray, gate):
    @ray.remote(num_cpus=0)
    def slow(gate):
        gate.wait()
        return "late"

    results = []
    thread = threading.Thread(target=lambda: results.append(ray.get(slow.remote(gate))))
    thread.start()
    assert ray.get(ray.put("meanwhile")) == "meanwhile"
    assert ray.get(ray.remote(lambda: "also").remote()) == "also"
    assert results == []
    gate.open()
    thread.join()
    assert results == ["late"]


def test_two_threads_may_get_the_same_ref(ray, gate):
    @ray.remote(num_cpus=0)
    def slow(gate):
        gate.wait()
        return "shared"

    ref = slow.remote(gate)
    results = []
    threads = [threading.Thread(target=lambda: results.append(ray.get(ref))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert results == ["shared"] * 8
