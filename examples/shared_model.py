"""One large array as a model: tasks read it where it lies, and write its next version where that one will lie.

Shows `miniray.empty`: an array in the store's memory that becomes an object without a copy when it is put, or returned
by a task (needs numpy). Two versions take twice the size of the model, no matter how many processes read them.

`empty` and `empty_like` are miniray's own. On Ray take numpy's: the same program, which copies each version once.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np

import miniray as ray

COLUMNS, BATCHES, VERSIONS = 1_000, 8, 3


def own_megabytes():
    """Return how much memory this process has beside shared memory and files."""
    return int(re.search(r"Anonymous: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1]) / 1e3


def timed(function, argument):
    """Return what a function returns, and the microseconds that it took."""
    started = time.perf_counter()
    result = function(argument)
    return result, (time.perf_counter() - started) * 1e6


@ray.remote
def score(model, batch):
    """Return the score of one batch of rows, and by how many MB this process grew."""
    before = own_megabytes()
    total = sum(float(row.sum()) for row in model[batch::BATCHES])
    return total, own_megabytes() - before


@ray.remote(num_returns=2)
def next_version(model):
    """Return a model whose numbers are higher by one, and by how many MB this process grew."""
    before = own_megabytes()
    updated = ray.empty_like(model)
    np.add(model, 1, out=updated)
    return updated, own_megabytes() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1_000, help="size of the model (default 1,000)")
    size_bytes = parser.parse_args().megabytes * 1_000_000
    ray.init(num_cpus=2, object_store_memory=2 * size_bytes + 20_000_000)  # this version and the next

    model = ray.empty((size_bytes // COLUMNS // 4, COLUMNS), np.float32)
    model[:] = 1
    before = own_megabytes()
    ref, put_us = timed(ray.put, model)
    del model
    view, get_us = timed(ray.get, ref)
    print(f"a model of {view.nbytes / 1e6:,.0f} MB: put in {put_us:.0f} us, got in {get_us:.0f} us")
    del view

    growths = []
    for version in range(1, VERSIONS + 1):
        scores, grown = zip(*ray.get([score.remote(ref, batch) for batch in range(BATCHES)]), strict=True)
        right = sum(scores) == size_bytes // 4 * version
        ref, grown_in_update = next_version.remote(ref)  # the old version goes with the last that uses it
        grown_in_update, update_us = timed(ray.get, grown_in_update)
        growths += [*grown, grown_in_update]
        print(f"version {version}: scores right: {right}; next version written in {update_us / 1e3:.0f} ms")
    growths.append(own_megabytes() - before)
    print(f"own memory of no process grew by more than {max(growths):.1f} MB")
    ray.shutdown()


if __name__ == "__main__":
    main()
