# stress/tasks.py - what runs in the workers. Every task may be killed at any instruction and run again.
"""Tasks of the soak. Workers import this module, so it imports nothing heavy."""

from __future__ import annotations

import collections
import time
from typing import Any

from stress import ledger
from stress.model import Spec, build, derived, must_be_right, pattern

import miniray as ray
from miniray.exceptions import ObjectStoreFullError

remote = ray.remote(max_retries=-1)
LONG_SECONDS = 2
kept: collections.deque[Any] = collections.deque(maxlen=2)  # of a worker: views that outlive their task


def dwell(seed: int) -> None:
    """Take some time, asleep or computing: a kill should find work."""
    end = time.monotonic() + seed % 20 / 1000
    if seed % 3 == 0:
        time.sleep(seed % 20 / 1000)
    elif seed % 3 == 1:
        while time.monotonic() < end:
            pass


@remote
def make(spec):
    dwell(spec[1])
    return build(spec)


@remote
def combine(specs, size, keeps, *values):
    for spec, value in zip(specs, values, strict=True):
        must_be_right(spec, value, "as an argument")
    dwell(derived(specs, size)[1])
    if keeps:
        kept.append(values)
    return build(derived(specs, size))


@remote
def make_in_store(spec):
    import numpy

    try:
        array = ray.empty(spec[2], numpy.uint8)
    except ObjectStoreFullError:
        return build(spec)
    array[:] = build(spec)
    return array


@remote
def hold_refs(specs, size):
    """Return a value with refs inside, of objects that this worker put or had made."""
    dwell(size)
    refs = [ray.put(build(spec)) if spec[1] % 2 else make.remote(spec) for spec in specs]
    return [build(derived(specs, size)), *refs]


@remote
def read_refs(specs, size, refs):
    for spec, value in zip(specs, ray.get(refs), strict=True):
        must_be_right(spec, value, "of a ref inside an argument")
    return build(derived(specs, size))


@remote
def make_many(specs):
    """With ``num_returns``: a value for each spec."""
    return [build(spec) for spec in specs]


@remote
def stream(specs):
    """Yield a value for each spec."""
    for spec in specs:
        dwell(spec[1])
        yield build(spec)


@remote
def tree(depth, seed):
    dwell(seed)
    if depth == 0:
        return ray.get(ray.put(bytes(pattern(seed, 1000 + seed % 5000))))
    return b"".join(ray.get([tree.remote(depth - 1, 2 * seed + i) for i in range(2)]))


class Refusal(ValueError):
    """What ``refuse`` raises."""


@remote
def refuse(number):
    raise Refusal(f"number {number}")


def _noted(path: str, ticket: int, spec: Spec) -> tuple[int, int, Any]:
    dwell(spec[1])
    number = ledger.begin_run(path, ticket)
    dwell(spec[1] // 7)
    value = build(spec)
    ledger.finish_run(path, ticket, number)
    dwell(spec[1] // 77)
    return ticket, number, value


noted = remote(_noted)
noted_once = ray.remote(max_retries=0)(_noted)


@ray.remote(max_retries=-1)
def small():
    return 1


@ray.remote(max_retries=-1)
def long():
    """Run until it is cancelled, or for a while: whoever could cancel it may have been killed."""
    end = time.monotonic() + LONG_SECONDS
    while time.monotonic() < end:
        time.sleep(0.001)


@ray.remote(max_retries=-1)
def start_long(depth):
    """Wait for such a task."""
    ray.get(long.remote() if depth == 0 else start_long.remote(depth - 1))
