"""The ways to end an actor by hand: kill, exit_actor, __ray_terminate__, and SystemExit."""

import os
import sys

import pytest
from processes import watch

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Actor(ray, started):
    """Give an actor class; its exit handler sends ``gone``."""
    exit_actor = ray.actor.exit_actor

    class Actor:
        def __init__(self, started):
            import atexit

            atexit.register(started.send, "gone")

        def answer(self):
            return 42

        def pid(self):
            return os.getpid()

        def wait_for(self, gate, started):
            started.send("running")
            gate.wait()
            return "waited"

        def leave(self):
            exit_actor()
            return "never"

        def leave_and_catch(self):
            try:
                exit_actor()
            except SystemExit:
                return "caught"

        def leave_after(self, gate):
            gate.wait()
            exit_actor()

        def system_exit(self):
            sys.exit(0)

        def system_exit_with_code(self):
            sys.exit(3)

        def keyboard_interrupt(self):
            raise KeyboardInterrupt

        def hard_exit(self):
            os._exit(0)

    return lambda **options: ray.remote(num_cpus=0, **options)(Actor).remote(started)


def test_later_calls_of_a_killed_actor_are_actor_errors(ray, exceptions, Actor):
    actor = Actor()
    assert ray.get(actor.answer.remote()) == 42
    ray.kill(actor)
    for _ in range(3):
        with pytest.raises(exceptions.RayActorError):
            ray.get(actor.answer.remote())


def test_error_of_a_killed_actor_is_an_actor_died_error(ray, exceptions, Actor):
    actor = Actor()
    ray.get(actor.answer.remote())
    ray.kill(actor)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_running_and_queued_calls_of_a_killed_actor_are_actor_errors(ray, exceptions, Actor, gate, started):
    actor = Actor()
    running = actor.wait_for.remote(gate, started)
    queued = [actor.answer.remote() for _ in range(5)]
    assert started.receive() == "running"
    ray.kill(actor)
    for ref in [running, *queued]:
        with pytest.raises(exceptions.RayActorError):
            ray.get(ref)


def test_results_made_before_the_kill_stay(ray, Actor):
    actor = Actor()
    ref = actor.answer.remote()
    ray.wait([ref])
    ray.kill(actor)
    assert ray.get(ref) == 42


def test_actor_may_be_killed_before_its_constructor_ran(ray, exceptions, gate):
    @ray.remote
    def late(gate):
        gate.wait()

    @ray.remote(num_cpus=0)
    class Waiting:
        def __init__(self, value):
            pass

        def answer(self):
            return 42

    actor = Waiting.remote(late.remote(gate))
    ref = actor.answer.remote()
    ray.kill(actor)
    gate.open()
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref)


def test_actor_may_be_killed_while_its_constructor_runs(ray, exceptions, gate, started):
    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self, gate, started):
            started.send()
            gate.wait()

        def answer(self):
            return 42

    actor = Slow.remote(gate, started)
    ref = actor.answer.remote()
    started.receive()
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref)


def test_actor_may_be_killed_twice(ray, exceptions, Actor):
    actor = Actor()
    ray.get(actor.answer.remote())
    ray.kill(actor)
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.answer.remote())


def test_exit_handlers_do_not_run_when_killed(ray, Actor, runs):
    @ray.remote(num_cpus=0)
    class Polite:
        def __init__(self, runs):
            import atexit

            atexit.register(runs.add, "atexit")

        def pid(self):
            return os.getpid()

    actor = Polite.remote(runs)
    with watch(ray.get(actor.pid.remote())) as process:
        ray.kill(actor)
        process.wait()
    assert runs.lines() == []


def test_kill_from_a_task_works(ray, exceptions, Actor):
    actor = Actor()
    ray.get(ray.remote(lambda handles: ray.kill(handles[0])).remote([actor]))
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.answer.remote())


def test_kill_of_one_actor_does_not_touch_another(ray, Actor):
    killed, spared = Actor(), Actor()
    assert ray.get([killed.answer.remote(), spared.answer.remote()]) == [42, 42]
    ray.kill(killed)
    assert ray.get(spared.answer.remote()) == 42


def test_calls_of_others_that_get_from_a_killed_actor_see_the_error(ray, exceptions, Actor, gate, started):
    @ray.remote
    def follow(refs):
        return ray.get(refs[0])

    actor = Actor()
    running = actor.wait_for.remote(gate, started)
    started.receive()
    following = follow.remote([running])
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(following)


def test_task_that_depends_on_a_killed_actor_fails(ray, exceptions, Actor, gate, started):
    actor = Actor()
    running = actor.wait_for.remote(gate, started)
    started.receive()
    dependent = ray.remote(lambda x: x).remote(running)
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(dependent)


@pytest.mark.parametrize("thing", [None, 1, "name"], ids=repr)
def test_kill_takes_only_handles(ray, thing):
    with pytest.raises(ValueError, match=r"ray\.kill\(\) only supported for actors"):
        ray.kill(thing)


def test_kill_takes_no_ref_and_no_class(ray, Actor):
    with pytest.raises(ValueError):
        ray.kill(ray.put(1))
    with pytest.raises(ValueError):
        ray.kill(ray.remote(type("C", (), {})))


def test_no_restart_is_a_keyword(ray, Actor):
    with pytest.raises(TypeError):
        ray.kill(Actor(), False)


def test_kill_with_restart_starts_the_actor_again(ray, Actor, exceptions):
    actor = Actor(max_restarts=1, max_task_retries=1)
    first = ray.get(actor.pid.remote())
    with watch(first) as process:
        ray.kill(actor, no_restart=False)
        process.wait()
    assert ray.get(actor.pid.remote()) != first


def test_kill_ends_an_actor_with_restarts_left(ray, exceptions, Actor):
    actor = Actor(max_restarts=-1, max_task_retries=-1)
    ray.get(actor.answer.remote())
    ray.kill(actor)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_kill_with_restart_ends_an_actor_without_restarts_left(ray, exceptions, Actor):
    actor = Actor()
    ray.get(actor.answer.remote())
    ray.kill(actor, no_restart=False)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_exit_actor_runs_exit_handlers(ray, exceptions, Actor, started):
    actor = Actor()
    ref = actor.leave.remote()
    assert started.receive() == "gone"
    with pytest.raises(exceptions.RayActorError):
        ray.get(ref)


def test_calls_after_exit_actor_are_actor_errors(ray, exceptions, Actor):
    actor = Actor()
    refs = [actor.leave.remote(), actor.answer.remote(), actor.answer.remote()]
    for ref in refs:
        with pytest.raises(exceptions.RayActorError):
            ray.get(ref)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.answer.remote())


def test_calls_before_exit_actor_are_answered(ray, exceptions, Actor):
    actor = Actor()
    before = [actor.answer.remote() for _ in range(5)]
    left = actor.leave.remote()
    assert ray.get(before) == [42] * 5
    with pytest.raises(exceptions.RayActorError):
        ray.get(left)


def test_exit_actor_means_no_restart(ray, exceptions, Actor):
    actor = Actor(max_restarts=-1, max_task_retries=-1)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_catching_the_system_exit_does_not_save_the_actor(ray, exceptions, Actor, started):
    actor = Actor()
    caught = actor.leave_and_catch.remote()
    assert started.receive() == "gone"
    with pytest.raises(exceptions.RayActorError):
        ray.get(caught)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.answer.remote())


def test_exit_actor_in_the_driver_is_a_type_error(ray):
    with pytest.raises(TypeError):
        ray.actor.exit_actor()


def test_exit_actor_in_a_task_is_a_type_error(ray):
    exit_actor = ray.actor.exit_actor
    with pytest.raises(TypeError):
        ray.get(ray.remote(lambda: exit_actor()).remote())


def test_ray_terminate_ends_in_order(ray, exceptions, Actor, started):
    actor = Actor()
    before = actor.answer.remote()
    ended = actor.__ray_terminate__.remote()
    assert started.receive() == "gone"
    assert ray.get(before) == 42
    with pytest.raises(exceptions.RayActorError):
        ray.get(ended)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.answer.remote())


def test_ray_terminate_means_no_restart(ray, exceptions, Actor):
    actor = Actor(max_restarts=-1)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.__ray_terminate__.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


@pytest.mark.parametrize("method", ["system_exit", "system_exit_with_code", "hard_exit"])
def test_exit_of_the_process_is_an_actor_died_error(ray, exceptions, Actor, method):
    actor = Actor()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(getattr(actor, method).remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.answer.remote())


def test_exit_actor_in_the_constructor_ends_the_actor(ray, exceptions):
    exit_actor = ray.actor.exit_actor

    @ray.remote(num_cpus=0, max_restarts=-1)
    class Leaver:
        def __init__(self):
            exit_actor()

        def answer(self):
            return 42

    with pytest.raises(exceptions.ActorDiedError):
        ray.get(Leaver.remote().answer.remote())


def test_exit_actor_drops_a_call_that_waits_for_its_argument(ray, exceptions, Actor, gate):
    @ray.remote
    def late(gate):
        gate.wait()

    @ray.remote(num_cpus=0)
    class Taker:
        def leave(self):
            ray.actor.exit_actor()

        def take(self, value):
            return value

    actor = Taker.remote()
    left = actor.leave.remote()
    waiting = actor.take.remote(late.remote(gate))
    with pytest.raises(exceptions.RayActorError):
        ray.get(left)
    gate.open()
    with pytest.raises(exceptions.RayActorError):
        ray.get(waiting)


def test_sys_exit_code_zero_runs_exit_handlers(ray, Actor, started):
    actor = Actor()
    ref = actor.system_exit.remote()
    assert started.receive() == "gone"
    ray.wait([ref])


def test_killed_actor_gives_back_what_it_held(ray, exceptions):
    @ray.remote(resources={"gadget": 2})
    class Greedy:
        def answer(self):
            return 42

    first = Greedy.remote()
    assert ray.get(first.answer.remote()) == 42
    second = Greedy.remote()
    ref = second.answer.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    ray.kill(first)
    assert ray.get(ref) == 42
