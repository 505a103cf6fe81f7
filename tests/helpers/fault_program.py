"""The fixed program of the fault tests: a little of everything that passes fault points, and its own look at what is left.

It prints ``right``; or, when a system call was refused, the documented error, after which the session must still work.
``MINIRAY_TEST_SESSION`` names the session, so that a test finds what is left of it.
"""

import collections
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time

urandom = os.urandom
os.urandom = lambda size: bytes.fromhex(os.environ["MINIRAY_TEST_SESSION"]) if size == 6 else urandom(size)

import miniray as ray
from helpers.fault_tasks import (
    Plain,
    Several,
    block,
    call,
    fill,
    hold,
    items,
    make,
    make_group,
    read,
    spread,
    work,
)
from miniray import _miniray_core as core
from miniray._runtime import machine
from miniray.exceptions import (
    ActorDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
)
from miniray.util.placement_group import placement_group, remove_placement_group
from miniray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

REFUSED = (ObjectLostError, ObjectStoreFullError, OutOfDiskError, OSError, MemoryError, RaySystemError)
FUNCTIONS = 6  # of expect_nothing_held: objects that stay
ACTOR_FUNCTIONS = 2  # of use_actors, unless it was cut short
CALLERS_OF_SMALL = 3  # work, call, hold: each travels with a `small` of its own
ROWS = 16_000  # results, more than the table keeps pages for


def insist(call):
    """Call until the fault, which comes once, refuses nothing."""
    while True:
        with contextlib.suppress(*REFUSED):
            return call()


def use_a_group(task):
    group = placement_group([{"CPU": 0.5}, {"CPU": 0.25}], name="group")
    try:
        ray.get(group.ready())
        inside = PlacementGroupSchedulingStrategy(group)
        assert ray.get(task.options(num_cpus=0.5, scheduling_strategy=inside).remote(3))[1] == 3
    finally:
        insist(lambda: remove_placement_group(group))


def give_memory_back():
    ray.put(bytes(3_000_000))
    for _ in range(2):  # what was used since the first time stays
        core._begin_heap_trim()
        while core._trim_heap():
            pass


def use_everything():
    give_memory_back()
    use_a_group(work)
    assert ray.get(make_group.remote(2))
    large = ray.put(b"x" * 100_000)
    refs = [work.remote(i, large) for i in range(4)]
    assert [total for _, total in ray.get(refs)] == list(range(4))
    assert len(ray.wait(refs, num_returns=4)[0]) == 4
    assert [ray.get(ref) for ref in items.options(_generator_backpressure_num_objects=2).remote(5)] == [
        *map(block, range(5))
    ]
    unread = items.remote(5)
    assert ray.get(next(unread)) == block(0)
    del unread
    many = [ref for _ in range(ROWS // 500) for ref in spread.options(num_returns=500).remote(500)]
    assert ray.get(many[-1]) == 499
    del many, refs
    core._trim()
    assert core._observe_session(
        None if os.environ.get("MINIRAY_TEST_ANONYMOUS") else os.environ["MINIRAY_TEST_SESSION"]
    )
    # More than the store holds: of the driver and of workers, copied and written in place, with refs inside.
    inner = ray.put(7)
    values = [ray.put(i.to_bytes(8, "little") * 125_000) for i in range(6)]
    pair = ray.put([bytes(900_000), inner])
    blocks = [ray.put(fill(0)), *[make.remote(i) for i in range(1, 6)], ray.put(fill(6))]
    del inner
    assert ray.get([read.remote(value) for value in values]) == [(i, True) for i in range(6)]
    assert [number for number, _ in ray.get([read.remote(block) for block in blocks])] == [*range(7)]
    assert ray.get(ray.get(pair)[1]) == 7
    assert all(ray.get(value) == i.to_bytes(8, "little") * 125_000 for i, value in enumerate(values))


def use_actors():
    plain = Plain.options(name="plain").remote(ray.put(10))
    refs = [plain.add.remote(i) for i in range(4)]
    insist(lambda: ray.kill(plain, no_restart=False))
    refs += [call.remote(plain, i) for i in range(4)]
    assert ray.get(refs) == [10, 11, 12, 13] * 2
    several = Several.options(name="several", lifetime="detached").remote()
    sleeping = [several.sleep.remote() for _ in range(2)]
    assert ray.get([several.double.remote(i) for i in range(4)]) == [0, 2, 4, 6]
    running = hold.remote()
    for ref in (*sleeping, running, several.double.remote(running)):
        insist(lambda ref=ref: ray.cancel(ref))
        expect_error(ref, TaskCancelledError)
    expect_error(ray.get_actor("plain").leave.remote(), ActorDiedError)
    expect_error(plain.add.remote(1), ActorDiedError)
    insist(lambda: ray.kill(several))
    expect_error(several.double.remote(1), ActorDiedError)


def expect_error(ref, kind):
    try:
        value = ray.get(ref)
    except kind:
        return
    raise AssertionError(f"{value} and no {kind.__name__}")


def disk_blocks():
    size = core._statistics()["spill_capacity_bytes"] + 4096
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # listdir's own
            if os.fstat(fd).st_size == size and os.fstat(fd).st_nlink == 0:
                return os.fstat(fd).st_blocks
    return 0


def is_clean(whole):
    """Return whether all that is left are functions: those of the driver, and ``small`` in each worker."""
    statistics = core._statistics()
    try:
        holders = [row[7] for row in core._observe_objects(None)]
    except REFUSED:  # this look, by the fault
        return False
    by_process = collections.Counter(pid for held in holders for pid, _, _ in held)
    functions = by_process.pop(os.getpid(), 0)
    return (
        statistics["tasks"] == statistics["actors"] == statistics["spilled_bytes"] == 0
        and (FUNCTIONS + ACTOR_FUNCTIONS if whole else FUNCTIONS) <= functions <= FUNCTIONS + ACTOR_FUNCTIONS
        and all(holders)
        and max(by_process.values(), default=0) <= CALLERS_OF_SMALL
        and statistics["used_bytes"] < len(holders) * 2048
    )


def expect_nothing_held(whole):
    with contextlib.suppress(ValueError):
        insist(lambda: ray.kill(ray.get_actor("several")))
    done = ray.get([work.remote(6), spread.remote(2), make.remote(0), read.remote(bytes(8)), make_group.remote(0)])
    assert [ray.get(ref) for ref in items.remote(2)] == [block(0), block(1)]
    assert [done[0][1], done[1], len(done[2]), *done[3:]] == [6, (0, 1), 700_000, (0, True), 0]
    del done
    gc.collect()
    while not is_clean(whole):
        time.sleep(0.002)
    while disk_blocks() and not os.environ.get("MINIRAY_TEST_KEEPS_BLOCKS"):
        time.sleep(0.002)
    assert core._validate() is None


def use_memory_without_names():
    """Plan the store as on a machine whose /dev/shm is too small."""
    plan = machine.plan_store
    machine.plan_store = lambda *args: machine.StorePlan(**{**vars(plan(*args)), "anonymous": True})


def tell_state(*_):
    """Say what is left: a run that hangs is asked."""
    if core._is_attached():
        facts = {**core._statistics(), "disk_blocks": disk_blocks(), "valid": core._validate()}
        print(facts, *core._observe_objects(None), core._processes(), sep="\n", file=sys.stderr, flush=True)


def main():
    outcome = "right"
    try:
        machine.cpu_count = lambda: 2  # a third task is begun by a lookout, on any machine
        ray.init(num_cpus=3, object_store_memory=6 << 20)
        use_everything()
        use_actors()
    except RayTaskError as error:
        if not isinstance(error.cause, REFUSED):
            raise
        outcome = f"refused {type(error.cause).__name__}: {error.cause}"
    except REFUSED as error:
        outcome = f"refused {type(error).__name__}: {error}"
    if ray.is_initialized():
        expect_nothing_held(outcome == "right")
        ray.shutdown()
    print(" ".join(outcome.split()))


signal.signal(signal.SIGUSR1, tell_state)
faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
if os.environ.get("MINIRAY_TEST_ANONYMOUS"):
    use_memory_without_names()
main()
