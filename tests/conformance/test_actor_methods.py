"""@ray.method, options of a call, and the methods that every handle has."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_num_returns_of_a_method_gives_refs(ray):
    @ray.remote
    class Actor:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

    refs = Actor.remote().two.remote()
    assert ray.get(refs) == [1, 2]


def test_num_returns_zero_gives_none(ray, runs):
    @ray.remote
    class Actor:
        @ray.method(num_returns=0)
        def silent(self, runs):
            runs.add()

        def answer(self):
            return 42

    actor = Actor.remote()
    assert actor.silent.remote(runs) is None
    assert ray.get(actor.answer.remote()) == 42
    assert len(runs.lines()) == 1


def test_num_returns_one_gives_one_ref(ray):
    @ray.remote
    class Actor:
        @ray.method(num_returns=1)
        def pair(self):
            return 1, 2

    assert ray.get(Actor.remote().pair.remote()) == (1, 2)


def test_num_returns_of_a_call_beats_that_of_the_method(ray):
    @ray.remote
    class Actor:
        @ray.method(num_returns=2)
        def three(self):
            return 1, 2, 3

        def plain(self):
            return 1, 2

    actor = Actor.remote()
    assert ray.get(actor.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert ray.get(actor.plain.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(actor.plain.remote()) == (1, 2)


def test_bare_decorator_changes_nothing(ray):
    @ray.remote
    class Actor:
        @ray.method
        def answer(self):
            return 42

    assert ray.get(Actor.remote().answer.remote()) == 42


def test_empty_parentheses_of_the_decorator_change_nothing(ray):
    @ray.remote
    class Actor:
        @ray.method()
        def answer(self):
            return 42

    assert ray.get(Actor.remote().answer.remote()) == 42


def test_decorated_method_stays_a_plain_function(ray):
    class Plain:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

    assert Plain().two() == (1, 2)


@pytest.mark.parametrize("keyword", ["nothing", "num_cpus", "name"])
def test_unknown_option_of_the_decorator_is_an_assertion_error(ray, keyword):
    with pytest.raises(AssertionError, match="num_returns"):
        ray.method(**{keyword: 1})


def test_positional_option_of_the_decorator_is_an_assertion_error(ray):
    with pytest.raises(AssertionError):
        ray.method(2)


def test_negative_num_returns_is_a_value_error(ray):
    with pytest.raises(ValueError, match="num_returns"):
        ray.method(num_returns=-1)(lambda self: None)


def test_streaming_of_a_method_that_yields_nothing_is_a_value_error(ray):
    with pytest.raises(ValueError):
        ray.method(num_returns="streaming")(lambda self: None)


def test_options_of_a_decorated_method_are_inherited(ray):
    class Base:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

    @ray.remote
    class Derived(Base):
        pass

    assert ray.get(Derived.remote().two.remote()) == [1, 2]


def test_overriding_a_decorated_method_drops_its_options(ray):
    class Base:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

    @ray.remote
    class Derived(Base):
        def two(self):
            return "one value"

    assert ray.get(Derived.remote().two.remote()) == "one value"


def test_options_of_a_method_reach_copies_of_the_handle(ray):
    @ray.remote
    class Actor:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

    @ray.remote
    def call(actor):
        return ray.get(actor.two.remote())

    assert ray.get(call.remote(Actor.remote())) == [1, 2]


def test_unknown_option_of_a_call_is_a_type_error_at_remote(ray):
    @ray.remote
    class Actor:
        def answer(self):
            return 42

    actor = Actor.remote()
    wrapper = actor.answer.options(nothing=1)
    with pytest.raises(TypeError, match="nothing"):
        wrapper.remote()
    assert ray.get(actor.answer.remote()) == 42


def test_negative_num_returns_of_a_call_is_a_value_error(ray):
    @ray.remote
    class Actor:
        def answer(self):
            return 42

    with pytest.raises(ValueError, match="num_returns"):
        Actor.remote().answer.options(num_returns=-1)


def test_options_of_a_call_do_not_stick(ray):
    @ray.remote
    class Actor:
        def pair(self):
            return 1, 2

    actor = Actor.remote()
    wrapper = actor.pair.options(num_returns=2)
    assert ray.get(wrapper.remote()) == [1, 2]
    assert ray.get(actor.pair.remote()) == (1, 2)
    assert ray.get(wrapper.remote()) == [1, 2]


def test_options_with_nothing_change_nothing(ray):
    @ray.remote
    class Actor:
        def answer(self):
            return 42

    actor = Actor.remote()
    assert ray.get(actor.answer.options().remote()) == 42
    assert ray.get(actor.answer.options(name="given", max_task_retries=0, enable_task_events=False).remote()) == 42


def test_calls_with_options_check_their_arguments(ray):
    @ray.remote
    class Actor:
        def take(self, value):
            return value

    with pytest.raises(TypeError):
        Actor.remote().take.options(name="given").remote()


def test_ray_ready_tells_that_the_constructor_has_run(ray, gate):
    @ray.remote
    class Slow:
        def __init__(self, gate):
            gate.wait()

    actor = Slow.remote(gate)
    ready = actor.__ray_ready__.remote()
    assert ray.wait([ready], timeout=0.2) == ([], [ready])
    gate.open()
    assert ray.get(ready) is True


def test_ray_ready_of_a_failed_constructor_is_its_error(ray, exceptions):
    @ray.remote
    class Failing:
        def __init__(self):
            raise ValueError("not ready")

    with pytest.raises(exceptions.ActorDiedError, match="not ready"):
        ray.get(Failing.remote().__ray_ready__.remote())


def test_ray_call_runs_a_function_on_the_instance(ray):
    @ray.remote
    class Counter:
        def __init__(self):
            self.count = 5

    def add(self, amount, *, twice=False):
        self.count += amount * (2 if twice else 1)
        return self.count

    counter = Counter.remote()
    assert ray.get(counter.__ray_call__.remote(lambda self: self.count)) == 5
    assert ray.get(counter.__ray_call__.remote(add, 10)) == 15
    assert ray.get(counter.__ray_call__.remote(add, 1, twice=True)) == 17


def test_ray_call_gives_the_error_of_its_function(ray):
    @ray.remote
    class Actor:
        pass

    with pytest.raises(ZeroDivisionError):
        ray.get(Actor.remote().__ray_call__.remote(lambda self: 1 / 0))


def test_ray_call_takes_options(ray):
    @ray.remote
    class Actor:
        pass

    assert ray.get(Actor.remote().__ray_call__.options(num_returns=2).remote(lambda self: (1, 2))) == [1, 2]


def test_ray_call_arrives_in_order_with_methods(ray):
    @ray.remote
    class Log:
        def __init__(self):
            self.lines = []

        def add(self, line):
            self.lines.append(line)

    log = Log.remote()
    for i in range(0, 20, 2):
        log.add.remote(i)
        log.__ray_call__.remote(lambda self, line: self.lines.append(line), i + 1)
    assert ray.get(log.__ray_call__.remote(lambda self: self.lines)) == list(range(20))


def test_ray_call_sees_refs_as_values(ray):
    @ray.remote
    class Actor:
        pass

    assert ray.get(Actor.remote().__ray_call__.remote(lambda self, x: x + 1, ray.put(1))) == 2


def test_method_named_like_a_part_of_the_handle_works(ray):
    @ray.remote
    class Actor:
        def options(self):
            return "options"

        def remote_name(self):
            return "remote name"

        def ref(self):
            return "ref"

        def info(self):
            return "info"

    actor = Actor.remote()
    assert ray.get([actor.options.remote(), actor.remote_name.remote(), actor.ref.remote(), actor.info.remote()]) == [
        "options",
        "remote name",
        "ref",
        "info",
    ]
