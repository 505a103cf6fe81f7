"""Actors that use tasks and actors, tasks that use actors, and threads among them."""

import threading

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def Adder(ray):
    """Give an actor class that adds."""

    @ray.remote(num_cpus=0)
    class Adder:
        def __init__(self, amount=1):
            self.amount = amount

        def add(self, value):
            return value + self.amount

    return Adder


def test_method_may_run_tasks(ray):
    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Actor:
        def quadruple(self, x):
            return ray.get(double.remote(double.remote(x)))

    assert ray.get(Actor.remote().quadruple.remote(3)) == 12


def test_constructor_may_run_tasks(ray):
    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Actor:
        def __init__(self, x):
            self.x = ray.get(double.remote(x))

        def read(self):
            return self.x

    assert ray.get(Actor.remote(3).read.remote()) == 6


def test_constructor_may_make_actors(ray, Adder):
    @ray.remote(num_cpus=0)
    class Boss:
        def __init__(self):
            self.adders = [Adder.remote(i) for i in range(3)]

        def add_all(self, value):
            return ray.get([adder.add.remote(value) for adder in self.adders])

    assert ray.get(Boss.remote().add_all.remote(10)) == [10, 11, 12]


def test_method_may_return_refs_of_its_tasks(ray):
    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Actor:
        def start(self, x):
            return [double.remote(x)]

    [ref] = ray.get(Actor.remote().start.remote(3))
    assert ray.get(ref) == 6


def test_actors_may_call_each_other_in_a_chain(ray):
    @ray.remote(num_cpus=0)
    class Link:
        def __init__(self, following):
            self.following = following

        def depth(self):
            return 1 + (ray.get(self.following.depth.remote()) if self.following else 0)

    link = None
    for _ in range(5):
        link = Link.remote(link)
    assert ray.get(link.depth.remote()) == 5


def test_actor_may_call_itself_and_wait_later(ray):
    @ray.remote(num_cpus=0)
    class Actor:
        def learn(self, handles):
            self.me = handles[0]

        def start(self):
            return [self.me.answer.remote()]

        def answer(self):
            return 42

    actor = Actor.remote()
    ray.get(actor.learn.remote([actor]))
    [ref] = ray.get(actor.start.remote())
    assert ray.get(ref) == 42
    ray.kill(actor)


def test_two_actors_may_pass_a_value_back_and_forth(ray):
    @ray.remote(num_cpus=0)
    class Player:
        def hit(self, ball):
            return [*ball, len(ball)]

    ping, pong = Player.remote(), Player.remote()
    ball = ray.put([])
    for _ in range(10):
        ball = pong.hit.remote(ping.hit.remote(ball))
    assert ray.get(ball) == list(range(20))


def test_tasks_may_share_an_actor(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        value = 0

        def increment(self):
            self.value += 1
            return self.value

    @ray.remote
    def work(counter):
        return [ray.get(counter.increment.remote()) for _ in range(20)]

    counter = Counter.remote()
    found = ray.get([work.remote(counter) for _ in range(4)])
    assert sorted(value for values in found for value in values) == list(range(1, 81))
    assert all(values == sorted(values) for values in found)


def test_task_may_make_an_actor_that_outlives_it(ray, Adder):
    @ray.remote
    def make():
        return Adder.remote(5)

    assert ray.get(ray.get(make.remote()).add.remote(1)) == 6


def test_actor_made_by_an_actor_may_be_handed_out(ray, Adder):
    @ray.remote(num_cpus=0)
    class Factory:
        def make(self, amount):
            return Adder.remote(amount)

    factory = Factory.remote()
    adders = ray.get([factory.make.remote(i) for i in range(3)])
    assert ray.get([adder.add.remote(10) for adder in adders]) == [10, 11, 12]


def test_threads_of_an_actor_may_call_tasks_and_actors(ray, Adder):
    @ray.remote(num_cpus=0)
    def double(x):
        return 2 * x

    @ray.remote(num_cpus=0)
    class Actor:
        def work(self, adder):
            found = {}

            def run(i):
                found[i] = ray.get([double.remote(i), adder.add.remote(i)])

            threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return found

    assert ray.get(Actor.remote().work.remote(Adder.remote(1))) == {0: [0, 1], 1: [2, 2], 2: [4, 3]}


def test_object_put_by_an_actor_outlives_it(ray, exceptions):
    @ray.remote(num_cpus=0)
    class Actor:
        def make(self):
            return [ray.put(bytes(200_000))]

        def leave(self):
            ray.actor.exit_actor()

    actor = Actor.remote()
    [ref] = ray.get(actor.make.remote())
    assert len(ray.get(ref)) == 200_000
    del actor
    assert len(ray.get(ref)) == 200_000


def test_wait_inside_an_actor_works(ray, Adder):
    @ray.remote(num_cpus=0)
    class Actor:
        def work(self, adders):
            refs = [adder.add.remote(0) for adder in adders]
            done = []
            while refs:
                ready, refs = ray.wait(refs)
                done += ray.get(ready)
            return sorted(done)

    assert ray.get(Actor.remote().work.remote([Adder.remote(i) for i in range(4)])) == [0, 1, 2, 3]


def test_actor_may_kill_another(ray, exceptions, Adder):
    @ray.remote(num_cpus=0)
    class Killer:
        def kill(self, victims):
            ray.kill(victims[0])

    victim = Adder.remote()
    assert ray.get(victim.add.remote(1)) == 2
    ray.get(Killer.remote().kill.remote([victim]))
    with pytest.raises(exceptions.RayActorError):
        ray.get(victim.add.remote(1))


def test_actor_sees_the_death_of_another_as_an_error(ray, exceptions, Adder):
    error = exceptions.RayActorError

    @ray.remote(num_cpus=0)
    class Watcher:
        def watch(self, handles):
            try:
                return ray.get(handles[0].add.remote(1))
            except error:
                return "dead"

    adder, watcher = Adder.remote(), Watcher.remote()
    assert ray.get(watcher.watch.remote([adder])) == 2
    ray.kill(adder)
    assert ray.get(watcher.watch.remote([adder])) == "dead"


def test_parallel_actors_run_at_the_same_time(ray, started, gate):
    @ray.remote(num_cpus=0)
    class Actor:
        def meet(self, started, gate):
            started.send()
            gate.wait()
            return "met"

    actors = [Actor.remote() for _ in range(4)]
    refs = [actor.meet.remote(started, gate) for actor in actors]
    for _ in actors:
        started.receive()
    gate.open()
    assert ray.get(refs) == ["met"] * 4


def test_generator_of_work_through_a_pool_of_actors(ray, Adder):
    adders = [Adder.remote(1) for _ in range(2)]
    waiting = {adder.add.remote(i): adder for i, adder in enumerate(adders)}
    done, following = [], len(adders)
    while waiting:
        [ready], _ = ray.wait(list(waiting))
        adder = waiting.pop(ready)
        done.append(ray.get(ready))
        if following < 20:
            waiting[adder.add.remote(following)] = adder
            following += 1
    assert sorted(done) == list(range(1, 21))
