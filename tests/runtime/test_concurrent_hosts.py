"""Actors that run several calls at once, in miniray's own terms: idle ones sleep, nothing is left, no death hangs or damages."""

import contextlib
import os
import random
import signal
from pathlib import Path

import pytest

from helpers.actors import Async, Threads
from helpers.counts import counts, expect_counts, outcome
from helpers.states import is_gone, wait_until
from miniray import _miniray_core as core
from miniray.exceptions import ActorDiedError, RayActorError

KINDS = [Async, Threads]


def make(ray, kind, **options):
    if kind is Threads:
        options = {"max_concurrency": 8} | options
    return ray.remote(num_cpus=0, **options)(kind).remote()


def switches(pid):
    """How often each thread of a process has gone to sleep."""
    found = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found[status.parent.name] = int(status.read_text().partition("voluntary_ctxt_switches:")[2].split()[0])
    return found


def sleeps(pid):
    return all(
        path.read_text().partition("State:")[2].split()[0] == "S" for path in Path(f"/proc/{pid}/task").glob("*/status")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_idle_actor_sleeps_while_others_work(ray, kind):
    actor = make(ray, kind)
    waiting = actor.wait.remote()
    pid = ray.get(actor.pid.remote())
    task = ray.remote(lambda: None)
    ray.get(task.remote())
    wait_until(lambda: sleeps(pid), "all its threads sleep")
    before = switches(pid)
    ray.get([task.remote() for _ in range(500)])
    assert switches(pid) == before
    ray.get(actor.open.remote())
    ray.get(waiting)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_leave_nothing(ray, kind):
    actor = make(ray, kind)

    def run_all_ways():
        refs = [actor.back.remote(bytes(50_000)) for _ in range(20)]
        refs += [actor.back.remote(ray.put(bytes(50_000))) for _ in range(20)]
        refs += [actor.back.remote([ray.put(bytes(50_000))]) for _ in range(20)]
        failed = [actor.fail.remote(ray.put(bytes(50_000))) for _ in range(5)]
        assert len(ray.get(refs)) == 60
        for ref in failed:
            with pytest.raises(ValueError, match="x00"):
                ray.get(ref)

    run_all_ways()
    wait_until(lambda: core._statistics()["tasks"] == 0, "all have ended")
    collect = actor.__ray_call__.remote(lambda self: __import__("gc").collect())
    ray.get(collect)
    before = counts()
    for _ in range(3):
        run_all_ways()
    ray.get(actor.__ray_call__.remote(lambda self: __import__("gc").collect()))
    expect_counts(before)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_actors_that_went_in_every_way(ray, kind):
    def run_all_ways():
        actors = [make(ray, kind) for _ in range(4)]
        waiting = [actor.wait.remote(bytes(20_000)) for actor in actors]
        pids = ray.get([actor.pid.remote() for actor in actors])
        ray.kill(actors[0])
        os.kill(pids[1], signal.SIGKILL)
        assert outcome(ray, actors[2].leave.remote()) is ActorDiedError
        assert outcome(ray, waiting[2]) == bytes(20_000)
        assert [outcome(ray, ref) for ref in waiting[:2]] == [ActorDiedError] * 2
        ray.get(actors[3].open.remote())
        return pids

    processes = run_all_ways()
    wait_until(lambda: all(map(is_gone, processes)), "the first processes go")
    before = counts()
    processes += run_all_ways()
    wait_until(lambda: all(map(is_gone, processes)), "the processes go")
    expect_counts(before)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_beyond_the_limit_fail_with_the_actor(ray, kind):
    actor = make(ray, kind, max_concurrency=4)
    pid = ray.get(actor.pid.remote())
    refs = [actor.wait.remote(i) for i in range(100)]
    os.kill(pid, signal.SIGKILL)
    assert {outcome(ray, ref) for ref in refs} == {ActorDiedError}
    assert core._validate() is None


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_groups_that_wait_fail_with_the_actor(ray, kind):
    actor = make(ray, kind, concurrency_groups={"few": 2})
    waiting = [actor.wait.options(concurrency_group="few").remote(i) for i in range(10)]
    ray.get(actor.back.remote(1))
    assert outcome(ray, actor.leave.remote()) is ActorDiedError
    found = [outcome(ray, ref) for ref in waiting]
    assert all(value in (i, ActorDiedError) for i, value in enumerate(found))
    assert core._validate() is None


@pytest.mark.parametrize("kind", KINDS)
def test_hosts_killed_at_random_moments(ray, kind):
    random_numbers = random.Random(7)
    options = [{}, {"max_restarts": -1}, {"max_restarts": -1, "max_task_retries": -1}]
    actors = [make(ray, kind, **each) for each in options]
    refs = []
    for _ in range(12):
        for actor in actors:
            refs += [(actor, i, actor.back.remote(i)) for i in range(random_numbers.randrange(40))]
        facts = core._actor_facts(random_numbers.choice(actors)._ref)
        if facts is not None and facts[1] > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(facts[1], signal.SIGKILL)
    for actor, i, ref in refs:
        found = outcome(ray, ref)
        if actor is actors[2]:
            assert found == i
        else:
            assert found == i or issubclass(found, RayActorError)
    assert ray.get(make(ray, kind).back.remote(5)) == 5
    assert core._validate() is None


def test_exception_that_is_no_exception_ends_the_process(ray):
    class Odd(BaseException):
        pass

    @ray.remote(num_cpus=0)
    class Raising:
        async def run(self):
            raise Odd

    @ray.remote(num_cpus=0, max_concurrency=2)
    class RaisingInAThread:
        def run(self):
            raise Odd

    for kind in (Raising, RaisingInAThread):
        actor = kind.remote()
        assert [outcome(ray, actor.run.remote()) for _ in range(2)] == [ActorDiedError] * 2


def test_unknown_group_is_told_at_once(ray):
    actor = make(ray, Threads, concurrency_groups={"few": 2})
    with pytest.raises(ValueError, match=r"no concurrency group 'many'; it has \['few'\]"):
        actor.back.options(concurrency_group="many").remote(1)
