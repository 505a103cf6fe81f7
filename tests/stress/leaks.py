"""Many actors and many cancellations, one after the other: everything must be as it was, and memory must not grow.

    python tests/stress/leaks.py --actors 10000 --cancels 100000

Actors end in every way: their handle goes, kill, exit_actor, a crash; named, detached, async and threaded ones. Tasks and calls are
cancelled while they wait for arguments, are queued or run. Now and then it looks: rows and bytes of the session, and descriptors, threads
and children of driver and supervisor, must be those of the beginning, and own
memory of both must stay within a few megabytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stress.report import state, wait_for

import miniray as ray
from miniray import _miniray_core as core
from miniray.exceptions import RayActorError, TaskCancelledError

SUPERVISOR = 2  # process_table.hpp ProcessKind
AT_ONCE = 8  # actors that live at a time
ALLOWED_KILOBYTES = (
    8192  # growth of a process: the driver keeps the last lines of 2,000 processes, allocators keep some
)


class Actor:
    """Answers, and ends itself."""

    def answer(self, value: object = None) -> object:
        """Return the value."""
        return value

    def leave(self) -> None:
        """End in order."""
        ray.actor.exit_actor()

    def die(self) -> None:
        """End at once."""
        os._exit(1)


class AsyncActor:
    """The same as coroutines, and waits."""

    async def answer(self, value: object = None) -> object:
        """Return the value."""
        return value

    async def leave(self) -> None:
        """End in order."""
        ray.actor.exit_actor()

    async def die(self) -> None:
        """End at once."""
        os._exit(1)

    async def wait(self) -> None:
        """Wait until it is cancelled."""
        await asyncio.sleep(3600)


PLAIN = ray.remote(num_cpus=0)(Actor)
ASYNC = ray.remote(num_cpus=0)(AsyncActor)
MAKERS: tuple[Callable[[int], Any], ...] = (
    lambda number: PLAIN.remote(),
    lambda number: PLAIN.options(name=f"actor {number}").remote(),
    lambda number: PLAIN.options(max_concurrency=3, max_restarts=1).remote(),
    lambda number: ASYNC.remote(),
    lambda number: PLAIN.options(name=f"actor {number}", lifetime="detached", max_pending_calls=9).remote(),
)


def end(actor: Any, way: int, is_detached: bool) -> None:
    """End an actor in one of the ways there are."""
    call = (None, None, actor.leave, actor.die)[way]
    if call is not None:
        with contextlib.suppress(RayActorError):
            ray.get(call.remote())
    if way == 1 or is_detached:
        ray.kill(actor)


def make_and_end(first: int, count: int) -> None:
    """Have some actors come and go."""
    actors = [MAKERS[number % len(MAKERS)](number) for number in range(first, first + count)]
    assert ray.get([actor.answer.remote(bytes(2000)) for actor in actors]) == [bytes(2000)] * count
    for number, actor in enumerate(actors, first):
        end(actor, number // len(MAKERS) % 4, number % len(MAKERS) == 4)


@ray.remote
def wait(path: str, *values: object) -> None:
    """Run until it is cancelled."""
    while True:
        time.sleep(0.001)


def cancel_some(count: int, waiter: Any) -> None:
    """Have tasks and calls come and be cancelled: some run, most are queued, others wait for those."""
    refs = [wait.remote("") for _ in range(count // 2)]
    refs += [wait.remote("", ref) for ref in refs[: count // 4]]
    refs += [waiter.wait.remote() for _ in range(count - len(refs))]
    for ref in refs:
        ray.cancel(ref)
    for ref in refs:
        try:
            ray.get(ref)
        except TaskCancelledError:
            continue
        raise AssertionError("a task that does not end has a value")


def resources(pid: int) -> dict[str, int]:
    """Return what a process has of the system."""
    folder = Path(f"/proc/{pid}")
    children = sum(len((task / "children").read_text().split()) for task in (folder / "task").iterdir())
    return {
        "descriptors": len(os.listdir(folder / "fd")),
        "threads": len(os.listdir(folder / "task")),
        "children": children,
    }


def own_kilobytes(pid: int) -> int:
    """Return the memory that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
    return sizes["Private_Dirty:"] + sizes["Private_Clean:"]


class Watch:
    """Compares what is there with what was there."""

    def __init__(self) -> None:
        (self.supervisor,) = [pid for pid, kind, _, _ in core._processes() if kind == SUPERVISOR]
        self.pids = {"driver": os.getpid(), "supervisor": self.supervisor}
        self.before = self.now()
        self.kilobytes = self.memory()

    def now(self) -> dict[str, Any]:
        """Return all counts."""
        return {**state(), **{name: resources(pid) for name, pid in self.pids.items()}}

    def memory(self) -> dict[str, int]:
        """Return the own memory of driver and supervisor, and the pages of the tables, in kB."""
        gc.collect()
        found = {name: own_kilobytes(pid) for name, pid in self.pids.items()}
        return {**found, "tables": core._statistics()["control_resident_bytes"] >> 10}

    def look(self) -> dict[str, int]:
        """Wait until everything is back; return how much memory grew, in kB."""
        wait_for(lambda: self.now() == self.before, lambda: f"everything comes back: {self.before} {self.now()}")
        assert core._validate() is None
        grown = {name: size - self.kilobytes[name] for name, size in self.memory().items()}
        assert max(grown.values()) < ALLOWED_KILOBYTES, grown
        return grown


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=10_000)
    parser.add_argument("--cancels", type=int, default=100_000)
    parser.add_argument("--looks", type=int, default=10, help="how often to look, under way")
    options = parser.parse_args()
    ray.init(num_cpus=2, log_to_driver=True)
    waiter = ASYNC.remote()
    ray.get(waiter.answer.remote())
    ways = 4 * len(MAKERS)
    for first in range(0, 2 * ways, AT_ONCE):  # what stays: functions, allocators, tables
        make_and_end(first, AT_ONCE)
    cancel_some(500, waiter)
    wait_for(lambda: state()["actors"] == 1, state)
    watch = Watch()
    started = time.monotonic()
    grown: dict[str, int] = {}
    for part in range(1, options.looks + 1):
        actors, cancels = options.actors * part // options.looks, options.cancels * part // options.looks
        for first in range(options.actors * (part - 1) // options.looks, actors, AT_ONCE):
            make_and_end(first, min(AT_ONCE, actors - first))
        for first in range(options.cancels * (part - 1) // options.looks, cancels, 500):
            cancel_some(min(500, cancels - first), waiter)
        grown = watch.look()
        seconds = round(time.monotonic() - started)
        print(f"{seconds} s: {actors} actors, {cancels} cancelled, grown by kB {json.dumps(grown)}", flush=True)
    ray.shutdown()
    print(f"right: {json.dumps(grown)}")


if __name__ == "__main__":
    main()
