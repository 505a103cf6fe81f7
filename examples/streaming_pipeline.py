"""A pipeline whose stages work at the same time: each gives its results one by one while it goes on.

A source makes signals, an actor filters them with what it has seen so far, tasks reduce each to a number. Nobody waits
for a whole list, and the source never runs more than a few items ahead of whoever reads it.
"""

import argparse
import math

import miniray as ray

AHEAD = 4  # items that a stage may make before somebody takes one


@ray.remote(_generator_backpressure_num_objects=AHEAD)
def source(count, size):
    """Yield signals: a slow wave, and every tenth with a fault."""
    for number in range(count):
        fault = 50.0 if number % 10 == 7 else 0.0
        yield number, [math.sin(number / 9 + place / 50) + fault for place in range(size)]


@ray.remote
class Filter:
    """Passes on what is not far from what it has passed on before."""

    def __init__(self):
        self.level = 1.0
        self.refused = 0

    @ray.method(_generator_backpressure_num_objects=AHEAD)
    async def passing(self, signals):
        """Yield the good ones of a stage that an actor starts, as they come."""
        async for ref in start(signals):
            number, signal = await ref
            peak = max(map(abs, signal))
            if peak > 10 * self.level:
                self.refused += 1
                continue
            self.level = 0.9 * self.level + 0.1 * peak
            yield number, signal

    async def count_refused(self):
        """Return how many were left out."""
        return self.refused


def start(signals):
    """Start the source: a generator of refs stays in the process that made it, its recipe travels."""
    return source.remote(*signals)


@ray.remote
def energy(item):
    """Return the number of a signal and its energy."""
    number, signal = item
    return number, math.fsum(value * value for value in signal)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()

    ray.init(num_cpus=2)
    stage = Filter.remote()
    good = stage.passing.remote((options.count, 500))
    waiting = []
    energies = {}
    for item in good:  # a ref is there long before the stage has ended
        waiting.append(energy.remote(item))
        if len(waiting) > 2 * AHEAD:
            (done, *_), waiting = ray.wait(waiting)
            number, found = ray.get(done)
            energies[number] = found
            if len(energies) == 20:
                print(f"the first 20 of {options.count} are done; the stage goes on: {not good.is_finished()}")
    energies.update(ray.get(waiting))
    print(f"{len(energies)} signals, {ray.get(stage.count_refused.remote())} refused")
    print(f"in order of energy: {sorted(energies, key=energies.get)[:5]} ...")

    endless = source.options(_generator_backpressure_num_objects=1).remote(10**9, 10)
    ended = endless.completed()
    ray.get(next(endless))
    del endless  # nobody reads on: its next yield ends the task
    print(f"a source without an end has ended: {ray.get(ended) is None}")
    ray.shutdown()


if __name__ == "__main__":
    main()
