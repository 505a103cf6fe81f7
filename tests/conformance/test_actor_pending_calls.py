"""max_pending_calls: how many calls of an actor a process may have that are not finished."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def make(ray):
    """Give a function that makes an actor with a limit."""

    class Actor:
        def wait(self, gate=None, started=None):
            if started is not None:
                started.send()
            if gate is not None:
                gate.wait()
            return "waited"

        def leave(self):
            ray.actor.exit_actor()

    def make(limit, **options):
        return ray.remote(num_cpus=0)(Actor).options(max_pending_calls=limit, **options).remote()

    return make


def expect_full(exceptions, call, *args):
    with pytest.raises(exceptions.PendingCallsLimitExceeded, match="max_pending_calls"):
        call(*args)


def test_call_above_the_limit_is_refused_and_others_are_not_hurt(ray, exceptions, make, gate):
    actor = make(3)
    refs = [actor.wait.remote(gate) for _ in range(3)]
    expect_full(exceptions, actor.wait.remote, gate)
    expect_full(exceptions, actor.wait.remote, gate)
    gate.open()
    assert ray.get(refs) == ["waited"] * 3
    assert ray.get([actor.wait.remote() for _ in range(3)]) == ["waited"] * 3


def test_running_call_counts(ray, exceptions, make, gate, started):
    actor = make(1)
    ref = actor.wait.remote(gate, started)
    started.receive()
    expect_full(exceptions, actor.wait.remote)
    gate.open()
    assert ray.get(ref) == "waited"


def test_call_that_waits_for_an_argument_counts(ray, exceptions, make, gate):
    @ray.remote
    def late(gate):
        gate.wait()

    actor = make(1)
    ref = actor.wait.remote(late.remote(gate))
    expect_full(exceptions, actor.wait.remote)
    gate.open()
    assert ray.get(ref) == "waited"


def test_calls_of_all_methods_count_together(ray, exceptions, make, gate):
    actor = make(1)
    ref = actor.wait.remote(gate)
    expect_full(exceptions, actor.leave.remote)
    expect_full(exceptions, actor.wait.options(num_returns=1).remote)
    gate.open()
    assert ray.get(ref) == "waited"


def test_other_actors_have_limits_of_their_own(ray, exceptions, make, gate):
    first, second = make(1), make(1)
    refs = [first.wait.remote(gate), second.wait.remote()]
    expect_full(exceptions, first.wait.remote)
    gate.open()
    assert ray.get(refs) == ["waited"] * 2


def test_other_processes_have_limits_of_their_own(ray, exceptions, make, gate):
    actor = make(1)

    @ray.remote
    def call(actor):
        ref = actor.wait.remote()
        try:
            actor.wait.remote()
        except exceptions.PendingCallsLimitExceeded:
            full = True
        else:
            full = False
        return full, [ref]

    ref = actor.wait.remote(gate)
    full, (inner,) = ray.get(call.remote(actor))
    gate.open()
    assert full
    assert ray.get([ref, inner]) == ["waited"] * 2


def test_handle_by_name_has_the_limit(ray, exceptions, make, gate):
    actor = make(1, name="limited")
    found = ray.get_actor("limited")
    ref = found.wait.remote(gate)
    expect_full(exceptions, found.wait.remote)
    gate.open()
    assert ray.get(ref) == "waited"
    del actor


@pytest.mark.parametrize("limit", [-1, 0])
def test_without_a_limit(ray, make, limit, gate):
    actor = make(limit)
    refs = [actor.wait.remote(gate) for _ in range(100)]
    gate.open()
    assert ray.get(refs) == ["waited"] * 100


def test_threads_and_their_calls_that_wait_count(ray, exceptions, make, gate):
    actor = make(4, max_concurrency=2)
    refs = [actor.wait.remote(gate) for _ in range(4)]
    expect_full(exceptions, actor.wait.remote)
    gate.open()
    assert ray.get(refs) == ["waited"] * 4


def test_calls_of_an_actor_that_died_count_no_more(ray, exceptions, make):
    actor = make(1)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote())
    for _ in range(2):
        with pytest.raises(exceptions.ActorDiedError):
            ray.get(actor.wait.remote())
