"""The tables of a session are damaged while it works: every call says so, nobody hangs, all is cleaned up, and a new session works."""

import os
import threading
import time

import pytest

import miniray
from helpers import damage
from helpers.programs import KIND_WORKER, pids_of
from helpers.states import is_gone, segments, wait_until
from miniray import _miniray_core as core
from miniray.exceptions import ObjectLostError, RayError, SegmentCorruptedError

STORE_BYTES = 16 << 20  # small, so that it has names in /dev/shm
NEXT_STEP = r"Call miniray\.shutdown\(\) and miniray\.init\(\)"


@pytest.fixture
def ray():
    """Give miniray with a session that the test may damage; afterwards nothing of it is left and a new one works."""
    miniray.init(num_cpus=2, object_store_memory=STORE_BYTES, log_to_driver=False)
    name = damage.control_file().name
    workers = pids_of(KIND_WORKER)
    yield miniray
    miniray.shutdown()
    assert name not in segments()
    wait_until(lambda: all(map(is_gone, workers)), "the workers end")
    with miniray.init(num_cpus=1, object_store_memory=STORE_BYTES, log_to_driver=False):
        assert miniray.get(miniray.remote(lambda: 1 + 1).remote()) == 2


def start_waiting_task(ray, folder):
    """Start a task that ends when ``go`` is there; return its ref, and what makes it go on."""

    @ray.remote
    def wait_for_go():
        (folder / "started").touch()
        while not (folder / "go").exists():
            time.sleep(0.001)
        return bytes(20_000)

    ref = wait_for_go.remote()
    wait_until((folder / "started").exists, "the task starts")
    return ref, (folder / "go").touch


def get_in_thread(ray, ref):
    """Wait for a value in another thread; return the thread and the list that gets what it raised."""
    raised = []

    def wait():
        try:
            ray.get(ref)
        except RayError as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, raised


def is_found(ray, kept):
    """Use what has not been used yet, and give back what was; return whether the session is poisoned."""
    kept.clear()
    try:
        for size in (10, 3000, 100_000):
            ray.put(bytes(size))
    except SegmentCorruptedError:
        return True
    return False


def expect_poisoned(ray, ref):
    """Every kind of call raises the same clear error, at once."""
    calls = [
        lambda: ray.get(ref),
        lambda: ray.get([ref], timeout=10),
        lambda: ray.wait([ref], timeout=10),
        lambda: ray.put(1),
        lambda: ray.remote(lambda: 1).remote(),
        core._statistics,
        core._validate,
    ]
    for call in calls:
        with pytest.raises(SegmentCorruptedError, match=NEXT_STEP) as raised:
            call()
        assert raised.value.problem
        assert raised.value.segment_name == damage.control_file().name.removesuffix("_scheduler")
    assert ray.is_initialized()


@pytest.mark.parametrize(
    "table", ["tasks", "objects", "task_chunks", "object_chunks", "processes", "shapes", "heap", "pages"]
)
def test_damage_while_a_get_waits_and_a_task_runs(ray, tmp_path, table):
    kept = [ray.put(bytes(100_000))]
    ref, go = start_waiting_task(ray, tmp_path)
    thread, raised = get_in_thread(ray, ref)
    damage.fill(table, 0xFF)
    go()
    thread.join(timeout=60)
    assert not thread.is_alive()
    # The right value, where nothing that was damaged was needed for it. Of a row that has become another object's, who waits may say so
    # before the worker finds it.
    expected = (SegmentCorruptedError, ObjectLostError) if table == "objects" else SegmentCorruptedError
    assert not raised or isinstance(raised[0], expected)
    wait_until(lambda: is_found(ray, kept), "somebody finds the damage")
    expect_poisoned(ray, ref)


def test_workers_end_with_the_session_whatever_they_run(ray, tmp_path):
    _, _ = start_waiting_task(ray, tmp_path)  # and never goes on
    workers = pids_of(KIND_WORKER)
    damage.fill("shapes", 0xFF)
    with pytest.raises(SegmentCorruptedError, match=NEXT_STEP):
        ray.get(ray.remote(lambda: 1).remote())
    wait_until(lambda: all(map(is_gone, workers)), "the supervisor ends the workers")


def test_poisoned_word_alone_is_told_and_reaches_a_get_that_waits(ray, tmp_path):
    ref, _ = start_waiting_task(ray, tmp_path)
    thread, raised = get_in_thread(ray, ref)
    damage.overwrite("lock", b"\1", at=4)  # shm/lock.hpp LockBlock::poisoned
    thread.join(timeout=60)
    assert [type(error) for error in raised] == [SegmentCorruptedError]
    expect_poisoned(ray, ref)


def test_values_that_were_read_stay_valid(ray):
    array = pytest.importorskip("numpy").arange(100_000)
    ref = ray.put(array)
    view = ray.get(ref)
    damage.fill("objects", 0xFF)
    wait_until(lambda: is_found(ray, []), "somebody finds the damage")
    ray.shutdown()
    assert (view == array).all()


def test_offset_that_leads_elsewhere_is_no_wrong_value(ray):
    ref = ray.put(b"x" * 1000)
    ray.get(ref)
    slot = int(ref.hex(), 16) & 0xFFFFFFFF
    offset_of_slot = slot * 128 + 56  # object_table.hpp ObjectEntry::offset
    damage.overwrite("objects", (1 << 62).to_bytes(8, "little"), at=offset_of_slot)
    with pytest.raises(SegmentCorruptedError, match="a payload lies outside"):
        ray.get(ref)


@pytest.mark.slow  # the audit of a wait begins after two seconds
def test_task_that_damage_lost_is_found_by_who_waits_for_it(ray, tmp_path):
    _, go = start_waiting_task(ray, tmp_path)
    (tmp_path / "second").mkdir()
    start_waiting_task(ray, tmp_path / "second")
    lost = ray.remote(lambda: 1).remote()  # no CPU is free for it
    damage.lose_queues()
    go()
    with pytest.raises(SegmentCorruptedError, match="a queued task is in no queue"):
        ray.get(lost, timeout=60)


def test_program_that_ends_without_shutdown_leaves_nothing(start_program):
    program = start_program(
        "from helpers import damage\n"
        f"ray.init(num_cpus=2, object_store_memory={STORE_BYTES}, log_to_driver=False)\n"
        "ref = ray.remote(lambda: time.sleep(600)).remote()\n"
        "while len(core._processes()) < 4: time.sleep(0.005)\n"
        "ready()\n"
        "damage.fill('tasks', 0xFF)\n"
        "damage.fill('shapes', 0xFF)\n"
        "ray.get(ray.remote(lambda: 1).remote())\n",
        PYTHONPATH=os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")]),
    )
    program.wait_ready()
    code, out, err = program.finish()
    assert (code, out) == (1, "")
    assert "SegmentCorruptedError" in err
    program.expect_nothing_left()
