"""``Scheduler`` in one process: every method, every error."""

import threading

import pytest

from helpers.named_segments import segments_of
from miniray._miniray_core import ObjectRef, Scheduler, Task


@pytest.fixture
def scheduler(name):
    with Scheduler(name=name) as opened:
        yield opened
        assert opened._validate() is None


def make_task(number, size=0):
    return Task(ObjectRef(), b"f%d" % number, b"a" * size)


def test_empty_queue_gives_none(scheduler):
    assert scheduler.get_next_task() is None
    assert scheduler.get_next_task(timeout=0) is None
    assert scheduler.get_next_task(timeout=0.001) is None
    assert scheduler.get_pending_task_count() == 0


@pytest.mark.parametrize("size", [0, 1, 100, 158, 159, 1000, 100_000, 2_000_000])
def test_task_arrives_as_it_was_submitted(scheduler, size):
    task = make_task(7, size)
    scheduler.submit_task(task)
    assert scheduler.get_pending_task_count() == 1
    assert scheduler.get_next_task() == task
    assert scheduler.get_pending_task_count() == 0
    assert scheduler.get_next_task() is None


def test_tasks_arrive_in_order(scheduler):
    tasks = [make_task(i, 300 * (i % 2)) for i in range(500)]
    for task in tasks:
        scheduler.submit_task(task)
    assert scheduler.get_pending_task_count() == 500
    assert [scheduler.get_next_task() for _ in tasks] == tasks


def test_waiting_thread_is_woken_by_a_submission(scheduler):
    received = []
    waiting = threading.Thread(target=lambda: received.append(scheduler.get_next_task(timeout=60)))
    waiting.start()
    task = make_task(1)
    scheduler.submit_task(task)
    waiting.join()
    assert received == [task]


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_bad_timeout_is_a_value_error(scheduler, timeout):
    with pytest.raises(ValueError, match="timeout"):
        scheduler.get_next_task(timeout=timeout)


def test_only_tasks_can_be_submitted(scheduler):
    with pytest.raises(TypeError):
        scheduler.submit_task(b"task")


def test_full_queue_is_an_error_that_names_the_limit(name):
    with Scheduler(name=name, max_tasks=20) as scheduler:
        for i in range(20):
            scheduler.submit_task(make_task(i, 1000 * (i % 2)))
        with pytest.raises(MemoryError, match="20 tasks"):
            scheduler.submit_task(make_task(20))
        with pytest.raises(MemoryError, match="20 tasks"):
            scheduler.submit_task(make_task(20, 1000))
        assert scheduler._validate() is None
        assert scheduler.get_next_task().serialized_function == b"f0"
        scheduler.submit_task(make_task(21))


# --- workers ------------------------------------------------------------------------------------------------------------


def test_registered_worker_is_idle(scheduler):
    assert not scheduler.has_idle_worker()
    scheduler.register_worker(1234)
    assert scheduler.has_idle_worker()
    assert scheduler.get_idle_worker_count() == 1


def test_busy_and_idle_are_counted_once(scheduler):
    for number in (1, 2, 3):
        scheduler.register_worker(number)
    scheduler.mark_worker_busy(2)
    scheduler.mark_worker_busy(2)
    assert scheduler.get_idle_worker_count() == 2
    scheduler.mark_worker_idle(2)
    scheduler.mark_worker_idle(2)
    assert scheduler.get_idle_worker_count() == 3
    scheduler.mark_worker_busy(1)
    scheduler.unregister_worker(1)
    assert scheduler.get_idle_worker_count() == 2
    scheduler.unregister_worker(2)
    scheduler.unregister_worker(3)
    assert not scheduler.has_idle_worker()


@pytest.mark.parametrize("method", ["unregister_worker", "mark_worker_busy", "mark_worker_idle"])
def test_unknown_worker_is_a_key_error_that_names_it(scheduler, method):
    with pytest.raises(KeyError, match="77"):
        getattr(scheduler, method)(77)


def test_registering_twice_is_a_value_error(scheduler):
    scheduler.register_worker(5)
    with pytest.raises(ValueError, match="worker 5 is registered"):
        scheduler.register_worker(5)


@pytest.mark.parametrize("number", [0, -1, 2**62, -(2**62)])
def test_any_integer_can_be_a_worker(scheduler, number):
    scheduler.register_worker(number)
    scheduler.mark_worker_busy(number)
    scheduler.unregister_worker(number)


def test_1024_workers_and_no_more(scheduler):
    import random

    numbers = random.Random(1).sample(range(1 << 40), 1024)
    for number in numbers:
        scheduler.register_worker(number)
    with pytest.raises(MemoryError, match="1024 workers"):
        scheduler.register_worker(-5)
    for number in numbers[::2]:
        scheduler.mark_worker_busy(number)
    assert scheduler.get_idle_worker_count() == 512
    for number in numbers[::3]:
        scheduler.unregister_worker(number)
    assert scheduler._validate() is None
    for number in numbers[1::3]:
        scheduler.unregister_worker(number)
    for number in numbers[2::3]:
        scheduler.unregister_worker(number)
    assert scheduler.get_idle_worker_count() == 0


# --- opening and closing ------------------------------------------------------------------------------------------------


def test_segment_lies_in_shared_memory_while_the_scheduler_lives(name):
    scheduler = Scheduler(name=name)
    assert segments_of(name) == [f"miniray_{name}_scheduler"] == [scheduler.name]
    scheduler.close()
    scheduler.close()
    assert segments_of(name) == []
    with pytest.raises(ValueError, match="closed"):
        scheduler.get_next_task()


def test_opening_before_it_was_made_says_so(name):
    with pytest.raises(FileNotFoundError, match="create=True"):
        Scheduler(create=False, name=name)


def test_making_it_twice_is_an_error(scheduler, name):
    with pytest.raises(FileExistsError, match="in use by process"):
        Scheduler(name=name)


@pytest.mark.parametrize("arguments", [{"max_tasks": 0}, {"max_workers": 0}], ids=str)
def test_bad_argument_is_a_value_error(arguments, name):
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(name=name, **arguments)


def test_store_is_not_opened_as_a_scheduler(name):
    from miniray._miniray_core import ObjectStore

    with ObjectStore(name=f"miniray_{name}", capacity=1 << 20), pytest.raises(RuntimeError, match="not of this kind"):
        Scheduler(create=False, name=f"miniray_{name}")


def test_a_million_tasks(name):
    with Scheduler(name=name) as scheduler:
        task = make_task(1, 50)
        for _ in range(1_000_000):
            scheduler.submit_task(task)
        assert scheduler.get_pending_task_count() == 1_000_000
        for _ in range(1_000_000):
            assert scheduler.get_next_task() is not None
        assert scheduler.get_next_task() is None
