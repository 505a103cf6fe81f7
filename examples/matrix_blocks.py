"""Large arrays without copies: a matrix product in blocks of rows.

Shows `ray.put` with numpy. Each matrix is copied once, into shared memory; every task reads it there. The views are
read-only, so no task can disturb another, and copying one is how a task gets an array of its own.
"""

from itertools import pairwise

import numpy as np

import miniray as ray

SIZE = 1_500
BLOCKS = 6


@ray.remote
def rows_of_product(left, right, start, stop):
    """Return rows `start` to `stop` of the product."""
    assert not left.flags.writeable  # a view of shared memory, not a copy
    return left[start:stop] @ right


@ray.remote
def is_protected(matrix):
    """Return whether writing to the shared matrix is refused."""
    try:
        matrix[0, 0] = 1
    except ValueError:
        return True
    return False


def main():
    ray.init(num_cpus=2)
    random = np.random.default_rng(seed=1)
    left, right = random.random((SIZE, SIZE)), random.random((SIZE, SIZE))
    left_ref, right_ref = ray.put(left), ray.put(right)

    bounds = [SIZE * block // BLOCKS for block in range(BLOCKS + 1)]
    refs = [rows_of_product.remote(left_ref, right_ref, start, stop) for start, stop in pairwise(bounds)]
    product = np.concatenate(ray.get(refs))

    handed_over = BLOCKS * (left.nbytes + right.nbytes)
    print(
        f"{BLOCKS} tasks, {handed_over / 1e6:.0f} MB of arguments, {(left.nbytes + right.nbytes) / 1e6:.0f} MB copied"
    )
    print(f"equal to the product in one process: {np.allclose(product, left @ right)}")
    print(f"shared matrix protected from writing: {ray.get(is_protected.remote(left_ref))}")
    ray.shutdown()


if __name__ == "__main__":
    main()
