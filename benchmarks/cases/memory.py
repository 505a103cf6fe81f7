"""What an engine costs beside time: memory of what there may be many of, and wake-ups while it is idle.

What processes share counts once.

Tasks and objects are counted in a fresh session: a used one has memory left over that new things take.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cases.case import Case, shorter
from benchmarks.cases.objects import SMALL
from benchmarks.engines import Engine
from benchmarks.payloads import identity, own_pid, wait_for_file
from benchmarks.processes import own_bytes, shared_bytes, switches, tree, tree_bytes

_TASKS, _OBJECTS, _ACTORS = 20_000, 20_000, 20
_IDLE_SECONDS = 2.0


def _bytes_each(make: Callable[[int], Any], count: int) -> float:
    before = tree_bytes(os.getpid())
    kept = [make(i) for i in range(count)]
    time.sleep(0.2)  # what others do of it is done
    each = (tree_bytes(os.getpid()) - before) / count
    del kept
    return each


def queued_task(engine: Engine) -> float:
    """Bytes of a task with a small argument that waits for a worker, in all processes."""
    submit = engine.submitter(identity)
    with tempfile.TemporaryDirectory() as folder:
        goes_on, started = Path(folder, "goes_on"), Path(folder, "started")
        started.mkdir()
        hold = engine.submitter(wait_for_file)
        holding = [hold(str(goes_on), str(started)) for _ in range(engine.workers)]
        while len(list(started.iterdir())) < engine.workers:
            time.sleep(0.001)
        pending: list[Any] = []

        def make(i: int) -> None:
            pending.append(submit(i))

        try:
            return _bytes_each(make, engine.few(_TASKS))
        finally:
            goes_on.touch()
            engine.gather(holding)
            engine.gather(pending)


def object_entry(engine: Engine) -> float:
    """Bytes of a small object, with what the process keeps that put it."""
    put = engine.put
    return _bytes_each(lambda _: put(SMALL), engine.few(_OBJECTS))


def worker(engine: Engine) -> float:
    """MB of its own memory that a worker process has."""
    submit = engine.submitter(own_pid)
    pids = set(engine.gather([submit() for _ in range(engine.workers * 20)]))
    return sum(map(own_bytes, pids)) / len(pids) / 1e6


def actor(engine: Engine) -> float:
    """MB of its own memory that the process of an actor has."""
    if engine.name not in ("miniray", "ray"):
        raise NotImplementedError  # actors that live in workers
    actors = [engine.actor("plain") for _ in range(engine.few(_ACTORS))]
    return sum(map(own_bytes, engine.gather([engine.caller(it, "pid")() for it in actors]))) / len(actors) / 1e6


def shared_entry(engine: Engine) -> float:
    """Bytes of shared memory that an object of one number takes; what its ref takes in a process comes on top."""
    if engine.name != "miniray":
        raise NotImplementedError  # in the memory of its process
    put, before = engine.put, shared_bytes(os.getpid())
    kept = [put(7) for _ in range(engine.count(_OBJECTS))]
    return (shared_bytes(os.getpid()) - before) / len(kept)


def idle_wakeups(engine: Engine) -> float:
    """How often a second anything of an idle engine wakes up: threads of all its processes, but the one that counts."""
    engine.warm_up()
    time.sleep(_IDLE_SECONDS)  # until it has gone to sleep
    pids = tree(os.getpid())
    before = {pid: switches(pid) for pid in pids}
    time.sleep(_IDLE_SECONDS)
    return (sum(switches(pid) - before[pid] for pid in pids) - 1) / _IDLE_SECONDS


CASES: list[Case] = [
    shorter("task_memory", "memory of a queued task", "bytes", queued_task, in_own_session=True),
    shorter("object_memory", "memory of a small object", "bytes", object_entry, in_own_session=True),
    shorter("object_entry", "shared memory of an object of a number", "bytes", shared_entry, in_own_session=True),
    shorter("worker_memory", "own memory of a worker's process", "MB", worker),
    shorter("actor_memory", "own memory of an actor's process", "MB", actor),
    shorter("idle_wakeups", "wake-ups of an idle engine", "1/s", idle_wakeups, in_own_session=True),
]
