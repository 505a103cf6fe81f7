"""The order of calls: that of submission for each caller, whatever earlier calls wait for."""

import pytest

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
def make_log(ray):
    """Give a function that makes an actor which keeps what it was called with, in the order of its calls."""

    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self, *_):
            self.lines = []

        def add(self, line, *_):
            self.lines.append(line)
            return line

        def fail(self, line):
            self.lines.append(line)
            raise ValueError(line)

        def pause(self, gate):
            gate.wait()

        def read(self):
            return self.lines

    return Log.remote


def test_calls_of_one_caller_run_in_order(ray, make_log):
    log = make_log()
    for i in range(500):
        log.add.remote(i)
    assert ray.get(log.read.remote()) == list(range(500))


def test_calls_made_before_the_constructor_has_run_keep_their_order(ray, make_log, gate):
    @ray.remote
    def late(gate):
        gate.wait()

    log = make_log(late.remote(gate))
    for i in range(20):
        log.add.remote(i)
    ref = log.read.remote()
    gate.open()
    assert ray.get(ref) == list(range(20))


def test_call_that_waits_for_its_argument_holds_up_later_calls(ray, make_log, gate):
    @ray.remote
    def late(gate):
        gate.wait()
        return "late"

    log = make_log()
    first = log.add.remote(late.remote(gate))
    second = log.add.remote("second")
    assert ray.wait([second], timeout=0.3) == ([], [second])
    gate.open()
    assert ray.get([first, second]) == ["late", "second"]
    assert ray.get(log.read.remote()) == ["late", "second"]


def test_arguments_that_become_ready_in_another_order_change_nothing(ray, make_log, gate, second_gate):
    @ray.remote(num_cpus=0)
    def late(gate, value):
        gate.wait()
        return value

    log = make_log()
    refs = [log.add.remote(late.remote(gate, 0)), log.add.remote(late.remote(second_gate, 1)), log.add.remote(2)]
    second_gate.open()
    assert ray.wait(refs, timeout=0.3) == ([], refs)
    gate.open()
    assert ray.get(refs) == [0, 1, 2]
    assert ray.get(log.read.remote()) == [0, 1, 2]


def test_calls_through_copies_of_a_handle_in_one_process_share_an_order(ray, make_log):
    log = make_log()
    copy = ray.get(ray.put(log))
    for i in range(0, 40, 2):
        log.add.remote(i)
        copy.add.remote(i + 1)
    assert ray.get(log.read.remote()) == list(range(40))


def test_each_caller_has_an_order_of_its_own(ray, make_log):
    @ray.remote(num_cpus=0)
    def submit(log, name):
        ray.get([log.add.remote((name, i)) for i in range(50)])

    log = make_log()
    ray.get([submit.remote(log, name) for name in ("a", "b", "c")])
    lines = ray.get(log.read.remote())
    for name in ("a", "b", "c"):
        assert [i for found, i in lines if found == name] == list(range(50))


def test_caller_who_waits_for_an_argument_does_not_hold_up_others(ray, make_log, gate, started):
    @ray.remote(num_cpus=0)
    def late(gate):
        gate.wait()
        return "late"

    @ray.remote(num_cpus=0)
    def submit(log, gate, started):
        ref = log.add.remote(late.remote(gate))
        started.send()
        return ray.get(ref)

    log = make_log()
    blocked = submit.remote(log, gate, started)
    started.receive()
    assert ray.get(log.add.remote("driver")) == "driver"
    gate.open()
    assert ray.get(blocked) == "late"
    assert ray.get(log.read.remote()) == ["driver", "late"]


def test_failed_call_does_not_disturb_the_order(ray, make_log):
    log = make_log()
    refs = [log.fail.remote(i) if i % 3 == 0 else log.add.remote(i) for i in range(12)]
    assert ray.get(log.read.remote()) == list(range(12))
    assert len(ray.wait(refs, num_returns=12)[0]) == 12


def test_call_whose_argument_failed_is_skipped(ray, make_log):
    @ray.remote
    def fail():
        raise ValueError("upstream")

    log = make_log()
    skipped = log.add.remote(fail.remote())
    log.add.remote("next")
    assert ray.get(log.read.remote()) == ["next"]
    with pytest.raises(ValueError, match="upstream"):
        ray.get(skipped)


def test_call_that_runs_holds_up_later_ones(ray, make_log, gate):
    log = make_log()
    log.pause.remote(gate)
    ref = log.add.remote("later")
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    gate.open()
    assert ray.get(ref) == "later"


def test_busy_actor_does_not_hold_up_another(ray, make_log, gate):
    busy, free = make_log(), make_log()
    busy.pause.remote(gate)
    assert ray.get(free.add.remote("free")) == "free"


def test_calls_with_and_without_options_share_an_order(ray, make_log):
    log = make_log()
    for i in range(0, 20, 2):
        log.add.remote(i)
        log.add.options(name="named").remote(i + 1)
    assert ray.get(log.read.remote()) == list(range(20))


def test_large_and_small_arguments_share_an_order(ray, make_log):
    log = make_log()
    for i in range(20):
        log.add.remote(i, bytes(500_000 if i % 2 else 1))
    assert ray.get(log.read.remote()) == list(range(20))
