"""Tasks of fault_program.py, in a module of their own, so that every process exports them under one name."""

import asyncio

import miniray as ray
from miniray.exceptions import RaySystemError
from miniray.util.placement_group import get_placement_group, placement_group, remove_placement_group


@ray.remote(max_retries=-1)
def work(i, *refs):
    inner = ray.get([small.remote(i, j) for j in range(2)])
    return [ray.put(bytes(3000)), sum(inner)]


@ray.remote(max_retries=-1)
def small(i, j):
    return i * j


@ray.remote(max_retries=-1)
def make_group(count):
    """Make a placement group of so many bundles and remove it, or the one that an earlier run left."""
    if count == 0:
        return 0
    try:
        group = placement_group([{"CPU": 0.1}] * count, name="of a task")
    except RaySystemError:
        group = get_placement_group("of a task")
    ready = ray.get(group.ready()) == group
    remove_placement_group(group)
    return ready


@ray.remote(max_retries=-1)
def spread(count):
    return tuple(range(count))


def block(i):
    return bytes([i]) * (3000 if i % 2 else 20)


@ray.remote(max_retries=-1)
def items(count):
    for i in range(count):
        yield block(i)


def fill(i):
    block = ray.create(700_000)
    block[:8] = i.to_bytes(8, "little")
    return block


make = ray.remote(max_retries=-1)(fill)


@ray.remote(max_retries=-1)
def read(value, *refs):
    return int.from_bytes(value[:8], "little"), value[-8:] == value[:8]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Plain:
    """Runs one call at a time."""

    def __init__(self, first):
        self.first = first

    def add(self, value):
        return self.first + value

    def leave(self):
        ray.actor.exit_actor()


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Several:
    """Runs several calls at once, as coroutines."""

    async def double(self, value):
        return 2 * await small.remote(value, 1)

    async def sleep(self):
        await small.remote(1, 1)
        await asyncio.sleep(3600)


@ray.remote(max_retries=-1)
def call(actor, value):
    return ray.get(actor.add.remote(small.remote(value, 1)))


@ray.remote(max_retries=-1)
def hold():
    """Run until it is cancelled."""
    while True:
        ray.get(small.remote(1, 1))
