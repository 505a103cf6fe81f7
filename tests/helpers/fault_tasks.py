"""Tasks of fault_program.py, in a module of their own, so that every process exports them under one name."""

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


def fill(i):
    block = ray.create(700_000)
    block[:8] = i.to_bytes(8, "little")
    return block


make = ray.remote(max_retries=-1)(fill)


@ray.remote(max_retries=-1)
def read(value, *refs):
    return int.from_bytes(value[:8], "little"), value[-8:] == value[:8]
