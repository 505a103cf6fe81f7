"""Sort three times as much data as the object store holds (needs numpy).

Nothing here says "disk": when the store is full, objects that were used least recently go to a file, and tasks read
them there as they read all others. Tasks make blocks, cut each into ranges of values, and merge each range.

All but `diagnostics` is Ray's API; in Ray a spilled object comes back into the store before a task can read it.
"""

import argparse
import time

import numpy as np

import miniray as ray
from miniray import diagnostics

BLOCKS, RANGES, LARGEST = 24, 12, 1 << 63


def numbers(seed, count):
    """Return random numbers that anybody can make again."""
    return np.random.default_rng(seed).integers(0, LARGEST, count, np.uint64)


@ray.remote
def make_block(seed, count):
    """Return one block; stands for reading it from somewhere."""
    return numbers(seed, count)


@ray.remote(num_returns=RANGES)
def cut(block):
    """Return the block's numbers sorted, one object for each range of values."""
    ordered = np.sort(block)
    bounds = np.array([LARGEST // RANGES * i for i in range(1, RANGES)], np.uint64)
    return np.split(ordered, np.searchsorted(ordered, bounds))


@ray.remote
def merge(*runs):
    """Return one range of all blocks, sorted."""
    return np.sort(np.concatenate(runs), kind="stable")


def wait_for_all(refs):
    """Wait for all refs; return the most bytes that the store had in use meanwhile."""
    most = 0
    while refs:
        _, refs = ray.wait(refs)
        most = max(most, diagnostics.statistics().used_bytes)
    return most


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=384, help="size of the data (default 384)")
    size_bytes = parser.parse_args().megabytes << 20
    count = size_bytes // np.dtype(np.uint64).itemsize // BLOCKS
    ray.init(num_cpus=2, object_store_memory=size_bytes // 3)

    started = time.perf_counter()
    blocks = [make_block.remote(seed, count) for seed in range(BLOCKS)]
    most_used = wait_for_all(blocks)
    spilled = diagnostics.memory().by_location["spilled"]
    cuts = [cut.remote(block) for block in blocks]
    merged = [merge.remote(*runs) for runs in zip(*cuts, strict=True)]
    del blocks, cuts  # each object goes with the last task that needs it
    most_used = max(most_used, wait_for_all(merged))
    seconds = time.perf_counter() - started
    is_below = most_used <= diagnostics.statistics().capacity_bytes
    print(f"sorted {size_bytes / 1e6:.0f} MB in {seconds:.1f} s, {size_bytes / 1e6 / seconds:.0f} MB/s")
    print(f"on disk after the first step: {spilled.objects} of {BLOCKS} blocks, {spilled.size_bytes / 1e6:.0f} MB")
    print(f"store of {size_bytes / 3e6:.0f} MB never above its limit: {is_below}")

    expected = np.sort(np.concatenate([numbers(seed, count) for seed in range(BLOCKS)]))  # by one process
    bounds = np.cumsum([ray.get(ref).size for ref in merged])
    parts = zip(merged, np.split(expected, bounds[:-1]), strict=True)
    print(f"equal to a sort in one process: {all(np.array_equal(ray.get(ref), part) for ref, part in parts)}")
    del merged
    is_empty = "spilled" not in diagnostics.memory().by_location
    print(f"nothing left on disk: {is_empty}")
    ray.shutdown()


if __name__ == "__main__":
    main()
