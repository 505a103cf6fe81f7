"""Handles of actors as values: passed, returned, nested, compared; each of them keeps the actor."""

import copy
import pickle

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Counter(ray):
    """Give an actor class that counts."""

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self, start=0):
            self.value = start

        def increment(self):
            self.value += 1
            return self.value

        def hold(self, thing):
            self.thing = thing

        def held(self):
            return self.thing

        def increment_other(self, other):
            return ray.get(other.increment.remote())

    return Counter


def test_handle_may_be_an_argument_of_a_task(ray, Counter):
    counter = Counter.remote()

    @ray.remote
    def use(counter):
        return ray.get(counter.increment.remote())

    assert ray.get([use.remote(counter), use.remote(counter=counter)]) in ([1, 2], [2, 1])
    assert ray.get(counter.increment.remote()) == 3


def test_handle_may_be_an_argument_of_a_call(ray, Counter):
    first, second = Counter.remote(), Counter.remote(10)
    assert ray.get(first.increment_other.remote(second)) == 11


def test_handle_may_be_an_argument_of_a_constructor(ray, Counter):
    @ray.remote(num_cpus=0)
    class User:
        def __init__(self, counter):
            self.counter = counter

        def use(self):
            return ray.get(self.counter.increment.remote())

    assert ray.get(User.remote(Counter.remote(5)).use.remote()) == 6


def test_handle_may_be_put(ray, Counter):
    counter = Counter.remote()
    ref = ray.put(counter)
    assert ray.get(ray.get(ref).increment.remote()) == 1
    assert ray.get(counter.increment.remote()) == 2


def test_handles_inside_values_work(ray, Counter):
    @ray.remote
    def use(given):
        return [ray.get(counter.increment.remote()) for counter in given["counters"]]

    counters = [Counter.remote(), Counter.remote(10)]
    assert ray.get(use.remote({"counters": counters})) == [1, 11]


def test_task_may_return_a_handle(ray, Counter):
    @ray.remote
    def make():
        return Counter.remote(5)

    counter = ray.get(make.remote())
    assert ray.get(counter.increment.remote()) == 6


def test_handle_captured_by_a_function_works(ray, Counter):
    counter = Counter.remote()

    @ray.remote
    def use():
        return ray.get(counter.increment.remote())

    assert ray.get(use.remote()) == 1


def test_handle_in_an_attribute_of_an_actor_works(ray, Counter):
    first, second = Counter.remote(), Counter.remote(10)
    ray.get(first.hold.remote(second))
    del second
    assert ray.get(ray.get(first.held.remote()).increment.remote()) == 11


def test_handles_of_one_actor_are_equal_and_have_one_hash(ray, Counter):
    counter = Counter.remote()
    same = ray.get(ray.put(counter))
    assert same == counter
    assert (same != counter) is False
    assert hash(same) == hash(counter)
    assert len({same, counter}) == 1


def test_handles_of_two_actors_differ(ray, Counter):
    first, second = Counter.remote(), Counter.remote()
    assert first != second
    assert len({first, second}) == 2


def test_handle_differs_from_anything_else(ray, Counter):
    counter = Counter.remote()
    assert counter != 1
    assert counter != ray.put(1)
    assert counter is not None


def test_handle_may_be_pickled_by_hand(ray, Counter):
    counter = Counter.remote()
    same = pickle.loads(pickle.dumps(counter))
    assert same == counter
    assert ray.get(same.increment.remote()) == 1


def test_handle_may_be_copied(ray, Counter):
    counter = Counter.remote()
    assert copy.copy(counter) == counter
    assert copy.deepcopy([counter]) == [counter]
    assert ray.get(copy.deepcopy(counter).increment.remote()) == 1


def test_repr_of_a_handle_names_class_and_actor(ray, Counter):
    counter = Counter.remote()
    assert repr(counter) == f"Actor(Counter.<locals>.Counter, {counter._actor_id.hex()})"


def test_dir_of_a_handle_lists_the_methods(ray, Counter):
    assert {"increment", "hold", "held"} <= set(dir(Counter.remote()))


def test_attribute_error_names_the_missing_method(ray, Counter):
    with pytest.raises(AttributeError, match="no attribute 'decrement'"):
        Counter.remote().decrement.remote()


def test_hasattr_knows_the_methods(ray, Counter):
    counter = Counter.remote()
    assert hasattr(counter, "increment")
    assert not hasattr(counter, "decrement")


def test_method_may_be_kept_while_the_handle_lives(ray, Counter):
    counter = Counter.remote()
    increment = counter.increment
    assert ray.get([increment.remote(), increment.remote()]) == [1, 2]


def test_method_may_be_an_argument_of_a_task(ray, Counter):
    counter = Counter.remote()

    @ray.remote
    def call(method):
        return ray.get(method.remote())

    assert ray.get(call.remote(counter.increment)) == 1


def test_handle_is_no_argument_that_waits_for_the_actor(ray, gate):
    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self, gate):
            gate.wait()

        def ready(self):
            return "ready"

    @ray.remote
    def take(actor):
        return "taken"

    actor = Slow.remote(gate)
    assert ray.get(take.remote(actor)) == "taken"
    gate.open()
    assert ray.get(actor.ready.remote()) == "ready"


def test_get_and_wait_take_no_handles(ray, Counter):
    counter = Counter.remote()
    with pytest.raises(ValueError, match="ObjectRef"):
        ray.get(counter)
    with pytest.raises(TypeError):
        ray.wait([counter])


def test_actor_may_hand_out_a_handle_of_itself(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            self.me = None

        def learn(self, handles):
            self.me = handles[0]

        def give(self):
            return self.me

        def answer(self):
            return 42

    actor = Actor.remote()
    ray.get(actor.learn.remote([actor]))
    given = ray.get(actor.give.remote())
    assert given == actor
    assert ray.get(given.answer.remote()) == 42
    ray.kill(actor)  # it holds itself


def test_many_handles_of_one_actor_travel_at_once(ray, Counter):
    counter = Counter.remote()

    @ray.remote(num_cpus=0.5)
    def use(counters):
        return len({ray.get(counter.increment.remote()) for counter in counters})

    assert ray.get([use.remote([counter] * 5) for _ in range(8)]) == [5] * 8
    assert ray.get(counter.increment.remote()) == 41
