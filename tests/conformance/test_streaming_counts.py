"""Generators with a number of results, and dynamic ones."""

import pytest

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture
def count(ray):
    """Give a task that yields so many numbers, and may raise in place of one."""

    @ray.remote
    def count(number, bad=None):
        for i in range(number):
            if i == bad:
                raise KeyError("bad")
            yield [i]

    return count


def values(ray, refs):
    """Return what refs give, of those in error the type."""
    found = []
    for ref in refs:
        try:
            found.append(ray.get(ref, timeout=60))
        except Exception as error:
            found.append(type(error.cause))
    return found


@pytest.mark.parametrize("number", [2, 3, 50])
def test_as_many_as_promised(ray, count, number):
    refs = count.options(num_returns=number).remote(number)
    assert isinstance(refs, list)
    assert ray.get(refs) == [[i] for i in range(number)]


def test_items_before_an_error_stay(ray, count):
    assert values(ray, count.options(num_returns=4).remote(4, 2)) == [[0], [1], KeyError, KeyError]


def test_too_few(ray, count):
    refs = count.options(num_returns=3).remote(2)
    assert values(ray, refs) == [[0], [1], ValueError]
    with pytest.raises(ValueError, match="Task returned 2 objects, but num_returns=3"):
        ray.get(refs[2])


def test_too_many_are_dropped(ray, count):
    assert ray.get(count.options(num_returns=3).remote(5)) == [[0], [1], [2]]
    assert ray.get(count.options(num_returns=1).remote(5)) == [0]


def test_one_is_the_first_item(ray, count):
    assert ray.get(count.options(num_returns=1).remote(1)) == [0]


def test_none_at_all(ray, count):
    assert count.options(num_returns=0).remote(3) is None


def test_item_that_does_not_pickle(ray):
    @ray.remote(num_returns=3)
    def locks():
        import threading

        yield 1
        yield threading.Lock()
        yield 3

    assert values(ray, locks.remote()) == [1, TypeError, TypeError]


def test_dynamic(ray, count):
    ref = count.options(num_returns="dynamic").remote(3)
    assert isinstance(ref, ray.ObjectRef)
    generator = ray.get(ref)
    assert isinstance(generator, ray.DynamicObjectRefGenerator)
    assert len(generator) == 3
    refs = list(generator)
    assert len(generator) == 0
    assert ray.get(refs) == [[0], [1], [2]]
    assert len(ray.get(ref)) == 3


def test_dynamic_items_outlive_the_ref(ray, count):
    refs = list(ray.get(count.options(num_returns="dynamic").remote(3)))
    assert ray.get(refs) == [[0], [1], [2]]


def test_error_in_a_dynamic_one_is_one_more_ref(ray, count):
    assert values(ray, ray.get(count.options(num_returns="dynamic").remote(3, 1))) == [[0], KeyError]


def test_dynamic_one_as_an_argument(ray, count):
    @ray.remote
    def total(generator):
        return sum(ray.get(ref)[0] for ref in generator)

    assert ray.get(total.remote(count.options(num_returns="dynamic").remote(4))) == 6


def test_dynamic_one_that_yields_nothing(ray, count):
    assert list(ray.get(count.options(num_returns="dynamic").remote(0))) == []


def test_function_that_yields_nothing_is_no_generator(ray):
    @ray.remote
    def one():
        return 1

    for word in ("streaming", "dynamic"):
        with pytest.raises(ValueError, match="generator"):
            one.options(num_returns=word)


def test_dynamic_one_of_refs(ray):
    refs = list(ray.DynamicObjectRefGenerator([ray.put(1), ray.put(2)]))
    assert ray.get(refs) == [1, 2]
