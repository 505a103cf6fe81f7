"""What is counted: each function takes a session's module and returns instructions an operation, all warm.

The one worker stands still in a task while the driver is looked at, so that nothing is told or waited for.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.instructions.stepper import allow, instructions, mark

_COUNT, _WARM = 15, 500
_SMALL = ("name", 1, 2.5)


def identity(value: Any) -> Any:
    return value


def marked(value: Any) -> Any:
    mark()
    return value


def stand_still(path: str) -> int:
    """Tell who it is, then wait until somebody writes."""
    allow()
    with open(f"{path}/pid", "w", encoding="ascii") as pipe:
        pipe.write(str(os.getpid()))
    with open(f"{path}/go", "rb") as pipe:
        return len(pipe.read())


@contextmanager
def worker_standing(ray: Any) -> Iterator[int]:
    """Have the only worker stand still; its process number."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(f"{folder}/pid")
        os.mkfifo(f"{folder}/go")
        ref = ray.remote(stand_still).remote(folder)
        with open(f"{folder}/pid", encoding="ascii") as pipe:
            pid = int(pipe.read())
        try:
            yield pid
        finally:
            with open(f"{folder}/go", "wb") as pipe:
                pipe.write(b"go")
            ray.get(ref)


def _here(operation: Callable[[int], object]) -> int:
    """Count in this process, without what the loop takes."""

    def loop(operation: Callable[[int], object], count: int) -> None:
        for i in range(count):
            mark()
            operation(i)
        mark()

    loop(operation, _WARM)
    loop(int, _WARM)
    empty = instructions(os.getpid(), _COUNT, lambda: loop(int, _COUNT))
    return instructions(os.getpid(), _COUNT, lambda: loop(operation, _COUNT)) - empty


def submit(ray: Any) -> int:
    """Of ``f.remote(i)`` when all workers are busy."""
    task, refs = ray.remote(identity), []
    with worker_standing(ray):
        return _here(lambda i: refs.append(task.remote(i)))


def get(ray: Any) -> int:
    """Of ``get`` of a small result that is here."""
    refs = ray.get([ray.put([ray.remote(identity).remote(i) for i in range(_WARM)])])[0]
    ray.wait(refs, num_returns=len(refs))
    with worker_standing(ray):
        return _here(lambda i: ray.get(refs[i]))


def put(ray: Any) -> int:
    """Of ``put`` of a small value, and dropping it."""
    with worker_standing(ray):
        return _here(lambda _: ray.put(_SMALL))


def task(ray: Any) -> int:
    """Of a worker for each task of a queue: lease, arguments, execution, result, completion."""
    function = ray.remote(marked)
    ray.get([function.remote(i) for i in range(_WARM)])
    refs: list[Any] = []

    def run() -> None:
        nonlocal refs
        stands.__exit__(None, None, None)
        ray.get(refs)

    stands = worker_standing(ray)
    pid = stands.__enter__()
    refs = [function.remote(i) for i in range(_COUNT + 1)]
    return instructions(pid, _COUNT, run)


OPERATIONS: dict[str, Callable[[Any], int]] = {"submit": submit, "task": task, "get": get, "put": put}


def count_all(ray: Any) -> dict[str, int]:
    """Return instructions of every operation, in a session of its own with one worker."""
    allow()
    gc.disable()  # a collection would be in one of the figures
    try:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        return {name: operation(ray) for name, operation in OPERATIONS.items()}
    finally:
        ray.shutdown()
        gc.enable()
