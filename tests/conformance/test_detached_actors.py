"""lifetime="detached": an actor that needs no handle and not the process that made it."""

import gc
import os

import pytest
from processes import watch

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Counter(ray):
    """Give an actor class that counts."""

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self):
            self.count += 1
            return self.count

        def pid(self):
            return os.getpid()

        def leave(self):
            ray.actor.exit_actor()

    return Counter


@pytest.fixture
def end_of(ray):
    """Give a function that kills an actor and waits for the end of its process."""

    def end(actor):
        with watch(ray.get(actor.pid.remote())) as process:
            ray.kill(actor)
            process.wait()

    return end


def test_actor_lives_on_without_a_handle(ray, Counter, end_of):
    actor = Counter.options(name="alone", lifetime="detached").remote()
    assert ray.get(actor.add.remote()) == 1
    del actor
    gc.collect()
    assert ray.get(ray.get_actor("alone").add.remote()) == 2
    assert ray.get(ray.get_actor("alone").add.remote()) == 3
    end_of(ray.get_actor("alone"))
    with pytest.raises(ValueError, match="alone"):
        ray.get_actor("alone")


def test_actor_outlives_the_task_and_the_process_that_made_it(ray, Counter, exceptions, end_of):
    @ray.remote(max_retries=0)
    def make_and_die():
        actor = Counter.options(name="orphan", lifetime="detached").remote()
        ray.get(actor.add.remote())
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(make_and_die.remote())
    assert ray.get(ray.get_actor("orphan").add.remote()) == 2
    end_of(ray.get_actor("orphan"))


def test_actor_outlives_the_actor_that_made_it(ray, Counter, end_of):
    @ray.remote(num_cpus=0)
    class Parent:
        def make(self):
            actor = Counter.options(name="child", lifetime="detached").remote()
            return ray.get(actor.add.remote())

        def pid(self):
            return os.getpid()

    parent = Parent.remote()
    assert ray.get(parent.make.remote()) == 1
    end_of(parent)
    assert ray.get(ray.get_actor("child").add.remote()) == 2
    end_of(ray.get_actor("child"))


def test_actor_that_leaves_ends(ray, exceptions, Counter):
    actor = Counter.options(name="leaves", lifetime="detached").remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote())


def test_actor_is_started_again(ray, Counter, end_of):
    actor = Counter.options(name="again", lifetime="detached", max_restarts=1, max_task_retries=1).remote()
    assert ray.get(actor.add.remote()) == 1
    with watch(ray.get(actor.pid.remote())) as process:
        ray.kill(actor, no_restart=False)
        process.wait()
    del actor
    gc.collect()
    assert ray.get(ray.get_actor("again").add.remote()) == 1
    end_of(ray.get_actor("again"))


def test_actor_without_a_name_lives_as_long_as_a_handle_does(ray, Counter, end_of):
    actor = Counter.options(lifetime="detached").remote()
    assert ray.get(actor.add.remote()) == 1
    end_of(actor)


def test_non_detached_is_what_actors_are(ray, Counter, started):
    actor = Counter.options(lifetime="non_detached").remote()
    with watch(ray.get(actor.pid.remote())) as process:
        del actor
        gc.collect()
        process.wait()
