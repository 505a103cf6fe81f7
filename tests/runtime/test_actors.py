"""Actors in miniray's own terms: nothing is left of those that went, and no death at any moment hangs or damages."""

import contextlib
import os
import random
import signal

import pytest

from helpers.actors import Plain
from helpers.counts import counts, expect_counts, outcome
from helpers.programs import KIND_SUPERVISOR, KIND_WORKER, pids_of, supervisor_pid
from helpers.states import is_gone, wait_until
from miniray import _miniray_core as core
from miniray._api.actor_class import name_id
from miniray._runtime import namespace as namespaces
from miniray.exceptions import ActorAlreadyExistsError, ActorDiedError, RayActorError, RayError


def make(ray, **options):
    return ray.remote(num_cpus=0, **options)(Plain)


def expect_whole_session(ray):
    """Check that tasks and actors run, and that all is consistent."""
    assert ray.get([ray.remote(lambda i: i * i).remote(i) for i in range(50)]) == [i * i for i in range(50)]
    assert ray.get(make(ray).remote().answer.remote()) == 42
    assert core._validate() is None


def test_nothing_is_left_of_actors_that_went_in_every_way(ray):
    def run_all_ways():
        actors = [make(ray).remote(bytes(10_000)) for _ in range(6)]
        ray.get([actor.back.remote(bytes(50_000)) for actor in actors])
        pids = ray.get([actor.pid.remote() for actor in actors])
        ray.kill(actors[0])
        outcome(ray, actors[1].__ray_terminate__.remote())
        outcome(ray, actors[2].die.remote())
        os.kill(pids[3], signal.SIGKILL)
        assert [outcome(ray, actor.answer.remote()) for actor in actors[:4]] == [ActorDiedError] * 4
        failed = make(ray).remote(ray.remote(lambda: 1 / 0).remote())
        assert outcome(ray, failed.answer.remote()) is ActorDiedError
        return pids

    processes = run_all_ways()  # also what stays: exported functions, the pool
    wait_until(lambda: all(map(is_gone, processes)), "the first processes go")
    before = counts()
    for _ in range(3):
        processes += run_all_ways()
    wait_until(lambda: all(map(is_gone, processes)), "the processes go")
    expect_counts(before)


def test_fifty_actors_one_after_another_leave_nothing(ray):
    assert ray.get(make(ray).remote().answer.remote()) == 42
    wait_until(lambda: core._statistics()["actors"] == 0, "the first goes")
    before = counts()
    for i in range(50):
        assert ray.get(make(ray).remote().back.remote(i)) == i
    expect_counts(before)
    wait_until(lambda: len(pids_of(KIND_WORKER)) <= 3, "only the pool is left")


def test_actor_that_is_never_called_leaves_nothing(ray):
    ray.get(make(ray).remote().answer.remote())
    wait_until(lambda: core._statistics()["actors"] == 0, "the first goes")
    before = counts()
    for _ in range(10):
        make(ray).remote()
    expect_counts(before)


def test_pending_actors_that_are_killed_leave_nothing(ray):
    before = counts()
    actors = [make(ray, resources={"no such thing": 1}).remote() for _ in range(10)]
    refs = [actor.answer.remote() for actor in actors]
    for actor in actors:
        ray.kill(actor)
    assert [outcome(ray, ref) for ref in refs] == [ActorDiedError] * 10
    del refs, actors, actor
    expect_counts(before | {"objects": before["objects"] + 3})  # the exported functions


def test_pending_actor_without_a_handle_stays_for_its_calls_until_the_session_ends(ray):
    ref = make(ray, resources={"no such thing": 1}).remote().answer.remote()
    expect_whole_session(ray)
    assert ray.wait([ref], timeout=0) == ([], [ref])
    assert core._validate() is None
    ray.shutdown()


def test_pending_actor_that_nobody_called_goes_with_its_handle(ray):
    before = counts()
    make(ray, resources={"no such thing": 1}).remote()
    wait_until(lambda: core._statistics()["actors"] == 0, "it goes")
    expect_counts(before | {"objects": before["objects"] + 3})


def make_warm(ray, path):
    """Make an actor of whose methods the functions are known, so that counts do not change by them."""
    path.touch()
    actor = make(ray).remote()
    pid, _, _ = ray.get([actor.pid.remote(), actor.wait_for.remote(str(path)), actor.back.remote(1)])
    return actor, pid


def test_a_thousand_queued_calls_of_an_actor_that_dies_all_fail(ray, tmp_path):
    actor, pid = make_warm(ray, tmp_path / "warm")
    before = counts()
    refs = [actor.wait_for.remote(str(tmp_path / "never")), *[actor.back.remote(i) for i in range(1000)]]
    os.kill(pid, signal.SIGKILL)
    assert {outcome(ray, ref) for ref in refs} == {ActorDiedError}
    del refs
    expect_counts(before)


def test_a_thousand_queued_calls_survive_a_restart(ray, tmp_path):
    actor = make(ray, max_restarts=1, max_task_retries=1).remote()
    pid = ray.get(actor.pid.remote())
    refs = [actor.wait_for.remote(str(tmp_path / "gate")), *[actor.back.remote(i) for i in range(1000)]]
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "gate").touch()
    assert ray.get(refs) == ["waited", *range(1000)]
    assert core._validate() is None


def test_queued_calls_with_refs_give_them_back_when_the_actor_dies(ray, tmp_path):
    actor, pid = make_warm(ray, tmp_path / "warm")
    before = counts()
    refs = [actor.wait_for.remote(str(tmp_path / "never"))]
    refs += [actor.back.remote([ray.put(bytes(20_000))]) for _ in range(50)]
    refs += [actor.back.remote(ray.put(bytes(20_000))) for _ in range(50)]
    os.kill(pid, signal.SIGKILL)
    assert {outcome(ray, ref) for ref in refs} == {ActorDiedError}
    del refs
    expect_counts(before)


def test_replies_to_a_caller_that_died_go(ray, tmp_path):
    actor, _ = make_warm(ray, tmp_path / "warm")

    @ray.remote(max_retries=0)
    def call(actor, gate, mark):
        refs = [actor.wait_for.remote(gate), *[actor.back.remote(bytes(20_000)) for _ in range(20)]]
        with open(mark, "w") as file:
            file.write(str(os.getpid()))
        return len(ray.get(refs))

    gate = tmp_path / "gate"
    with pytest.raises(RayError):  # its function is known from now on
        ray.get(call.remote(actor, str(tmp_path / "warm"), str(tmp_path / "no" / "such" / "folder")))
    ray.get(actor.answer.remote())
    before = counts()
    ref = call.remote(actor, str(gate), str(tmp_path / "pid"))
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the calls are made")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(RayError):
        ray.get(ref)
    gate.touch()
    assert ray.get(actor.answer.remote()) == 42
    del ref
    expect_counts(before)


def test_handle_of_a_dead_actor_in_arguments_gives_its_error_at_once(ray):
    actor = make(ray).remote()
    ray.get(actor.answer.remote())
    ray.kill(actor)

    @ray.remote
    def call(handles):
        return outcome(ray, handles[0].answer.remote())

    assert ray.get(call.remote([actor])) is ActorDiedError
    assert outcome(ray, make(ray).remote(actor).answer.remote()) == 42
    assert core._validate() is None


@pytest.mark.parametrize("seed", [1, 2])
def test_hosts_killed_at_random_moments_lose_only_their_own_calls(ray, seed):
    random_numbers = random.Random(seed)
    kinds = [{}, {"max_restarts": -1}, {"max_restarts": -1, "max_task_retries": -1}, {"max_restarts": 2}]
    actors = [make(ray, **options).remote() for options in kinds]
    spared = make(ray).remote()
    refs = []
    for _ in range(25):
        for actor in actors:
            refs += [(actor, i, actor.back.remote(i)) for i in range(random_numbers.randrange(20))]
        spared_refs = [spared.back.remote(i) for i in range(10)]
        victim = random_numbers.choice(actors)
        facts = core._actor_facts(victim._ref)
        if facts is not None and facts[1] > 0:
            with contextlib.suppress(ProcessLookupError):  # it has died, and nobody has recovered it yet
                os.kill(facts[1], signal.SIGKILL)
        assert ray.get(spared_refs) == list(range(10))
    for actor, i, ref in refs:
        found = outcome(ray, ref)
        if actor is actors[2]:
            assert found == i  # retried as often as it takes
        else:
            assert found == i or issubclass(found, RayActorError)
    expect_whole_session(ray)


def test_hosts_killed_while_their_constructors_run(ray, tmp_path):
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Slow:
        def __init__(self, folder):
            mark = folder / f"{os.getpid()}"
            mark.touch()
            wait_until(lambda: len(list(folder.iterdir())) >= 4, "it is killed three times")

        def answer(self):
            return 42

    actor = Slow.remote(tmp_path)
    ref = actor.answer.remote()
    killed = set()
    while len(killed) < 3:
        wait_until(lambda: {path.name for path in tmp_path.iterdir()} - killed, "a constructor runs")
        for name in {path.name for path in tmp_path.iterdir()} - killed:
            os.kill(int(name), signal.SIGKILL)
            killed.add(name)
    assert ray.get(ref) == 42
    expect_whole_session(ray)


def test_of_tasks_that_race_for_a_name_one_makes_the_actor(ray):
    actor_class = make(ray)

    @ray.remote(num_cpus=0)
    def claim(name, i):
        try:
            return actor_class.options(name=name).remote(i)
        except ActorAlreadyExistsError:
            return None

    for attempt in range(10):
        found = ray.get([claim.remote(f"name {attempt}", i) for i in range(4)])
        [made] = [actor for actor in found if actor is not None]
        assert ray.get_actor(f"name {attempt}") == made
        assert ray.get(made.answer.remote()) == 42
    assert core._validate() is None


def test_of_tasks_that_race_with_get_if_exists_all_get_one_actor(ray):
    actor_class = make(ray)

    @ray.remote(num_cpus=0)
    def join(name, i):
        actor = actor_class.options(name=name, get_if_exists=True).remote(i)
        return actor, ray.get(actor.read.remote())

    for attempt in range(10):
        found = ray.get([join.remote(f"name {attempt}", i) for i in range(4)])
        assert len({actor for actor, _ in found}) == 1
        assert len({value for _, value in found}) == 1


def test_claimer_that_dies_leaves_the_name_free(ray):
    actor_class = make(ray)

    @ray.remote(max_retries=0)
    def claim_and_die():
        actor_class.options(name="claimed").remote()
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(5):
        with pytest.raises(RayError):
            ray.get(claim_and_die.remote())

    def free():
        try:
            return actor_class.options(name="claimed").remote()
        except ActorAlreadyExistsError:
            return None

    wait_until(free, "the name is free")
    assert core._validate() is None


def test_name_of_an_actor_that_died_is_free_at_once_also_while_handles_exist(ray):
    actor = make(ray, name="died").remote()
    assert outcome(ray, actor.die.remote()) is ActorDiedError
    with pytest.raises(ValueError):
        ray.get_actor("died")
    again = make(ray, name="died").remote()
    assert ray.get(ray.get_actor("died").answer.remote()) == 42
    assert again != actor


def test_actor_outlives_a_creator_that_ended_in_order(ray):
    actor_class = make(ray)

    @ray.remote(num_cpus=0)
    class Creator:
        def make(self):
            self.made = actor_class.remote()
            return [self.made], os.getpid()

    creator = Creator.remote()
    [made], pid = ray.get(creator.make.remote())
    del creator
    wait_until(lambda: is_gone(pid), "the creator ends")
    assert ray.get(made.answer.remote()) == 42


def test_all_actors_of_a_creator_that_is_killed_end_also_those_that_wait(ray, tmp_path):
    actor_class = make(ray)
    pending_class = make(ray, resources={"no such thing": 1})

    @ray.remote(num_cpus=0)
    class Creator:
        def make(self):
            made = [actor_class.remote() for _ in range(3)]
            ray.get([actor.answer.remote() for actor in made])
            return [*made, pending_class.remote()], os.getpid()

    creator = Creator.remote()
    made, pid = ray.get(creator.make.remote())
    busy = made[0].wait_for.remote(str(tmp_path / "never"))
    refs = [actor.answer.remote() for actor in made[3:]]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError, match="owner has died"):
        ray.get(busy)
    assert outcome(ray, refs[0]) is ActorDiedError
    for actor in made:
        wait_until(lambda actor=actor: outcome(ray, actor.answer.remote()) is ActorDiedError, "it ends")
    del made, busy, refs, actor, creator
    wait_until(lambda: core._statistics()["actors"] == 0, "no actor is left")
    expect_whole_session(ray)


def test_actors_go_on_when_the_supervisor_dies(ray):
    actor = make(ray, max_restarts=1, max_task_retries=1).remote()
    pid = ray.get(actor.pid.remote())
    old = supervisor_pid()
    os.kill(old, signal.SIGKILL)
    assert ray.get(actor.answer.remote()) == 42
    wait_until(lambda: old not in pids_of(KIND_SUPERVISOR), "the old supervisor is gone")
    wait_until(lambda: pids_of(KIND_SUPERVISOR), "there is another")
    assert ray.get(actor.pid.remote()) == pid
    os.kill(pid, signal.SIGKILL)
    assert ray.get(actor.pid.remote()) != pid
    expect_whole_session(ray)


PROGRAM = """
import os
ray.init(num_cpus=2, log_to_driver=False)

@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Actor:
    def __init__(self, waits=False):
        while waits:
            time.sleep(0.01)
    def answer(self):
        return 42
    def busy(self):
        while True:
            time.sleep(0.01)

idle, busy, starting = Actor.options(name="idle").remote(), Actor.remote(), Actor.remote(True)
pending = Actor.options(resources={"no such thing": 1}).remote()
assert ray.get([idle.answer.remote(), busy.answer.remote()]) == [42, 42]
running = [busy.busy.remote() for _ in range(100)] + [starting.answer.remote(), pending.answer.remote()]
ready()
"""


def test_driver_that_is_killed_takes_its_actors_with_it(start_program):
    program = start_program(PROGRAM + "time.sleep(600)")
    program.wait_ready()
    program.process.kill()
    program.expect_nothing_left()


@pytest.mark.parametrize("end", ["", "ray.shutdown()", "os._exit(0)", "1 / 0"], ids=["exit", "shutdown", "os", "error"])
def test_driver_that_ends_takes_its_actors_with_it(start_program, end):
    program = start_program(PROGRAM + end)
    program.wait_ready()
    program.finish()
    program.expect_nothing_left()


def test_name_that_is_taken_may_be_asked_for_often(ray):
    actor = make(ray).options(name="taken").remote()  # only the actor keeps the object that carries the name
    ray.get(actor.answer.remote())
    for _ in range(5000):
        assert core._claim_name(b"", name_id("taken", namespaces.current())) is None
    expect_whole_session(ray)
