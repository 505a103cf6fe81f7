"""max_restarts and max_task_retries: what happens to an actor, its state and its calls when its process dies."""

import os
import signal

import pytest
from processes import watch
from rendezvous import RunLog

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Actor(ray):
    """Give a plain class whose instances count their calls, and die on demand."""

    class Actor:
        def __init__(self, runs, *args, **kwargs):
            self.run = runs.add("init")
            self.given = args, kwargs
            self.calls = 0

        def pid(self):
            return os.getpid()

        def count(self):
            self.calls += 1
            return self.run, self.calls

        def read(self):
            return self.given

        def die(self):
            os._exit(1)

        def die_times(self, times, calls):
            if calls.add() <= times:
                os._exit(1)
            return len(calls.lines())

        def wait_for(self, gate, started):
            started.send(str(os.getpid()))
            gate.wait()
            return "waited"

        def fail_times(self, times, calls, error=ValueError):
            if calls.add() <= times:
                raise error("failed")
            return len(calls.lines())

    return lambda **options: ray.remote(num_cpus=0, **options)(Actor).remote


@pytest.fixture
def calls(tmp_path):
    """Give another log of runs."""
    return RunLog(tmp_path / "calls")


def kill_for_restart(ray, actor):
    """Kill the actor's process, so that it is started again."""
    with watch(ray.get(actor.pid.remote())) as process:
        ray.kill(actor, no_restart=False)
        process.wait()


def test_actor_is_not_started_again_by_default(ray, exceptions, Actor, runs):
    actor = Actor()(runs)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.die.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.count.remote())
    assert runs.lines() == ["init"]


def test_restarted_actor_answers_with_a_fresh_state(ray, exceptions, Actor, runs):
    actor = Actor(max_restarts=1, max_task_retries=1)(runs)
    assert ray.get([actor.count.remote(), actor.count.remote()]) == [(1, 1), (1, 2)]
    kill_for_restart(ray, actor)
    assert ray.get(actor.count.remote()) == (2, 1)


def test_constructor_runs_again_with_the_original_arguments(ray, Actor, runs):
    big = bytes(300_000)
    actor = Actor(max_restarts=1, max_task_retries=1)(runs, 1, ray.put("ref"), big, key=ray.put("k"))
    expected = (1, "ref", big), {"key": "k"}
    assert ray.get(actor.read.remote()) == expected
    kill_for_restart(ray, actor)
    assert ray.get(actor.read.remote()) == expected
    assert runs.lines() == ["init", "init"]


def test_running_call_of_a_restarted_actor_fails_without_retries(ray, exceptions, Actor, runs, gate, started):
    actor = Actor(max_restarts=1)(runs)
    running = actor.wait_for.remote(gate, started)
    os.kill(int(started.receive()), signal.SIGKILL)
    with pytest.raises(exceptions.RayActorError):
        ray.get(running)


def test_error_of_a_call_lost_in_a_restart_says_unavailable(ray, exceptions, Actor, runs):
    actor = Actor(max_restarts=1)(runs)
    with pytest.raises(exceptions.ActorUnavailableError):
        ray.get(actor.die.remote())


def test_restarted_actor_serves_later_calls(ray, exceptions, Actor, runs):
    actor = Actor(max_restarts=1)(runs)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.die.remote())
    found = None
    while found is None:
        try:
            found = ray.get(actor.count.remote())
        except exceptions.ActorUnavailableError:
            continue
    assert found == (2, 1)


def test_restarts_come_to_an_end(ray, exceptions, Actor, runs):
    actor = Actor(max_restarts=2, max_task_retries=-1)(runs)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.die.remote())
    assert runs.lines() == ["init"] * 3
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.count.remote())


def test_infinite_restarts_go_on(ray, Actor, runs, calls):
    actor = Actor(max_restarts=-1, max_task_retries=-1)(runs)
    assert ray.get(actor.die_times.remote(4, calls)) == 5
    assert runs.lines() == ["init"] * 5


def test_max_task_retries_repeats_the_lost_call(ray, Actor, runs, calls):
    actor = Actor(max_restarts=1, max_task_retries=1)(runs)
    assert ray.get(actor.die_times.remote(1, calls)) == 2


def test_max_task_retries_comes_to_an_end(ray, exceptions, Actor, runs, calls):
    actor = Actor(max_restarts=-1, max_task_retries=2)(runs)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.die_times.remote(10, calls))
    assert len(calls.lines()) == 3


def test_max_task_retries_without_restarts_repeats_nothing(ray, exceptions, Actor, runs, calls):
    actor = Actor(max_task_retries=-1)(runs)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.die_times.remote(1, calls))
    assert len(calls.lines()) == 1


def test_queued_calls_survive_a_restart_with_retries(ray, Actor, runs, gate, started):
    actor = Actor(max_restarts=1, max_task_retries=1)(runs)
    running = actor.wait_for.remote(gate, started)
    queued = [actor.count.remote() for _ in range(5)]
    pid = int(started.receive())
    os.kill(pid, signal.SIGKILL)
    gate.open()  # only now: the first attempt must not end
    started.receive()
    assert ray.get(running) == "waited"
    assert sorted(ray.get(queued)) == [(2, i) for i in range(1, 6)]


def test_call_sent_while_the_actor_starts_again_is_answered_with_retries(ray, Actor, runs):
    actor = Actor(max_restarts=1, max_task_retries=1)(runs)
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    assert ray.get(actor.count.remote()) == (2, 1)


def test_options_beat_the_decorator(ray, exceptions, runs):
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Actor:
        def __init__(self, runs):
            runs.add()

        def die(self):
            os._exit(1)

    actor = Actor.options(max_restarts=1).remote(runs)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.die.remote())
    assert len(runs.lines()) == 2


def test_retries_of_the_method_beat_those_of_the_actor(ray, exceptions, calls):
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=5)
    class Actor:
        @ray.method(max_task_retries=1)
        def die(self, calls):
            calls.add()
            os._exit(1)

    actor = Actor.remote()
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.die.remote(calls))
    assert len(calls.lines()) == 2


def test_retries_of_the_call_beat_those_of_the_method(ray, exceptions, calls):
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=5)
    class Actor:
        @ray.method(max_task_retries=1)
        def die(self, calls):
            calls.add()
            os._exit(1)

    actor = Actor.remote()
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.die.options(max_task_retries=2).remote(calls))
    assert len(calls.lines()) == 3


def test_max_task_retries_alone_retries_no_user_error(ray, Actor, runs, calls):
    actor = Actor(max_task_retries=3)(runs)
    with pytest.raises(ValueError, match="failed"):
        ray.get(actor.fail_times.remote(1, calls))
    assert len(calls.lines()) == 1


def test_retry_exceptions_alone_retries_no_user_error(ray, Actor, runs, calls):
    actor = Actor()(runs)
    with pytest.raises(ValueError, match="failed"):
        ray.get(actor.fail_times.options(retry_exceptions=True).remote(1, calls))
    assert len(calls.lines()) == 1


def test_retry_exceptions_with_max_task_retries_retries_user_errors(ray, Actor, runs, calls):
    actor = Actor(max_task_retries=3)(runs)
    assert ray.get(actor.fail_times.options(retry_exceptions=True).remote(2, calls)) == 3


def test_both_may_be_given_in_the_call(ray, Actor, runs, calls):
    actor = Actor()(runs)
    assert ray.get(actor.fail_times.options(retry_exceptions=True, max_task_retries=2).remote(2, calls)) == 3


def test_both_may_be_given_at_the_method(ray, calls):
    @ray.remote(num_cpus=0)
    class Actor:
        @ray.method(max_task_retries=1, retry_exceptions=[ValueError])
        def fail(self, calls, error):
            calls.add()
            raise error

    actor = Actor.remote()
    with pytest.raises(ValueError):
        ray.get(actor.fail.remote(calls, ValueError()))
    assert len(calls.lines()) == 2
    with pytest.raises(KeyError):
        ray.get(actor.fail.remote(calls, KeyError()))
    assert len(calls.lines()) == 3


def test_retries_of_user_errors_come_to_an_end(ray, Actor, runs, calls):
    actor = Actor()(runs)
    with pytest.raises(ValueError, match="failed"):
        ray.get(actor.fail_times.options(retry_exceptions=True, max_task_retries=2).remote(9, calls))
    assert len(calls.lines()) == 3


def test_retry_of_a_user_error_keeps_the_state_of_the_actor(ray, runs):
    @ray.remote(num_cpus=0)
    class Actor:
        tries = 0

        @ray.method(max_task_retries=5, retry_exceptions=True)
        def third_time(self):
            self.tries += 1
            if self.tries < 3:
                raise ValueError
            return self.tries

    assert ray.get(Actor.remote().third_time.remote()) == 3


def test_actor_that_dies_in_its_constructor_is_tried_again(ray, runs):
    @ray.remote(num_cpus=0, max_restarts=3, max_task_retries=-1)
    class Actor:
        def __init__(self, runs):
            if runs.add() < 3:
                os._exit(1)

        def answer(self):
            return 42

    assert ray.get(Actor.remote(runs).answer.remote()) == 42
    assert len(runs.lines()) == 3


def test_actor_that_dies_in_its_constructor_without_restarts_is_dead(ray, exceptions):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            os._exit(1)

        def answer(self):
            return 42

    actor = Actor.remote()
    for _ in range(2):
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(actor.answer.remote())


def test_named_actor_keeps_its_name_when_started_again(ray, Actor, runs):
    actor = Actor(max_restarts=1, max_task_retries=1, name="restarted")(runs)
    ray.get(actor.count.remote())
    kill_for_restart(ray, actor)
    assert ray.get(actor.count.remote()) == (2, 1)
    assert ray.get(ray.get_actor("restarted").count.remote()) == (2, 2)


def test_restarted_actor_holds_its_resource_again(ray, exceptions, Actor, runs):
    actor = Actor(max_restarts=1, max_task_retries=1, resources={"gadget": 2})(runs)
    ray.get(actor.count.remote())
    kill_for_restart(ray, actor)
    assert ray.get(actor.count.remote()) == (2, 1)
    other = ray.remote(num_cpus=0, resources={"gadget": 1})(lambda: 1).remote()
    assert ray.wait([other], timeout=0.3) == ([], [other])
    ray.kill(actor)
    assert ray.get(other) == 1


def test_actor_with_restarts_still_ends_with_its_last_handle(ray, runs, started):
    @ray.remote(num_cpus=0, max_restarts=-1)
    class Actor:
        def __init__(self, runs, started):
            import atexit

            runs.add()
            atexit.register(started.send, "gone")

        def answer(self):
            return 42

    actor = Actor.remote(runs, started)
    assert ray.get(actor.answer.remote()) == 42
    del actor
    assert started.receive() == "gone"
    assert len(runs.lines()) == 1


def test_constructor_that_raises_is_not_tried_again(ray, exceptions, runs):
    @ray.remote(num_cpus=0, max_restarts=3)
    class Actor:
        def __init__(self, runs):
            runs.add()
            raise ValueError("no")

        def answer(self):
            return 42

    with pytest.raises(exceptions.ActorDiedError):
        ray.get(Actor.remote(runs).answer.remote())
    assert len(runs.lines()) == 1
