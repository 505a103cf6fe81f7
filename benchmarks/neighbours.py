"""What waiting awake costs other programs: ``python -m benchmarks.neighbours``.

A program of miniray makes calls one after the other while neighbours compute, once with waiting awake and once without
(``MINIRAY_SPIN=0``), in turns. With several programs at once each is the neighbour of the others. Told are medians: of
the calls, with against without; of the processors that waiting awake wasted, which is what the programs used less what
as many calls take without; and of the neighbours' work with against without. That is noisy, and where more calls are
made less is left for it.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parents[1]

_NEIGHBOUR = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
done = 0
while time.monotonic() < end:
    for _ in range(1000): pass
    done += 1
print(done)
"""

_PROGRAM = """
import os, sys, time
import miniray as ray
from benchmarks.payloads import work
from benchmarks.processes import processor_seconds, tree
seconds, length_us, workers = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ray.init(num_cpus=workers)
task = ray.remote(work)
for _ in range(20): ray.get([task.remote(1) for _ in range(50)])
print("ready", flush=True)
sys.stdin.readline()
pids = tree(os.getpid())
before, end, done = processor_seconds(pids), time.monotonic() + seconds, 0
while time.monotonic() < end:
    ray.get(task.remote(length_us))
    done += 1
print(done, processor_seconds(pids) - before)
"""


class Sample(NamedTuple):
    """What was done in a second.

    Attributes:
        work: By all neighbours; only its ratios mean something.
        calls: By all programs.
        processors: How many the programs kept busy.
    """

    work: float
    calls: float
    processors: float


def _start(source: str, *arguments: object, spins: bool = True) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "MINIRAY_SPIN": "1" if spins else "0"}
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def measure(seconds: float, programs: int, neighbours: int, length_us: int, spins: bool) -> Sample:
    """Let programs call and neighbours compute for so long."""
    started = [_start(_PROGRAM, seconds, length_us, 2, spins=spins) for _ in range(programs)]
    for program in started:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    beside = [_start(_NEIGHBOUR, seconds) for _ in range(neighbours)]
    for program in started:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    done = [tuple(map(float, program.communicate()[0].split())) for program in started + beside]
    calls, busy = map(sum, zip(*done[:programs], strict=True))
    return Sample(sum(work for (work,) in done[programs:]) / seconds, calls / seconds, busy / seconds)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a sample")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("programs  neighbours  work of a task  calls, with/without  calls a second, with  wasted  neighbours' work")
    for programs, neighbours, length_us in [
        *((1, count, length) for count in (0, 1, 2) for length in (1, 100, 1000)),
        *((3, 0, length) for length in (1, 100, 1000)),
        (3, 1, 100),
    ]:
        rows = []
        for _ in range(options.rounds):
            awake, asleep = (
                measure(options.seconds, programs, neighbours, length_us, spins) for spins in (True, False)
            )
            wasted = awake.processors - asleep.processors * awake.calls / asleep.calls
            work = awake.work / asleep.work if neighbours else float("nan")
            rows.append((awake.calls / asleep.calls, awake.calls, wasted, work))
        ratio, calls, wasted, work = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{programs:8}  {neighbours:10}  {length_us:11} us  {ratio:19.2f}  {calls:20,.0f}  "
            f"{wasted:6.3f}  {work:16.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
