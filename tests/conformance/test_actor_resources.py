"""What an actor needs to be placed, what it holds while it lives, and what it gives back."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Actor(ray):
    """Give a plain class to decorate."""

    class Actor:
        def answer(self):
            return 42

        def wait_for(self, gate, started):
            started.send()
            gate.wait()
            return "waited"

        def wait_in_get(self, refs, started):
            started.send()
            return ray.get(refs[0])

    return Actor


def expect_free(ray, **resources):
    """Check that a task with these demands can run now."""
    assert ray.get(ray.remote(**resources)(lambda: "ran").remote()) == "ran"


def expect_taken(ray, **resources):
    """Check that a task with these demands waits, and return its ref."""
    ref = ray.remote(**resources)(lambda: "ran").remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    return ref


def test_actor_holds_no_cpu_by_default(ray, Actor):
    actors = [ray.remote(Actor).remote() for _ in range(4)]
    assert ray.get([actor.answer.remote() for actor in actors]) == [42] * 4
    expect_free(ray, num_cpus=2)


def test_actor_needs_a_cpu_to_be_placed_by_default(ray, Actor, gate, started):
    @ray.remote(num_cpus=2)
    def hold(gate, started):
        started.send()
        gate.wait()

    holding = hold.remote(gate, started)
    started.receive()
    actor = ray.remote(Actor).remote()
    ref = actor.answer.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    gate.open()
    assert ray.get(ref) == 42
    ray.get(holding)


def test_running_call_takes_no_cpu(ray, Actor, gate, started):
    actor = ray.remote(Actor).remote()
    running = actor.wait_for.remote(gate, started)
    started.receive()
    expect_free(ray, num_cpus=2)
    gate.open()
    assert ray.get(running) == "waited"


def test_actor_with_num_cpus_holds_them_for_life(ray, Actor):
    actor = ray.remote(num_cpus=1)(Actor).remote()
    ray.get(actor.answer.remote())
    expect_free(ray, num_cpus=1)
    waiting = expect_taken(ray, num_cpus=2)
    del actor
    assert ray.get(waiting) == "ran"


def test_actor_with_zero_cpus_is_placed_while_all_are_taken(ray, Actor, gate, started):
    @ray.remote(num_cpus=2)
    def hold(gate, started):
        started.send()
        gate.wait()

    holding = hold.remote(gate, started)
    started.receive()
    assert ray.get(ray.remote(num_cpus=0)(Actor).remote().answer.remote()) == 42
    gate.open()
    ray.get(holding)


def test_custom_resource_is_held_for_life(ray, Actor):
    actor = ray.remote(num_cpus=0, resources={"gadget": 1})(Actor).remote()
    ray.get(actor.answer.remote())
    expect_free(ray, num_cpus=0, resources={"gadget": 1})
    waiting = expect_taken(ray, num_cpus=0, resources={"gadget": 2})
    del actor
    assert ray.get(waiting) == "ran"


def test_custom_resource_without_num_cpus_holds_one_cpu_too(ray, Actor):
    actor = ray.remote(resources={"gadget": 1})(Actor).remote()
    ray.get(actor.answer.remote())
    expect_free(ray, num_cpus=1)
    waiting = expect_taken(ray, num_cpus=2)
    del actor
    assert ray.get(waiting) == "ran"


def test_memory_without_num_cpus_holds_no_cpu(ray, Actor):
    actor = ray.remote(memory=1_000_000)(Actor).remote()
    ray.get(actor.answer.remote())
    expect_free(ray, num_cpus=2)


def test_fractions_of_a_resource_add_up(ray, Actor):
    actors = [ray.remote(num_cpus=0, resources={"gadget": 0.5})(Actor).remote() for _ in range(4)]
    assert ray.get([actor.answer.remote() for actor in actors]) == [42] * 4
    waiting = expect_taken(ray, num_cpus=0, resources={"gadget": 0.5})
    del actors
    assert ray.get(waiting) == "ran"


def test_actors_wait_for_a_resource_in_turn(ray, Actor):
    make = ray.remote(num_cpus=0, resources={"gadget": 2})(Actor).remote
    first, second = make(), make()
    assert ray.get(first.answer.remote()) == 42
    ref = second.answer.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    del first
    assert ray.get(ref) == 42


@pytest.mark.parametrize(
    "options",
    [{"num_cpus": 100}, {"resources": {"no such thing": 1}}, {"num_gpus": 1}],
    ids=["cpus", "unknown resource", "gpu"],
)
def test_impossible_actor_stays_pending_and_harms_nobody(ray, exceptions, Actor, options):
    actor = ray.remote(**options)(Actor).remote()
    ref = actor.answer.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.1)
    expect_free(ray, num_cpus=1)


def test_pending_actor_may_be_killed(ray, exceptions, Actor):
    actor = ray.remote(resources={"no such thing": 1})(Actor).remote()
    ref = actor.answer.remote()
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref)


def test_actor_with_num_cpus_keeps_them_while_blocked_in_get(ray, Actor, gate, started):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return "late"

    actor = ray.remote(num_cpus=2)(Actor).remote()
    blocked = actor.wait_in_get.remote([late.remote(gate)], started)
    started.receive()
    waiting = expect_taken(ray, num_cpus=1)
    gate.open()
    assert ray.get(blocked) == "late"
    del actor
    assert ray.get(waiting) == "ran"


def test_constructor_that_blocks_in_get_keeps_its_cpus(ray, gate, started):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return "late"

    @ray.remote(num_cpus=2)
    class Blocked:
        def __init__(self, refs, started):
            started.send()
            self.value = ray.get(refs[0])

        def read(self):
            return self.value

    actor = Blocked.remote([late.remote(gate)], started)
    started.receive()
    waiting = expect_taken(ray, num_cpus=1)
    gate.open()
    assert ray.get(actor.read.remote()) == "late"
    del actor
    assert ray.get(waiting) == "ran"


def test_default_actors_take_no_cpu_while_their_constructors_run(ray, gate, started):
    @ray.remote
    class Slow:
        def __init__(self, gate, started):
            started.send()
            gate.wait()

        def answer(self):
            return 42

    actors = [Slow.remote(gate, started) for _ in range(3)]
    refs = [actor.answer.remote() for actor in actors]
    for _ in actors:
        started.receive()
    expect_free(ray, num_cpus=2)
    gate.open()
    assert ray.get(refs) == [42] * 3


def test_constructor_of_a_default_actor_may_run_tasks_on_the_only_cpu(ray, no_session):
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)

    @ray.remote
    class Actor:
        def __init__(self):
            self.value = ray.get(ray.remote(lambda: "child").remote())

        def read(self):
            return self.value

    assert ray.get(Actor.remote().read.remote()) == "child"


def test_tasks_of_an_actor_need_their_own_cpus(ray):
    @ray.remote(num_cpus=1)
    class Actor:
        def work(self):
            return ray.get(ray.remote(lambda: "child").remote())

    assert ray.get(Actor.remote().work.remote()) == "child"


def test_many_actors_without_cpu_on_one_cpu(ray, no_session):
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)

    @ray.remote(num_cpus=0)
    class Actor:
        def answer(self):
            return 42

    actors = [Actor.remote() for _ in range(6)]
    assert ray.get([actor.answer.remote() for actor in actors]) == [42] * 6


def test_default_actors_on_one_cpu_come_one_after_another_and_all_live(ray, no_session):
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)

    @ray.remote
    class Actor:
        def answer(self):
            return 42

    actors = [Actor.remote() for _ in range(4)]
    assert ray.get([actor.answer.remote() for actor in actors]) == [42] * 4


def test_resources_come_back_after_the_constructor_crashed(ray, exceptions):
    import os

    @ray.remote(num_cpus=2, resources={"gadget": 2})
    class Crashing:
        def __init__(self):
            os._exit(1)

        def answer(self):
            return 42

    for _ in range(2):
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(Crashing.remote().answer.remote())
    expect_free(ray, num_cpus=2, resources={"gadget": 2})


def test_tasks_and_actors_share_the_cpus(ray, Actor, gate, started):
    @ray.remote
    def hold(gate, started):
        started.send()
        gate.wait()
        return "held"

    actor = ray.remote(num_cpus=1)(Actor).remote()
    ray.get(actor.answer.remote())
    running = hold.remote(gate, started)
    started.receive()
    second = ray.remote(num_cpus=1)(Actor).remote()
    ref = second.answer.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    gate.open()
    assert ray.get([running, ref]) == ["held", 42]
