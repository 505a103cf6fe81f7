"""Fan out, then take the answers in the order in which they come: pi from random points.

Shows `ray.wait`: the estimate gets better with each finished task, and nobody waits for the slowest one.
"""

import math
import random

import miniray as ray

TASKS = 40
POINTS_PER_TASK = 100_000


@ray.remote
def count_inside(seed):
    """Return how many of the random points of the unit square lie in the quarter circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(POINTS_PER_TASK))


def main():
    ray.init(num_cpus=2)
    pending = [count_inside.remote(seed) for seed in range(TASKS)]
    inside = done = 0
    while pending:
        ready, pending = ray.wait(pending, num_returns=min(10, len(pending)))
        inside += sum(ray.get(ready))
        done += len(ready)
        estimate = 4 * inside / (done * POINTS_PER_TASK)
        print(f"{done:3} of {TASKS} tasks: pi is about {estimate:.4f}, off by {abs(estimate - math.pi):.4f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
