"""Making actors: .remote() does not wait, the constructor's arguments arrive, and every actor has a process of its own."""

import os
import time

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_remote_returns_a_handle(ray):
    @ray.remote
    class Counter:
        pass

    assert isinstance(Counter.remote(), ray.actor.ActorHandle)


def test_remote_does_not_wait_for_the_constructor(ray, gate, started):
    @ray.remote
    class Slow:
        def __init__(self, gate, started):
            started.send("constructing")
            gate.wait()

        def ready(self):
            return "ready"

    actor = Slow.remote(gate, started)
    assert started.receive() == "constructing"
    ref = actor.ready.remote()
    assert ray.wait([ref], timeout=0.1) == ([], [ref])
    gate.open()
    assert ray.get(ref) == "ready"


def test_remote_does_not_wait_for_the_arguments(ray, gate):
    @ray.remote
    def late(gate):
        gate.wait()
        return "value"

    @ray.remote
    class Holder:
        def __init__(self, value):
            self.value = value

        def read(self):
            return self.value

    actor = Holder.remote(late.remote(gate))
    ref = actor.read.remote()
    assert ray.wait([ref], timeout=0.1) == ([], [ref])
    gate.open()
    assert ray.get(ref) == "value"


def test_class_without_a_constructor_makes_actors(ray):
    @ray.remote
    class Plain:
        def answer(self):
            return 42

    assert ray.get(Plain.remote().answer.remote()) == 42


def test_constructor_takes_arguments_by_position_and_by_name(ray):
    @ray.remote
    class Holder:
        def __init__(self, a, b=2, *rest, c, d=4, **others):
            self.held = (a, b, rest, c, d, others)

        def read(self):
            return self.held

    assert ray.get(Holder.remote(1, c=3).read.remote()) == (1, 2, (), 3, 4, {})
    assert ray.get(Holder.remote(1, 5, 6, 7, c=3, e=8).read.remote()) == (1, 5, (6, 7), 3, 4, {"e": 8})


def test_refs_given_to_the_constructor_arrive_as_values(ray):
    @ray.remote
    class Holder:
        def __init__(self, value, *, key):
            self.held = (value, key)

        def read(self):
            return self.held

    assert ray.get(Holder.remote(ray.put("by position"), key=ray.put("by name")).read.remote()) == (
        "by position",
        "by name",
    )


def test_refs_inside_lists_given_to_the_constructor_arrive_as_refs(ray):
    ref = ray.put("inner")

    @ray.remote
    class Holder:
        def __init__(self, refs):
            self.refs = refs

        def read(self):
            return ray.get(self.refs[0])

    assert ray.get(Holder.remote([ref]).read.remote()) == "inner"


def test_large_argument_of_the_constructor_arrives(ray):
    @ray.remote
    class Holder:
        def __init__(self, data):
            self.data = data

        def size(self):
            return len(self.data)

    assert ray.get(Holder.remote(bytes(3_000_000)).size.remote()) == 3_000_000


def test_argument_of_the_constructor_is_a_snapshot(ray):
    given = [1]

    @ray.remote
    class Holder:
        def __init__(self, values):
            self.values = values

        def read(self):
            return self.values

    actor = Holder.remote(given)
    given.append(2)
    assert ray.get(actor.read.remote()) == [1]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"nothing": 1}), ((1,), {"a": 2})],
    ids=["missing", "too many", "unknown name", "twice"],
)
def test_wrong_arguments_of_the_constructor_are_a_type_error_at_once(ray, args, kwargs):
    @ray.remote
    class Holder:
        def __init__(self, a, b=2):
            pass

    with pytest.raises(TypeError):
        Holder.remote(*args, **kwargs)


def test_arguments_for_a_class_without_a_constructor_are_a_type_error_at_once(ray):
    @ray.remote
    class Plain:
        pass

    with pytest.raises(TypeError):
        Plain.remote(1)


def test_argument_that_does_not_pickle_is_a_type_error_at_once(ray):
    import threading

    @ray.remote
    class Holder:
        def __init__(self, lock):
            pass

    with pytest.raises(TypeError):
        Holder.remote(threading.Lock())


def test_class_that_does_not_pickle_is_a_type_error_at_once(ray):
    import threading

    lock = threading.Lock()

    @ray.remote
    class Holder:
        def read(self):
            return lock

    with pytest.raises(TypeError):
        Holder.remote()


def test_every_actor_has_a_process_of_its_own(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self):
            return os.getpid()

    actors = [Actor.remote() for _ in range(3)]
    pids = ray.get([actor.pid.remote() for actor in actors])
    assert len({*pids, os.getpid()}) == 4
    assert ray.get([actor.pid.remote() for actor in actors]) == pids


def test_actor_has_a_process_apart_from_tasks(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self):
            return os.getpid()

    actor = Actor.remote()
    pid = ray.get(actor.pid.remote())
    pids_of_tasks = ray.get([ray.remote(lambda: os.getpid()).remote() for _ in range(8)])
    assert pid not in pids_of_tasks


def test_actors_of_one_class_share_no_state(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        made = 0

        def __init__(self):
            Counter.made += 1
            self.value = 0

        def increment(self):
            self.value += 1
            return Counter.made, self.value

    first, second = Counter.remote(), Counter.remote()
    ray.get(first.increment.remote())
    assert ray.get(first.increment.remote()) == (1, 2)
    assert ray.get(second.increment.remote()) == (1, 1)


def test_class_is_pickled_at_the_first_remote_not_when_decorated(ray):
    @ray.remote
    class Reader:
        def read(self):
            return setting

    setting = "defined after the class"
    assert ray.get(Reader.remote().read.remote()) == "defined after the class"


def test_class_that_is_defined_again_is_a_new_class(ray):
    def define(answer):
        @ray.remote(num_cpus=0)
        class Actor:
            def answer(self):
                return answer

        return Actor

    old, new = define("old"), define("new")
    assert ray.get([old.remote().answer.remote(), new.remote().answer.remote()]) == ["old", "new"]


def test_class_may_be_made_an_actor_class_by_a_call(ray):
    class Plain:
        def answer(self):
            return 42

    assert ray.get(ray.remote(Plain).remote().answer.remote()) == 42
    assert ray.get(ray.remote(num_cpus=0)(Plain).remote().answer.remote()) == 42
    assert Plain().answer() == 42


def test_actor_class_may_be_used_from_a_task(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def answer(self):
            return 42

    @ray.remote
    def make():
        return ray.get(Actor.remote().answer.remote())

    assert ray.get(make.remote()) == 42


def test_actor_class_serves_the_next_session(ray):
    @ray.remote
    class Actor:
        def answer(self):
            return 42

    assert ray.get(Actor.remote().answer.remote()) == 42
    ray.shutdown()
    ray.init(num_cpus=2, resources={"gadget": 2}, include_dashboard=False, log_to_driver=False)
    assert ray.get(Actor.remote().answer.remote()) == 42


def test_constructor_runs_once(ray, runs):
    @ray.remote
    class Actor:
        def __init__(self, runs):
            runs.add()

        def answer(self):
            return 42

    actor = Actor.remote(runs)
    assert ray.get([actor.answer.remote() for _ in range(3)]) == [42] * 3
    assert len(runs.lines()) == 1


def test_many_actors_at_once_come_and_answer(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, number):
            self.number = number

        def read(self):
            return self.number

    actors = [Actor.remote(i) for i in range(10)]
    assert ray.get([actor.read.remote() for actor in actors]) == list(range(10))


def test_slots_properties_and_call_of_the_instance_work(ray):
    @ray.remote
    class Actor:
        __slots__ = ("value",)

        def __init__(self, value):
            self.value = value

        def __call__(self, more):
            return self.value + more

        @property
        def doubled(self):
            return 2 * self.value

        def read(self):
            return self.doubled

    actor = Actor.remote(2)
    assert ray.get(actor.read.remote()) == 4
    assert ray.get(actor.__call__.remote(1)) == 3


def test_arrays_given_to_an_actor_are_read_only_and_stay_valid(ray):
    import numpy as np

    @ray.remote
    class Holder:
        def __init__(self, array):
            self.array = array

        def facts(self):
            return self.array.flags.writeable, int(self.array.sum())

    ref = ray.put(np.ones(1_000_000))
    actor = Holder.remote(ref)
    assert ray.get(actor.facts.remote()) == (False, 1_000_000)
    del ref
    assert ray.get(actor.facts.remote()) == (False, 1_000_000)


def test_constructor_may_start_threads_that_live_on(ray):
    import threading

    @ray.remote
    class Actor:
        def __init__(self):
            self.beats = 0
            self.beating = threading.Event()
            threading.Thread(target=self.beat, daemon=True).start()

        def beat(self):
            while True:
                self.beats += 1
                self.beating.set()
                time.sleep(0.001)

        def wait_for_beats(self):
            self.beating.wait()
            return self.beats > 0

    assert ray.get(Actor.remote().wait_for_beats.remote())
