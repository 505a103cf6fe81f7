"""Actors with coroutines: one loop, many calls at once, errors, ends."""

import asyncio
import os

import pytest

pytestmark = pytest.mark.usefixtures("session")


class Meeting:
    """Methods that wait for each other."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.there = 0
        self.opened = asyncio.Event()
        self.background = None

    async def meet(self, count):
        self.there += 1
        if self.there == count:
            self.opened.set()
        await self.opened.wait()
        return self.there

    async def wait(self):
        self.there += 1
        await self.opened.wait()
        self.there -= 1
        return "went on"

    async def open(self):
        self.opened.set()

    async def how_many(self):
        return self.there

    def sync_how_many(self):
        return self.there, asyncio.get_running_loop() is self.loop

    async def loop_is_the_same(self):
        return asyncio.get_running_loop() is self.loop

    async def back(self, value):
        await asyncio.sleep(0)
        return value

    async def await_first(self, refs):
        return await refs[0]

    async def gather(self, refs):
        return await asyncio.gather(*refs)

    async def fail(self):
        await asyncio.sleep(0)
        raise KeyError("lost")

    async def pair(self):
        return 1, 2

    async def cancel_itself(self):
        raise asyncio.CancelledError

    async def begin_background(self):
        async def work():
            await self.opened.wait()
            return "done"

        self.background = asyncio.ensure_future(work())

    async def end_background(self):
        self.opened.set()
        return await self.background

    async def pid(self):
        return os.getpid()

    async def die(self):
        os._exit(1)


@pytest.fixture
def meeting(ray):
    """Give an actor of Meeting."""
    return ray.remote(num_cpus=0)(Meeting).remote()


def test_a_thousand_calls_run_at_once(ray, meeting):
    assert ray.get([meeting.meet.remote(1000) for _ in range(1000)]) == [1000] * 1000


def test_everything_runs_in_one_loop(ray, meeting):
    assert ray.get([meeting.loop_is_the_same.remote(), meeting.sync_how_many.remote()]) == [True, (0, True)]


def test_sync_methods_run_between_the_others(ray, meeting):
    waiting = meeting.wait.remote()
    while ray.get(meeting.sync_how_many.remote())[0] == 0:
        pass
    meeting.open.remote()
    assert ray.get(waiting) == "went on"
    assert ray.get(meeting.sync_how_many.remote())[0] == 0


def test_limit_of_calls_at_once(ray):
    meeting = ray.remote(num_cpus=0)(Meeting).options(max_concurrency=3).remote()
    waiting = [meeting.meet.remote(3) for _ in range(3)]
    assert ray.get(waiting) == [3, 3, 3]

    blocked = ray.remote(num_cpus=0)(Meeting).options(max_concurrency=2).remote()
    waiting = [blocked.meet.remote(3) for _ in range(3)]
    assert ray.wait(waiting, timeout=0.3) == ([], waiting)
    ray.kill(blocked)


def test_values_and_errors(ray, exceptions, meeting):
    assert ray.get(meeting.back.remote([1, {"two": 2}])) == [1, {"two": 2}]
    assert ray.get(meeting.pair.options(num_returns=2).remote()) == [1, 2]
    with pytest.raises(KeyError, match="lost") as caught:
        ray.get(meeting.fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert ray.get(meeting.back.remote(3)) == 3


def test_cancelled_error_of_a_method(ray, exceptions, meeting):
    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(meeting.cancel_itself.remote())
    assert ray.get(meeting.back.remote(3)) == 3


def test_method_awaits_refs(ray, meeting):
    @ray.remote(num_cpus=0)
    def square(value):
        return value * value

    assert ray.get(meeting.await_first.remote([square.remote(3)])) == 9
    assert ray.get(meeting.gather.remote([square.remote(i) for i in range(50)])) == [i * i for i in range(50)]


def test_method_awaits_a_method_of_its_own_actor(ray, meeting):
    waiting = meeting.wait.remote()
    ray.get(meeting.how_many.remote())
    assert ray.get(meeting.await_first.remote([meeting.back.remote("own")])) == "own"
    ray.get(meeting.open.remote())
    assert ray.get(waiting) == "went on"


def test_error_of_an_awaited_ref(ray, meeting):
    @ray.remote(num_cpus=0, max_retries=0)
    def fail():
        raise ZeroDivisionError("nothing")

    with pytest.raises(ZeroDivisionError, match="nothing"):
        ray.get(meeting.await_first.remote([fail.remote()]))


def test_call_with_an_unready_argument_holds_nobody_up(ray, meeting, gate):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return "late"

    waiting = meeting.back.remote(late.remote(gate))
    assert ray.get(meeting.back.remote("early")) == "early"
    gate.open()
    assert ray.get(waiting) == "late"


def test_failed_argument_is_the_error_of_the_call(ray, meeting):
    @ray.remote(num_cpus=0, max_retries=0)
    def fail():
        raise ZeroDivisionError("nothing")

    with pytest.raises(ZeroDivisionError, match="nothing"):
        ray.get(meeting.back.remote(fail.remote()))
    assert ray.get(meeting.back.remote(1)) == 1


def test_loop_goes_on_between_calls(ray, meeting):
    ray.get(meeting.begin_background.remote())
    assert ray.get(meeting.end_background.remote()) == "done"


def test_built_in_methods(ray, meeting):
    assert ray.get(meeting.__ray_ready__.remote()) is True
    assert ray.get(meeting.__ray_call__.remote(lambda self, x: (type(self).__name__, x), 5)) == ("Meeting", 5)


def test_death_fails_all_calls_that_run(ray, exceptions, meeting):
    waiting = [meeting.wait.remote() for _ in range(20)]
    ray.get(meeting.how_many.remote())
    dead = meeting.die.remote()
    for ref in [*waiting, dead, meeting.how_many.remote()]:
        with pytest.raises(exceptions.RayActorError):
            ray.get(ref)


def test_killed_actor(ray, exceptions, meeting):
    waiting = meeting.wait.remote()
    ray.get(meeting.how_many.remote())
    ray.kill(meeting)
    with pytest.raises(exceptions.RayActorError):
        ray.get(waiting)


def test_restart(ray):
    meeting = ray.remote(num_cpus=0, max_restarts=1, max_task_retries=-1)(Meeting).remote()
    first = ray.get(meeting.pid.remote())
    waiting = meeting.meet.remote(2)
    ray.get(meeting.how_many.remote())
    ray.kill(meeting, no_restart=False)
    assert ray.get([waiting, meeting.meet.remote(2)]) == [2, 2]
    assert ray.get(meeting.pid.remote()) != first


def test_failed_constructor(ray, exceptions):
    @ray.remote(num_cpus=0)
    class Broken:
        def __init__(self):
            raise ValueError("never made")

        async def run(self):
            pass

    with pytest.raises(exceptions.ActorDiedError, match="never made"):
        ray.get(Broken.remote().run.remote())


def test_user_errors_are_tried_again(ray, runs):
    @ray.remote(num_cpus=0)
    class Flaky:
        async def run(self, log):
            if log.add() < 3:
                raise ValueError("again")
            return len(log.lines())

    actor = Flaky.remote()
    again = actor.run.options(max_task_retries=5, retry_exceptions=True)
    assert ray.get(again.remote(runs)) == 3


def test_actor_ends_with_its_last_handle_when_calls_have_finished(ray, exceptions, runs):
    @ray.remote(num_cpus=0)
    class Late:
        async def run(self, log):
            await asyncio.sleep(0.05)
            log.add("ran")
            return 1

    assert ray.get([Late.remote().run.remote(runs) for _ in range(2)]) == [1, 1]
    assert runs.lines() == ["ran", "ran"]


def test_blocking_get_in_an_async_actor_warns_once(start_program):
    program = start_program("""
import asyncio
ray.init(num_cpus=2, include_dashboard=False)

@ray.remote
def slow():
    import time
    time.sleep(0.2)

@ray.remote
class Actor:
    async def block(self):
        for _ in range(2):
            ray.get(slow.remote())

    async def ask(self):
        await slow.remote()

actor = Actor.remote()
ray.get(actor.ask.remote())
print("asked", flush=True)
ray.get(actor.block.remote())
print("blocked", flush=True)
sys.stdin.read()
""")
    program.expect("asked")
    program.expect("blocked")
    program.expect("Using blocking ray.get inside async actor", "stderr")
    finished = program.finish()
    assert finished.stderr.count("Using blocking ray.get inside async actor") == 1
