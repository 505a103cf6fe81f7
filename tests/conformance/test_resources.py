"""Resources: how many tasks run at once, and what happens to a request that can never be met."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def hold(ray, gate, started):
    """Give a function that starts a task with these options; it reports its start and runs until the gate opens."""

    @ray.remote
    def hold(gate, started, name):
        started.send(name)
        gate.wait()
        return name

    running = []

    def start(name, **options):
        running.append(hold.options(**options).remote(gate, started, name))
        return running[-1]

    yield start
    gate.open()
    if running:
        # The gate goes with the test: a task that came too late would wait for it for ever, and hold its CPU.
        ray.wait(running, num_returns=len(running))


def test_task_takes_one_cpu_by_default(ray, hold, started, gate):
    running = [hold("a"), hold("b")]
    assert {started.receive(), started.receive()} == {"a", "b"}
    third = hold("c")
    assert ray.wait([third], timeout=0.3) == ([], [third])
    gate.open()
    assert ray.get([*running, third]) == ["a", "b", "c"]


def test_queued_task_starts_when_a_cpu_is_free(ray, hold, started, gate):
    running = hold("both", num_cpus=2)
    assert started.receive() == "both"
    queued = hold("queued")
    gate.open()
    assert started.receive() == "queued"
    assert ray.get([running, queued]) == ["both", "queued"]


def test_halves_of_a_cpu_add_up(ray, hold, started):
    running = [hold(str(i), num_cpus=0.5) for i in range(4)]
    assert sorted(started.receive() for _ in running) == ["0", "1", "2", "3"]
    fifth = hold("4", num_cpus=0.5)
    assert ray.wait([fifth], timeout=0.3) == ([], [fifth])


def test_two_tasks_of_more_than_half_of_the_cpus_take_turns(ray, hold, started, gate):
    first = hold("first", num_cpus=1.5)
    assert started.receive() == "first"
    second = hold("second", num_cpus=1.5)
    small = hold("small", num_cpus=0.5)
    assert started.receive() == "small"
    gate.open()
    assert started.receive() == "second"
    assert ray.get([first, second, small]) == ["first", "second", "small"]


def test_tasks_without_cpu_are_not_limited(ray, hold, started):
    running = [hold(str(i), num_cpus=0) for i in range(6)]
    assert {started.receive() for _ in running} == set("012345")


def test_task_without_cpu_runs_while_all_cpus_are_taken(ray, hold, started):
    running = hold("all", num_cpus=2)
    assert started.receive() == "all"
    assert ray.get(ray.remote(num_cpus=0)(lambda: "free").remote()) == "free"
    assert ray.wait([running], timeout=0) == ([], [running])


def test_custom_resource_limits_the_tasks_that_ask_for_it(ray, hold, started):
    running = [hold(str(i), num_cpus=0, resources={"gadget": 1}) for i in range(2)]
    assert {started.receive() for _ in running} == {"0", "1"}
    third = hold("2", num_cpus=0, resources={"gadget": 1})
    assert ray.wait([third], timeout=0.3) == ([], [third])
    assert ray.get(ray.remote(num_cpus=0)(lambda: "without").remote()) == "without"


def test_fractions_of_a_custom_resource_add_up(ray, hold, started):
    running = [hold(str(i), num_cpus=0, resources={"gadget": 0.5}) for i in range(4)]
    assert sorted(started.receive() for _ in running) == ["0", "1", "2", "3"]
    fifth = hold("4", num_cpus=0, resources={"gadget": 0.0001})
    assert ray.wait([fifth], timeout=0.3) == ([], [fifth])


def test_custom_resource_and_cpu_are_both_needed(ray, hold, started):
    running = hold("cpus", num_cpus=2)
    assert started.receive() == "cpus"
    both = hold("both", resources={"gadget": 1})
    assert ray.wait([both, running], timeout=0.3) == ([], [both, running])


def test_zero_of_a_custom_resource_asks_for_nothing(ray):
    assert ray.get(ray.remote(resources={"no such thing": 0})(lambda: 1).remote()) == 1


def test_resource_comes_back_after_an_error(ray):
    @ray.remote(num_cpus=2, resources={"gadget": 2})
    def fail():
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):
            ray.get(fail.remote())
    assert ray.get(ray.remote(num_cpus=2, resources={"gadget": 2})(lambda: "free").remote()) == "free"


def test_resource_comes_back_after_a_crash(ray, exceptions):
    import os

    crash = ray.remote(num_cpus=2, resources={"gadget": 2}, max_retries=0)(lambda: os._exit(1))
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(crash.remote())
    assert ray.get(ray.remote(num_cpus=2, resources={"gadget": 2})(lambda: "free").remote()) == "free"


@pytest.mark.parametrize(
    "options",
    [{"num_cpus": 100}, {"resources": {"no such thing": 1}}, {"resources": {"gadget": 3}}, {"num_gpus": 1}],
    ids=["cpus", "unknown resource", "too much", "gpu"],
)
def test_impossible_request_stays_pending_and_harms_nobody(ray, exceptions, options):
    impossible = ray.remote(**options)(lambda: 1).remote()
    assert ray.wait([impossible], timeout=0.3) == ([], [impossible])
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(impossible, timeout=0.1)
    assert ray.get(ray.remote(lambda: "others run").remote()) == "others run"


def test_impossible_request_does_not_hold_up_wait_for_others(ray):
    impossible = ray.remote(num_cpus=100)(lambda: 1).remote()
    possible = ray.remote(lambda: 2).remote()
    assert ray.wait([impossible, possible]) == ([possible], [impossible])


def test_task_of_an_impossible_request_may_be_an_argument(ray):
    impossible = ray.remote(num_cpus=100)(lambda: 1).remote()
    dependent = ray.remote(lambda x: x).remote(impossible)
    assert ray.wait([dependent], timeout=0.3) == ([], [dependent])


def test_session_may_end_with_impossible_requests(ray):
    refs = [ray.remote(num_cpus=100)(lambda: 1).remote() for _ in range(3)]
    assert ray.wait(refs, timeout=0) == ([], refs)
    ray.shutdown()
    assert not ray.is_initialized()


def test_memory_request_is_admission_only(ray):
    assert ray.get(ray.remote(memory=50_000_000)(lambda: "ran").remote()) == "ran"
