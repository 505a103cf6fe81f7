"""An actor ends when its last handle has gone: calls made before still finish, and exit handlers run."""

import contextlib
import gc
import os
import signal

import pytest
from processes import watch

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Mortal(ray, started):
    """Give an actor class whose exit handler sends ``gone`` and the actor's name."""

    @ray.remote(num_cpus=0)
    class Mortal:
        def __init__(self, name, started):
            import atexit

            atexit.register(started.send, f"gone {name}")

        def answer(self):
            return 42

        def big(self):
            return bytes(1_000_000)

        def wait_for(self, gate):
            gate.wait()
            return "waited"

        def hold(self, thing):
            self.thing = thing

        def drop(self):
            self.thing = None

        def pid(self):
            return os.getpid()

    return lambda name="it": Mortal.remote(name, started)


def test_actor_ends_when_its_only_handle_goes(ray, Mortal, started):
    actor = Mortal()
    assert ray.get(actor.answer.remote()) == 42
    del actor
    assert started.receive() == "gone it"


def test_actor_whose_handle_goes_at_once_still_answers(ray, Mortal, started):
    assert ray.get(Mortal().answer.remote()) == 42
    assert started.receive() == "gone it"


def test_calls_sent_before_the_handle_went_finish(ray, Mortal, started, gate):
    actor = Mortal()
    refs = [actor.wait_for.remote(gate), *[actor.answer.remote() for _ in range(20)]]
    del actor
    gc.collect()
    gate.open()
    assert ray.get(refs) == ["waited", *[42] * 20]
    assert started.receive() == "gone it"


def test_call_that_waits_for_its_argument_finishes_after_the_handle_went(ray, started, gate):
    @ray.remote
    def late(gate):
        gate.wait()
        return "late"

    @ray.remote(num_cpus=0)
    class Actor:
        def back(self, value):
            return value

    ref = Actor.remote().back.remote(late.remote(gate))
    gc.collect()
    gate.open()
    assert ray.get(ref) == "late"


def test_result_outlives_the_actor(ray, Mortal, started):
    actor = Mortal()
    ref = actor.big.remote()
    del actor
    assert started.receive() == "gone it"
    assert len(ray.get(ref)) == 1_000_000


def test_handle_passed_to_a_running_task_keeps_the_actor(ray, Mortal, started, gate):
    @ray.remote
    def use(actor, gate):
        gate.wait()
        return ray.get(actor.answer.remote())

    actor = Mortal()
    ref = use.remote(actor, gate)
    del actor
    gc.collect()
    gate.open()
    assert ray.get(ref) == 42
    assert started.receive() == "gone it"


def test_handle_inside_an_object_keeps_the_actor(ray, Mortal, started):
    ref = ray.put([Mortal()])
    gc.collect()
    actor = ray.get(ref)[0]
    assert ray.get(actor.answer.remote()) == 42
    del ref, actor
    assert started.receive() == "gone it"


def test_handle_inside_another_actor_keeps_the_actor(ray, Mortal, started):
    inner, outer = Mortal("inner"), Mortal("outer")
    ray.get(outer.hold.remote([inner]))
    ref = inner.answer.remote()
    del inner
    assert ray.get(ref) == 42
    ray.get(outer.drop.remote())
    assert started.receive() == "gone inner"
    assert ray.get(outer.answer.remote()) == 42


def test_end_of_an_actor_drops_the_handles_that_it_held(ray, Mortal, started):
    inner, outer = Mortal("inner"), Mortal("outer")
    ray.get(outer.hold.remote([inner]))
    del inner
    del outer
    assert {started.receive(), started.receive()} == {"gone inner", "gone outer"}


def test_copy_of_a_handle_keeps_the_actor(ray, Mortal, started):
    actor = Mortal()
    same = ray.get(ray.put(actor))
    del actor
    gc.collect()
    assert ray.get(same.answer.remote()) == 42
    del same
    assert started.receive() == "gone it"


def test_actor_made_by_a_task_ends_with_the_task_that_keeps_it(ray, Mortal, started):
    @ray.remote
    def use():
        return ray.get(Mortal("inner").answer.remote())

    assert ray.get(use.remote()) == 42
    assert started.receive() == "gone inner"


def test_actor_that_holds_its_own_results_ends(ray, Mortal, started):
    actor = Mortal()
    refs = [actor.big.remote() for _ in range(3)]
    ray.wait(refs, num_returns=3)
    del refs, actor
    assert started.receive() == "gone it"


def test_process_of_an_ended_actor_goes(ray, Mortal, started):
    actor = Mortal()
    with watch(ray.get(actor.pid.remote())) as process:
        del actor
        process.wait()


def test_one_actor_after_another_on_the_same_resource(ray):
    @ray.remote(num_cpus=0, resources={"gadget": 2})
    class Greedy:
        def answer(self):
            return 42

    for _ in range(3):
        assert ray.get(Greedy.remote().answer.remote()) == 42


def test_actor_that_is_never_called_ends_too(ray, Mortal, started):
    actor = Mortal()
    ray.get(actor.__ray_ready__.remote())
    del actor
    assert started.receive() == "gone it"


def test_session_may_end_while_actors_live(ray, Mortal, gate):
    busy, idle = Mortal("busy"), Mortal("idle")
    ref = busy.wait_for.remote(gate)
    assert ray.get(idle.answer.remote()) == 42
    ray.shutdown()
    assert not ray.is_initialized()
    del ref


def test_handle_of_an_ended_session_is_an_error_not_a_hang(ray, Mortal):
    actor = Mortal()
    assert ray.get(actor.answer.remote()) == 42
    ray.shutdown()
    ray.init(num_cpus=2, resources={"gadget": 2}, include_dashboard=False, log_to_driver=False)
    with pytest.raises(Exception, match="another program|different cluster"):
        ray.get(actor.answer.remote())


def test_actor_ends_with_the_program(run_program, tmp_path):
    mark = tmp_path / "pid"
    run_program(f"""
import os
ray.init(num_cpus=1)

@ray.remote
class Actor:
    def pid(self):
        return os.getpid()

actor = Actor.remote()
open({str(mark)!r}, "w").write(str(ray.get(actor.pid.remote())))
""")
    with contextlib.suppress(ProcessLookupError), watch(int(mark.read_text())) as process:
        process.wait()


def call_until_it_fails(ray, method):
    """Call a method again and again; what ended its actor takes a while to show."""
    while True:
        ray.get(method.remote())


@pytest.fixture
def Creator(ray, Mortal):
    """Give an actor class that makes others and hands them out."""

    @ray.remote(num_cpus=0)
    class Creator:
        def make(self, name):
            self.made = Mortal(name)
            ray.get(self.made.answer.remote())
            return [self.made]

    return Creator


def test_actor_ends_when_the_actor_that_made_it_is_killed(ray, exceptions, Creator):
    creator = Creator.remote()
    [made] = ray.get(creator.make.remote("made"))
    ray.kill(creator)
    with pytest.raises(exceptions.ActorDiedError):
        call_until_it_fails(ray, made.answer)


def test_actor_ends_when_the_worker_that_made_it_dies(ray, exceptions, Mortal):
    @ray.remote
    def make():
        actor = Mortal("made")
        ray.get(actor.answer.remote())
        return [actor], os.getpid()

    [made], pid = ray.get(make.remote())
    assert ray.get(made.answer.remote()) == 42
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError):
        call_until_it_fails(ray, made.answer)
