"""A parameter server: workers compute gradients on their data, one actor adds them up (needs numpy).

Linear regression by stochastic gradient descent. Each worker has its part of the data and asks for work as soon as it
has sent a gradient: nobody waits for the slowest. Weights are read where they lie in the store, without a copy.
"""

import argparse

import numpy as np

import miniray as ray

FEATURES = 50


@ray.remote
class ParameterServer:
    """Has the weights; applies gradients in the order in which they come."""

    def __init__(self, rate):
        self.weights = np.zeros(FEATURES)
        self.rate = rate

    def apply(self, gradient):
        """Take a step; return the new weights."""
        self.weights = self.weights - self.rate * gradient
        return self.weights


@ray.remote
class Worker:
    """Has a part of the data."""

    def __init__(self, seed, truth, rows):
        generator = np.random.default_rng(seed)
        self.inputs = generator.normal(size=(rows, FEATURES))
        self.outputs = self.inputs @ truth + generator.normal(scale=0.1, size=rows)
        self.generator = generator

    def gradient(self, weights):
        """Return the gradient of the squared error on some rows of the data."""
        rows = self.generator.integers(len(self.inputs), size=200)
        errors = self.inputs[rows] @ weights - self.outputs[rows]
        return 2 * self.inputs[rows].T @ errors / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()

    ray.init(num_cpus=options.workers)
    truth = np.random.default_rng(0).normal(size=FEATURES)
    server = ParameterServer.remote(rate=0.05)
    workers = [Worker.remote(seed, truth, rows=5_000) for seed in range(options.workers)]

    weights = np.zeros(FEATURES)
    print(f"step    0: error {np.linalg.norm(weights - truth):.3f}")
    running = {worker.gradient.remote(weights): worker for worker in workers}
    for step in range(1, options.steps + 1):
        (gradient,), _ = ray.wait(list(running))
        worker = running.pop(gradient)
        weights = server.apply.remote(gradient)  # a ref: it goes on to the worker before the step is done
        running[worker.gradient.remote(weights)] = worker
        if step % (options.steps // 4) == 0:
            print(f"step {step:4}: error {np.linalg.norm(ray.get(weights) - truth):.3f}")
    found = np.linalg.norm(ray.get(weights) - truth) < 0.1
    print(f"found the weights of the data: {found}")
    ray.shutdown()


if __name__ == "__main__":
    main()
