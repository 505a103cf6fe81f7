"""A worker dies in the middle of a task: the task is run again, or its caller is told.

The task below kills its own process the first time, as a crash in native code would.
"""

import os
import signal
import tempfile
from pathlib import Path

import miniray as ray


@ray.remote
def crash_once(marker):
    """Return which attempt this is; the first one does not survive."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second attempt"


@ray.remote
def healthy():
    """Return a value, to show that the pool is whole again."""
    return "still working"


def main():
    ray.init(num_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        print(f"default retries: {ray.get(crash_once.remote(Path(folder, 'first')))}")
        try:
            ray.get(crash_once.options(max_retries=0).remote(Path(folder, "second")))
        except ray.exceptions.WorkerCrashedError as error:
            print(f"no retries:      {type(error).__name__}")
        print(f"other tasks:     {ray.get(healthy.remote())}")
    ray.shutdown()


if __name__ == "__main__":
    main()
