"""Errors of actors: of methods, of constructors, of arguments, and of processes that die."""

import os
import pickle
import signal

import pytest

pytestmark = pytest.mark.usefixtures("session")


class Refused(Exception):
    """An error of the user's own, with an attribute."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


@pytest.fixture
def Actor(ray):
    """Give an actor class whose methods fail in many ways."""

    @ray.remote(num_cpus=0)
    class Actor:
        def answer(self):
            return 42

        def fail(self, error):
            raise error[0]

        def fail_deeply(self):
            def inner():
                raise ValueError("deep inside")

            inner()

        def take(self, value):
            return value

        def unpicklable(self):
            import threading

            return threading.Lock()

        def pid(self):
            return os.getpid()

        def die(self):
            os._exit(7)

        def return_error(self):
            return ValueError("as a value")

    return Actor


@pytest.fixture
def Failing(ray):
    """Give an actor class whose constructor raises."""

    @ray.remote(num_cpus=0)
    class Failing:
        def __init__(self):
            raise Refused(5)

        def answer(self):
            return 42

    return Failing


def test_error_of_a_method_is_the_users_type_and_a_task_error(ray, exceptions, Actor):
    with pytest.raises(Refused) as caught:
        ray.get(Actor.remote().fail.remote([Refused(3)]))
    assert caught.value.code == 3
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert isinstance(caught.value.cause, Refused)


def test_error_of_a_method_is_no_actor_error(ray, exceptions, Actor):
    with pytest.raises(ValueError) as caught:
        ray.get(Actor.remote().fail.remote([ValueError("v")]))
    assert not isinstance(caught.value, exceptions.RayActorError)


def test_actor_goes_on_after_an_error(ray, Actor):
    actor = Actor.remote()
    with pytest.raises(ValueError):
        ray.get(actor.fail.remote([ValueError("v")]))
    assert ray.get(actor.answer.remote()) == 42


def test_text_of_an_error_shows_where_it_came_from(ray, Actor):
    with pytest.raises(ValueError) as caught:
        ray.get(Actor.remote().fail_deeply.remote())
    text = str(caught.value)
    assert "deep inside" in text
    assert "in inner" in text
    assert "Actor.fail_deeply()" in text


def test_error_in_an_argument_skips_the_method(ray, Actor):
    actor = Actor.remote()
    with pytest.raises(Refused) as caught:
        ray.get(actor.take.remote(actor.fail.remote([Refused(9)])))
    assert caught.value.code == 9
    assert ray.get(actor.answer.remote()) == 42


def test_error_object_that_is_returned_is_a_value(ray, Actor):
    assert repr(ray.get(Actor.remote().return_error.remote())) == "ValueError('as a value')"


def test_result_that_does_not_pickle_is_an_error_and_the_actor_goes_on(ray, Actor):
    actor = Actor.remote()
    with pytest.raises(TypeError):
        ray.get(actor.unpicklable.remote())
    assert ray.get(actor.answer.remote()) == 42


def test_wrong_number_of_returns_is_a_value_error_of_each(ray):
    @ray.remote
    class Actor:
        @ray.method(num_returns=3)
        def two(self):
            return 1, 2

    for ref in Actor.remote().two.remote():
        with pytest.raises(ValueError, match="num_returns"):
            ray.get(ref)


def test_every_call_of_an_actor_whose_constructor_raised_fails(ray, exceptions, Failing):
    actor = Failing.remote()
    for _ in range(3):
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(actor.answer.remote())


def test_error_of_a_constructor_holds_its_text(ray, exceptions):
    @ray.remote(num_cpus=0)
    class Failing:
        def __init__(self):
            raise ValueError("no such configuration")

        def answer(self):
            return 42

    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(Failing.remote().answer.remote())
    text = str(caught.value)
    assert "The actor died because of an error raised in its creation task" in text
    assert "no such configuration" in text
    assert "Failing.__init__()" in text


def test_error_of_a_constructor_is_not_of_the_users_type(ray, exceptions, Failing):
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(Failing.remote().answer.remote())
    assert not isinstance(caught.value, Refused)
    assert not isinstance(caught.value, exceptions.RayTaskError)


def test_error_of_a_constructor_says_so_in_its_attributes(ray, exceptions, Failing):
    actor = Failing.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.answer.remote())
    assert caught.value.actor_init_failed
    assert caught.value.actor_id == actor._actor_id.hex()


def test_calls_made_before_the_constructor_raised_fail_too(ray, exceptions, gate):
    @ray.remote(num_cpus=0)
    class Failing:
        def __init__(self, gate):
            gate.wait()
            raise ValueError("late")

        def answer(self):
            return 42

    actor = Failing.remote(gate)
    refs = [actor.answer.remote() for _ in range(5)]
    gate.open()
    for ref in refs:
        with pytest.raises(exceptions.ActorDiedError, match="late"):
            ray.get(ref)


def test_failed_argument_of_a_constructor_fails_the_actor(ray, exceptions, Actor):
    @ray.remote(num_cpus=0)
    class Holder:
        def __init__(self, value):
            self.value = value

        def read(self):
            return self.value

    failed = Actor.remote().fail.remote([ValueError("upstream")])
    actor = Holder.remote(failed)
    with pytest.raises(exceptions.ActorDiedError, match="upstream"):
        ray.get(actor.read.remote())


def test_task_that_depends_on_a_failed_actor_fails(ray, exceptions, Failing):
    ref = ray.remote(lambda x: x).remote(Failing.remote().answer.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(ref)


def test_failed_constructor_gives_its_resources_back(ray, exceptions):
    @ray.remote(resources={"gadget": 2})
    class Failing:
        def __init__(self):
            raise ValueError

        def answer(self):
            return 42

    with pytest.raises(exceptions.ActorDiedError):
        ray.get(Failing.remote().answer.remote())
    assert ray.get(ray.remote(resources={"gadget": 2})(lambda: "free").remote()) == "free"


def test_death_of_the_process_is_an_actor_died_error(ray, exceptions, Actor):
    actor = Actor.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.die.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_process_killed_from_outside_is_an_actor_died_error(ray, exceptions, gate, started):
    @ray.remote(num_cpus=0)
    class Actor:
        def wait_for(self, gate, started):
            started.send(str(os.getpid()))
            gate.wait()

    actor = Actor.remote()
    refs = [actor.wait_for.remote(gate, started) for _ in range(3)]
    os.kill(int(started.receive()), signal.SIGKILL)
    for ref in refs:
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(ref)


def test_error_of_a_dead_actor_knows_the_actor(ray, exceptions, Actor):
    actor = Actor.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(actor.die.remote())
    assert caught.value.actor_id == actor._actor_id.hex()
    assert not caught.value.actor_init_failed
    assert not caught.value.preempted


def test_error_of_a_dead_actor_is_a_ray_error_and_no_task_error(exceptions):
    assert issubclass(exceptions.ActorDiedError, exceptions.RayActorError)
    assert issubclass(exceptions.ActorUnavailableError, exceptions.RayActorError)
    assert issubclass(exceptions.RayActorError, exceptions.RayError)
    assert not issubclass(exceptions.RayActorError, exceptions.RayTaskError)


def test_each_result_of_a_lost_call_is_the_error(ray, exceptions):
    @ray.remote(num_cpus=0)
    class Actor:
        @ray.method(num_returns=2)
        def die(self):
            os._exit(1)

    for ref in Actor.remote().die.remote():
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(ref)


def test_error_of_a_dead_actor_travels_through_a_task(ray, exceptions, Actor):
    @ray.remote
    def call(actor):
        return ray.get(actor.die.remote())

    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(call.remote(Actor.remote()))
    assert isinstance(caught.value, exceptions.RayTaskError)


def test_error_of_a_dead_actor_may_be_pickled(ray, exceptions, Actor):
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(Actor.remote().die.remote())
    same = pickle.loads(pickle.dumps(caught.value))
    assert str(same) == str(caught.value)
    assert same.actor_id == caught.value.actor_id


def test_wait_counts_calls_of_dead_actors_as_ready(ray, Actor):
    actor = Actor.remote()
    refs = [actor.die.remote(), actor.answer.remote()]
    assert ray.wait(refs, num_returns=2) == (refs, [])


def test_get_of_a_list_fails_as_soon_as_an_actor_died(ray, exceptions, Actor, gate):
    @ray.remote(num_cpus=0)
    class Slow:
        def wait_for(self, gate):
            gate.wait()

    slow, dying = Slow.remote(), Actor.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get([slow.wait_for.remote(gate), dying.die.remote()])


def test_death_of_one_actor_does_not_touch_another(ray, exceptions, Actor):
    dying, living = Actor.remote(), Actor.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(dying.die.remote())
    assert ray.get(living.answer.remote()) == 42


def test_class_that_cannot_be_loaded_fails_the_actor(ray, exceptions):
    class Loud:
        def __reduce__(self):
            return _refuse_to_load, ()

    marker = Loud()

    @ray.remote(num_cpus=0)
    class Actor:
        kept = marker

        def answer(self):
            return 42

    with pytest.raises(exceptions.RayError, match="not here"):
        ray.get(Actor.remote().answer.remote())


def _refuse_to_load():
    raise RuntimeError("not here")
