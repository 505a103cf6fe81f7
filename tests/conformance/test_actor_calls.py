"""Calls of actor methods: arguments, results, refs, large values, and wrong calls."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def echo(ray):
    """Give an actor that returns what it gets."""

    @ray.remote(num_cpus=0)
    class Echo:
        def back(self, value=None):
            return value

        def all(self, a, b=2, *rest, c=3, **others):
            return a, b, rest, c, others

        def nothing(self):
            pass

        def pair(self):
            return 1, 2

        def make_ref(self, value):
            return ray.put(value)

        def first_of(self, refs):
            return ray.get(refs[0])

    return Echo.remote()


def test_call_returns_a_ref(ray, echo):
    assert isinstance(echo.back.remote(1), ray.ObjectRef)


def test_call_gives_what_the_method_returns(ray, echo):
    assert ray.get(echo.back.remote({"k": [1, 2.5, None]})) == {"k": [1, 2.5, None]}


def test_method_that_returns_nothing_gives_none(ray, echo):
    assert ray.get(echo.nothing.remote()) is None


def test_tuple_stays_one_value(ray, echo):
    assert ray.get(echo.pair.remote()) == (1, 2)


def test_arguments_by_position_and_by_name(ray, echo):
    assert ray.get(echo.all.remote(1)) == (1, 2, (), 3, {})
    assert ray.get(echo.all.remote(1, 5, 6, 7, c=8, d=9)) == (1, 5, (6, 7), 8, {"d": 9})
    assert ray.get(echo.all.remote(b=1, a=2)) == (2, 1, (), 3, {})


def test_default_values_of_parameters_live_in_the_actor(ray):
    @ray.remote
    class Actor:
        def keep(self, value, kept=[]):  # noqa: B006
            kept.append(value)
            return kept

    actor = Actor.remote()
    ray.get(actor.keep.remote(1))
    assert ray.get(actor.keep.remote(2)) == [1, 2]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1,), {"a": 2})], ids=["missing", "twice"]
)  # fmt: skip
def test_wrong_arguments_are_a_type_error_at_once(ray, echo, args, kwargs):
    with pytest.raises(TypeError):
        echo.all.remote(*args, **kwargs)


def test_too_many_arguments_are_a_type_error_at_once(ray, echo):
    with pytest.raises(TypeError):
        echo.nothing.remote(1)
    with pytest.raises(TypeError):
        echo.back.remote(1, 2)
    with pytest.raises(TypeError):
        echo.back.remote(other=1)


def test_wrong_call_does_not_hold_up_the_next(ray, echo):
    with pytest.raises(TypeError):
        echo.nothing.remote(1)
    assert ray.get(echo.back.remote("next")) == "next"


def test_argument_that_does_not_pickle_is_a_type_error_at_once(ray, echo):
    import threading

    with pytest.raises(TypeError):
        echo.back.remote(threading.Lock())
    assert ray.get(echo.back.remote("next")) == "next"


def test_refs_arrive_as_values(ray, echo):
    assert ray.get(echo.all.remote(ray.put("a"), c=ray.put("c"))) == ("a", 2, (), "c", {})


def test_result_of_a_call_may_be_an_argument_of_the_next(ray, echo):
    ref = echo.back.remote(1)
    for _ in range(10):
        ref = echo.back.remote(ref)
    assert ray.get(ref) == 1


def test_result_of_a_call_may_be_an_argument_of_a_task(ray, echo):
    assert ray.get(ray.remote(lambda x: x + 1).remote(echo.back.remote(1))) == 2


def test_result_of_a_task_may_be_an_argument_of_a_call(ray, echo):
    assert ray.get(echo.back.remote(ray.remote(lambda: "from a task").remote())) == "from a task"


def test_result_of_one_actor_may_be_an_argument_of_another(ray):
    @ray.remote(num_cpus=0)
    class Adder:
        def __init__(self, amount):
            self.amount = amount

        def add(self, value):
            return value + self.amount

    one, ten = Adder.remote(1), Adder.remote(10)
    assert ray.get(ten.add.remote(one.add.remote(ten.add.remote(0)))) == 21


def test_refs_inside_lists_arrive_as_refs(ray, echo):
    assert ray.get(echo.first_of.remote([ray.put("inner")])) == "inner"


def test_returned_ref_is_not_flattened(ray, echo):
    inner = ray.get(echo.make_ref.remote("inner"))
    assert isinstance(inner, ray.ObjectRef)
    assert ray.get(inner) == "inner"


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, 200_000, 5_000_000])
def test_values_of_any_size_go_there_and_back(ray, echo, size):
    value = bytes(i % 251 for i in range(min(size, 1000))) * (size // 1000 or 1)
    assert ray.get(echo.back.remote(value)) == value


def test_large_arrays_come_back_read_only(ray, echo):
    import numpy as np

    array = ray.get(echo.back.remote(np.arange(500_000)))
    assert not array.flags.writeable
    assert array[-1] == 499_999


def test_many_calls_at_once(ray, echo):
    assert ray.get([echo.back.remote(i) for i in range(1000)]) == list(range(1000))


def test_wait_knows_calls(ray, gate, started):
    @ray.remote(num_cpus=0)
    class Actor:
        def quick(self):
            return "quick"

        def slow(self, gate):
            gate.wait()
            return "slow"

    first, second = Actor.remote(), Actor.remote()
    slow, quick = first.slow.remote(gate), second.quick.remote()
    assert ray.wait([slow, quick]) == ([quick], [slow])
    gate.open()
    assert ray.wait([slow, quick], num_returns=2) == ([slow, quick], [])


def test_get_with_a_timeout_leaves_the_call_running(ray, exceptions, gate):
    @ray.remote
    class Actor:
        def slow(self, gate):
            gate.wait()
            return "slow"

    actor = Actor.remote()
    ref = actor.slow.remote(gate)
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.05)
    gate.open()
    assert ray.get(ref) == "slow"


def test_actor_runs_one_call_at_a_time(ray):
    import threading

    @ray.remote
    class Actor:
        def __init__(self):
            self.lock = threading.Lock()

        def alone(self):
            taken = self.lock.acquire(blocking=False)
            for _ in range(1000):
                pass
            if taken:
                self.lock.release()
            return taken

    actor = Actor.remote()
    assert all(ray.get([actor.alone.remote() for _ in range(100)]))


def test_calls_run_in_the_main_thread(ray):
    import threading

    @ray.remote
    class Actor:
        def __init__(self):
            self.made_in = threading.current_thread() is threading.main_thread()

        def threads(self):
            return self.made_in, threading.current_thread() is threading.main_thread()

    assert ray.get(Actor.remote().threads.remote()) == (True, True)


def test_calls_may_come_from_any_thread(ray, echo):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: ray.get([echo.back.remote((i, j)) for j in range(20)]), range(4))
    assert list(found) == [[(i, j) for j in range(20)] for i in range(4)]


def test_result_that_nobody_holds_does_not_stop_the_call(ray):
    @ray.remote
    class Counter:
        value = 0

        def increment(self):
            self.value += 1
            return bytes(100_000)

        def read(self):
            return self.value

    counter = Counter.remote()
    for _ in range(20):
        counter.increment.remote()
    assert ray.get(counter.read.remote()) == 20


def test_method_may_call_other_methods_of_the_instance(ray):
    @ray.remote
    class Actor:
        def inner(self, x):
            return x + 1

        def outer(self, x):
            return self.inner(x) * 10

    assert ray.get(Actor.remote().outer.remote(1)) == 20


def test_method_calls_work_after_a_thousand_actors_calls_were_dropped(ray, echo):
    for i in range(1000):
        echo.back.remote(i)
    assert ray.get(echo.back.remote("last")) == "last"


def test_attributes_of_the_instance_are_not_reachable(ray):
    @ray.remote
    class Actor:
        kind = "class attribute"

        def __init__(self):
            self.value = 1

        def read(self):
            return self.value

    actor = Actor.remote()
    assert ray.get(actor.read.remote()) == 1
    with pytest.raises(AttributeError):
        actor.value  # noqa: B018
    with pytest.raises(AttributeError):
        actor.kind  # noqa: B018
    with pytest.raises(AttributeError):
        actor.unknown.remote()


def test_call_without_remote_is_a_type_error(ray, echo):
    with pytest.raises(TypeError, match=r"back\.remote"):
        echo.back()


def test_private_methods_may_be_called(ray):
    @ray.remote
    class Actor:
        def _private(self):
            return "private"

        def __mangled(self):
            return "mangled"

    actor = Actor.remote()
    assert ray.get(actor._private.remote()) == "private"
    assert ray.get(actor._Actor__mangled.remote()) == "mangled"


def test_state_stays_between_calls(ray):
    @ray.remote
    class Log:
        def __init__(self):
            self.lines = []

        def add(self, line):
            self.lines.append(line)

        def read(self):
            return self.lines

    log = Log.remote()
    for i in range(5):
        log.add.remote(i)
    assert ray.get(log.read.remote()) == [0, 1, 2, 3, 4]


def test_values_read_from_an_actor_are_copies(ray):
    @ray.remote
    class Log:
        def __init__(self):
            self.lines = [1]

        def read(self):
            return self.lines

    log = Log.remote()
    read = ray.get(log.read.remote())
    read.append(2)
    assert ray.get(log.read.remote()) == [1]
