"""Workers that are killed while they compute, holding memory: how long until the caller knows, or has the result."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 100_000_000
NO_ANSWER_SECONDS = 5.0


class NoAnswerError(Exception):
    """The engine has not answered for so long that it will not."""


def hold_and_compute(folder: str, size_bytes: int) -> str:
    """Hold memory and compute for ever; a run that comes after the kill returns at once."""
    if os.path.exists(f"{folder}/killed"):
        return "again"
    memory = bytearray(b"\1") * size_bytes
    with open(f"{folder}/starting", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename(f"{folder}/starting", f"{folder}/computing")
    while len(memory) == size_bytes:
        pass
    return "never"


def seconds_after_kill(submit: Callable[[str, int], Any], wait: Callable[[Any], object]) -> float:
    """Return how long after the kill of its worker a call is answered.

    Args:
        submit: Submits ``hold_and_compute`` with these arguments; returns what ``wait`` takes.
        wait: Blocks until there is an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        pending = submit(folder, MEMORY_BYTES)
        while not os.path.exists(f"{folder}/computing"):
            time.sleep(0.001)
        with open(f"{folder}/computing", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"{folder}/killed", "x", encoding="ascii"):
            pass
        time.sleep(0.05)  # the others have become idle
        started = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        try:
            wait(pending)
            return time.perf_counter() - started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
