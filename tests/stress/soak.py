"""A long random run against a model: every value that is read is compared, processes are killed and stopped under way.

    python tests/stress/soak.py --minutes 15 --seed 1

Each object's content follows from its spec, so the model is the specs of the objects that are alive. A few driver threads put,
get, call and drop, in orders that follow from the seed alone; one more thread kills and stops workers and the supervisor. The
store is small, so that objects go to the spill file and are read there all the time. At the end everything is dropped, and what
is left must be exactly what was there at the beginning. What happened is printed as one line of numbers.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import numpy as np

import miniray as ray
from miniray import _miniray_core as core
from miniray.exceptions import ObjectStoreFullError

MEGABYTE = 1 << 20
LIVE_OBJECTS = 50  # of one thread
SUPERVISOR, WORKER = 2, 3  # process_table.hpp ProcessKind
LOST_SECONDS = 120  # without any step: a hang

# --- content ---------------------------------------------------------------------------------------------------------
# A spec is (kind, seed, size). These functions travel to the workers too.


def fill(array, seed):
    words = (
        np.random.default_rng(seed)
        .integers(0, 1 << 63, max(1, min(len(array), 32 << 10) // 8), np.uint64)
        .view(np.uint8)
    )
    for start in range(0, len(array), len(words)):
        piece = array[start : start + len(words)]
        piece[:] = words[: len(piece)]
        piece[0] = (start >> 12) & 255


def pattern(seed, size):
    array = np.empty(size, np.uint8)
    fill(array, seed)
    return array


def build(spec):
    kind, seed, size = spec
    if kind == "bytes":
        return pattern(seed, size).tobytes()
    if kind == "array":
        return pattern(seed, size)
    if kind == "number":
        return seed * 7 + size
    return {
        "seed": seed,
        "parts": [pattern(seed, size), pattern(seed + 1, size // 3).tobytes()],
        "text": str(seed) * 20,
    }


def is_right(spec, value):
    kind, seed, size = spec
    if kind == "bytes":
        return type(value) is bytes and value == pattern(seed, size).tobytes()
    if kind == "array":
        return value.dtype == np.uint8 and value.shape == (size,) and bool((value == pattern(seed, size)).all())
    if kind == "number":
        return value == seed * 7 + size
    first, second = value["parts"]
    return (
        (value["seed"], value["text"]) == (seed, str(seed) * 20)
        and second == pattern(seed + 1, size // 3).tobytes()
        and bool((first == pattern(seed, size)).all())
    )


def must_be_right(spec, value, where):
    if not is_right(spec, value):
        raise AssertionError(f"wrong value of {spec} {where}: {str(value)[:200]}")


def derived(specs, size):
    """Return the spec of what a task makes of values with these specs."""
    return ("array", sum(seed * (i + 3) for i, (_, seed, _) in enumerate(specs)) % (1 << 40), size)


# --- tasks -----------------------------------------------------------------------------------------------------------

remote = ray.remote(max_retries=-1)
kept = collections.deque(maxlen=2)  # of a worker: views that outlive their task


@remote
def make(spec):
    return build(spec)


@remote
def combine(specs, size, keeps, *values):
    for spec, value in zip(specs, values, strict=True):
        must_be_right(spec, value, "as an argument")
    if keeps:
        kept.append(values)
    return build(derived(specs, size))


@remote
def make_in_store(spec):
    try:
        array = ray.empty(spec[2], np.uint8)
    except ObjectStoreFullError:
        return build(spec)
    fill(array, spec[1])
    return array


@remote
def hold_refs(specs, size):
    """Return a value with refs inside, of objects that this worker put or had made."""
    refs = [ray.put(build(spec)) if spec[1] % 2 else make.remote(spec) for spec in specs]
    return [build(derived(specs, size)), *refs]


@remote
def read_refs(specs, size, refs):
    for spec, value in zip(specs, ray.get(refs), strict=True):
        must_be_right(spec, value, "of a ref inside an argument")
    return build(derived(specs, size))


@remote
def tree(depth, seed):
    if depth == 0:
        return ray.get(ray.put(pattern(seed, 1000 + seed % 5000)))
    parts = ray.get([tree.remote(depth - 1, 2 * seed + i) for i in range(2)])
    return np.concatenate(parts)


def tree_value(depth, seed):
    if depth == 0:
        return pattern(seed, 1000 + seed % 5000)
    return np.concatenate([tree_value(depth - 1, 2 * seed + i) for i in range(2)])


# --- driver threads --------------------------------------------------------------------------------------------------


class Counts(collections.Counter):
    """What happened; threads add to it under its lock."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def note(self, **numbers):
        with self.lock:
            self.update(numbers)


class Actor:
    """One driver thread's objects: refs with the specs of what they hold, and views with theirs."""

    def __init__(self, seed, store_bytes, counts):
        self.random = random.Random(seed)
        self.store_bytes = store_bytes
        self.counts = counts
        self.plain = []  # (ref, spec)
        self.outer = []  # (ref, specs of the refs inside, size)
        self.views = []  # (step at which it goes, value, spec)
        self.step_number = 0

    def size(self):
        if self.random.random() < 0.02:
            return int(self.store_bytes * self.random.uniform(0.25, 0.3))
        return int(2 ** self.random.uniform(0, 21.5))

    def spec(self, largest=1 << 40):
        kind = self.random.choice(["bytes", "array", "array", "mixed", "number"])
        return kind, self.random.randrange(1 << 40), min(self.size(), largest)

    def add(self, ref, spec):
        self.plain.append((ref, spec))
        self.counts.note(objects=1, bytes=spec[2])

    # Each method below is one step.

    def put(self):
        spec = self.spec()
        self.add(ray.put(build(spec)), spec)

    def put_small(self):
        for _ in range(30):
            spec = self.spec(2000)
            self.add(ray.put(build(spec)), spec)

    def put_store_array(self):
        spec = ("array", self.random.randrange(1 << 40), self.size())
        try:
            array = ray.empty(spec[2], np.uint8)
        except ObjectStoreFullError:  # all is looked at: store arrays cannot lie in the file
            self.counts.note(refused=1)
            return
        fill(array, spec[1])
        if self.random.random() < 0.2:
            return  # dropped before it was an object
        self.add(ray.put(array), spec)
        if self.random.random() < 0.3:
            self.add(ray.put(array), spec)  # shares the memory
        if self.random.random() < 0.2:
            self.hold(array, spec)
        self.counts.note(store_arrays=1)

    def call_make(self):
        spec = self.spec()
        self.add(make.remote(spec), spec)

    def call_make_in_store(self):
        spec = ("array", self.random.randrange(1 << 40), self.size())
        self.add(make_in_store.remote(spec), spec)

    def call_combine(self):
        chosen = [self.random.choice(self.plain) for _ in range(self.random.randint(1, 4)) if self.plain]
        specs = [spec for _, spec in chosen]
        size = min(self.size(), MEGABYTE)
        ref = combine.remote(specs, size, self.random.random() < 0.1, *(ref for ref, _ in chosen))
        self.add(ref, derived(specs, size))

    def call_read_refs(self):
        chosen = [self.random.choice(self.plain) for _ in range(self.random.randint(1, 6)) if self.plain]
        specs = [spec for _, spec in chosen]
        size = min(self.size(), MEGABYTE)
        self.add(read_refs.remote(specs, size, [ref for ref, _ in chosen]), derived(specs, size))

    def put_outer(self):
        chosen = [self.random.choice(self.plain) for _ in range(self.random.randint(1, 5)) if self.plain]
        specs = [spec for _, spec in chosen]
        size = self.size()
        self.outer.append((ray.put([build(derived(specs, size)), *(ref for ref, _ in chosen)]), specs, size))
        self.counts.note(objects=1, bytes=size)

    def call_hold_refs(self):
        specs = [self.spec(MEGABYTE) for _ in range(self.random.randint(1, 4))]
        size = self.size()
        self.outer.append((hold_refs.remote(specs, size), specs, size))
        self.counts.note(objects=1 + len(specs), bytes=size + sum(spec[2] for spec in specs))

    def call_tree(self):
        depth, seed = self.random.randint(1, 3), self.random.randrange(1 << 30)
        assert (ray.get(tree.remote(depth, seed)) == tree_value(depth, seed)).all(), (depth, seed)

    def get(self):
        if not self.plain:
            return
        ref, spec = self.random.choice(self.plain)
        if self.random.random() < 0.7 and not ray.wait([ref], timeout=0)[0]:
            return
        value = ray.get(ref)
        must_be_right(spec, value, "in the driver")
        self.counts.note(gets=1)
        if self.random.random() < 0.3:
            self.hold(value, spec)

    def get_many(self):
        chosen = [self.random.choice(self.plain) for _ in range(8) if self.plain]
        if chosen:
            ray.wait(list({ref: 0 for ref, _ in chosen}), num_returns=1)
        for (_, spec), value in zip(chosen, ray.get([ref for ref, _ in chosen]), strict=True):
            must_be_right(spec, value, "of many")
        self.counts.note(gets=len(chosen))

    def get_outer(self):
        if not self.outer:
            return
        ref, specs, size = self.random.choice(self.outer)
        if self.random.random() < 0.7 and not ray.wait([ref], timeout=0)[0]:
            return
        value, *inner = ray.get(ref)
        must_be_right(derived(specs, size), value, "of an object with refs inside")
        del value
        place = self.random.randrange(len(inner)) if inner else None
        for i, (spec, inside) in enumerate(zip(specs, inner, strict=True)):
            must_be_right(spec, ray.get(inside), "of a ref inside")
            if i == place:
                self.add(inside, spec)
        self.counts.note(gets=1 + len(specs))

    def hold(self, value, spec):
        """Keep a view, for a while and not beyond a part of the store."""
        held = sum(spec[2] for _, _, spec in self.views)
        if spec[0] != "number" and held + spec[2] < self.store_bytes // 16:
            self.views.append((self.step_number + self.random.randint(1, 60), value, spec))

    def drop(self):
        for objects in (self.plain, self.outer):
            while len(objects) > self.random.randint(0, LIVE_OBJECTS):
                place = self.random.randrange(len(objects))
                objects[place] = objects[-1]
                objects.pop()
        self.plain = self.plain[-LIVE_OBJECTS:]

    def drop_views(self):
        for _, value, spec in self.views:
            must_be_right(spec, value, "that was held")
        self.views = [view for view in self.views if view[0] > self.step_number]

    STEPS = (
        [put] * 8 + [put_small, put_store_array, put_store_array, call_make, call_make_in_store]
        + [call_combine] * 3 + [call_read_refs, put_outer, put_outer, call_hold_refs, call_tree]
        + [get] * 10 + [get_many, get_outer, get_outer, drop, drop, drop_views]
    )  # fmt: skip

    def step(self):
        self.step_number += 1
        self.random.choice(self.STEPS)(self)
        if len(self.plain) + len(self.outer) > 2 * LIVE_OBJECTS:
            self.drop()
        self.counts.note(steps=1)


# --- kills -----------------------------------------------------------------------------------------------------------


def pids_of(kind):
    return sorted(pid for pid, found, _, _ in core._processes() if found == kind)


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


class Killer(threading.Thread):
    """Kills and stops workers, and now and then the supervisor."""

    def __init__(self, seed, counts):
        super().__init__(name="killer")
        self.random = random.Random(seed)
        self.counts = counts
        self.ends = threading.Event()

    def run(self):
        while not self.ends.wait(self.random.uniform(0.05, 1.5)):
            draw = self.random.random()
            if draw < 0.08:
                for pid in pids_of(SUPERVISOR):
                    self.counts.note(supervisor_kills=send(pid, signal.SIGKILL))
                continue
            workers = pids_of(WORKER)
            if not workers:
                continue
            pid = self.random.choice(workers)
            if draw < 0.7:
                self.counts.note(kills=send(pid, signal.SIGKILL))
            elif send(pid, signal.SIGSTOP):
                self.ends.wait(self.random.uniform(0.001, 0.3))
                send(pid, signal.SIGKILL if self.random.random() < 0.2 else signal.SIGCONT)
                self.counts.note(stops=1)


# --- the run ---------------------------------------------------------------------------------------------------------


def state():
    gc.collect()
    statistics = core._statistics()
    return {name: statistics[name] for name in ("objects", "tasks", "used_bytes", "spilled_bytes")}


def own_resources():
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "children": sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir()),
    }


def wait_for(condition, what):
    end = time.monotonic() + LOST_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen: {what()}")
        time.sleep(0.02)


def wait_for_step(counts, threads):
    before = counts["steps"]
    wait_for(
        lambda: counts["steps"] > before or not any(thread.is_alive() for thread in threads),
        lambda: f"a step: {core._statistics()} {core._processes()}",
    )


def must_be_valid(counts):
    fault = core._validate()
    if fault is not None:
        raise AssertionError(f"after {dict(counts)}: {fault}")
    counts.note(validations=1)


def renew_workers(count):
    """Kill all workers, so that nothing is left in them, and wait for new ones."""
    old = pids_of(WORKER)
    for pid in old:
        send(pid, signal.SIGKILL)
    wait_for(
        lambda: len(pids_of(SUPERVISOR)) == 1 and len(pids_of(WORKER)) == count and not set(old) & set(pids_of(WORKER)),
        core._processes,
    )


def warm_up(workers):
    """Make what stays: exported functions, helper threads. Then tell what is there."""
    actor = Actor(0, 1 << 20, Counts())
    for step in set(Actor.STEPS) - {Actor.drop_views}:
        for _ in range(2):
            step(actor)
            ray.get([ref for ref, *_ in actor.plain + actor.outer])
    ray.empty(2 * MEGABYTE, np.uint8)
    del actor
    renew_workers(workers)
    ray.get([tree.remote(1, i) for i in range(4)])
    wait_for(lambda: state()["tasks"] == 0, state)
    renew_workers(workers)
    return state(), own_resources()


def run(options, spill_folder):
    started = time.monotonic()
    end = started + options.minutes * 60
    counts = Counts()
    store_bytes = options.store_megabytes * MEGABYTE
    info = ray.init(
        num_cpus=options.workers,
        object_store_memory=store_bytes,
        object_spilling_directory=spill_folder,
        log_to_driver=True,
    )
    faulthandler.dump_traceback_later(4 * LOST_SECONDS, exit=True)  # a thread, which is counted
    before, resources = warm_up(options.workers)
    failures = []
    actors = [Actor(f"{options.seed}/{i}", store_bytes, counts) for i in range(options.threads)]

    def act(actor):
        try:
            while time.monotonic() < end and not failures:
                actor.step()
        except BaseException:
            failures.append(traceback.format_exc())

    killer = None if options.no_kills else Killer(f"{options.seed}/kills", counts)
    threads = [threading.Thread(target=act, args=(actor,), name=f"actor {i}") for i, actor in enumerate(actors)]
    for thread in (*threads, *([killer] if killer else [])):
        thread.start()
    told = started
    try:
        while any(thread.is_alive() for thread in threads):
            faulthandler.dump_traceback_later(2 * LOST_SECONDS, exit=True)
            wait_for_step(counts, threads)
            must_be_valid(counts)
            counts["most_spilled"] = max(counts["most_spilled"], core._statistics()["spilled_bytes"])
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"{told - started:.0f} s: {json.dumps(counts)}", flush=True)
            time.sleep(0.5)
    except BaseException:
        failures.append(traceback.format_exc())
    finally:
        if killer is not None:
            killer.ends.set()
            killer.join()
    if failures:
        print(*failures, f"seed {options.seed}, after {dict(counts)}", sep="\n", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(1)
    faulthandler.dump_traceback_later(4 * LOST_SECONDS, exit=True)
    for thread in threads:
        thread.join()
    while actors:
        actors.pop().drop_views()
    threads.clear()
    gc.collect()
    wait_for(lambda: state()["tasks"] == 0, state)
    renew_workers(options.workers)
    wait_for(lambda: state() == before, lambda: f"everything comes back: {before} {state()}")
    wait_for(lambda: own_resources() == resources, lambda: f"the driver is as it was: {resources} {own_resources()}")
    must_be_valid(counts)
    counts["repairs"] = core._statistics()["repairs"]
    pids = [pid for pid, *_ in core._processes() if pid != os.getpid()]
    ray.shutdown()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), lambda: f"{pids} end")
    left = [name for name in os.listdir("/dev/shm") if info["session_name"] in name] + os.listdir(spill_folder)
    assert not left, left
    return counts


def main():
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--threads", type=int, default=2, help="of the driver")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--store-megabytes", type=int, default=16)
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    temporary = set(os.listdir(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts = run(options, folder)
    left = [name for name in set(os.listdir(tempfile.gettempdir())) - temporary if "miniray" in name]
    assert not left, left
    faulthandler.cancel_dump_traceback_later()
    print(f"right: {json.dumps(counts)}", flush=True)


if __name__ == "__main__":
    main()
