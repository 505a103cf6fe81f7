"""Census of the Python source on this computer: a real job for tasks, a tree of tasks, and one large shared array.

Reads every Python file of the standard library and of this environment's packages and parses each. Run it with
`make demo` or `python examples/source_census.py`. A process pool and a plain loop then do the same work, and the three
results must be equal.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass, field

from census.analysis import Census, find_sources, make_batches, merge_censuses
from census.engines import Engine, Miniray, ProcessPool, Serial, merges_of
from census.progress import MemoryPeak, Progress
from census.report import megabytes, print_census, print_text, section, show, table
from census.text import TextStatistics, cut_at_lines, read_corpus

COMPARED_BYTES = 64_000_000
"""So much source at most is read three times for the comparison: every second, third, ... batch of a larger corpus."""

SLICES_PER_CPU = 8


@dataclass
class Run:
    """What one engine did with the compared part of the work."""

    name: str
    start_seconds: float = 0.0
    census_seconds: float = 0.0
    text_seconds: float = 0.0
    memory: MemoryPeak = field(default_factory=MemoryPeak)
    census: Census | None = None
    text: TextStatistics | None = None


def main() -> int:
    """Return the exit code: 0, or 1 when the results differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-cpus", type=int, default=os.cpu_count(), help="workers (default: all processors)")
    parser.add_argument("--limit", type=int, help="read at most so many files, spread evenly (default: all)")
    parser.add_argument("--no-compare", action="store_true", help="leave out the process pool and the loop")
    options = parser.parse_args()

    files = find_sources(options.limit)
    if not files:
        parser.error("no Python source found")
    batches = make_batches(files)
    size_bytes = sum(file.size_bytes for file in files)
    every = 1 if options.no_compare else max(1, -(-size_bytes // COMPARED_BYTES))
    compared, rest = batches[::every], [batch for i, batch in enumerate(batches) if i % every]
    text, repeats = read_corpus(files)
    slices = cut_at_lines(text, SLICES_PER_CPU * options.num_cpus)

    def run(engine: Engine, rest: list) -> tuple[Run, Census]:
        result = Run(engine.name)
        clock = time.perf_counter()

        def lap() -> float:
            nonlocal clock
            before, clock = clock, time.perf_counter()
            return clock - before

        def progress(what: str, unit: str) -> Progress:
            return Progress(f"{engine.name:<20}{what}", unit, result.memory)

        engine.start(options.num_cpus)
        result.start_seconds = lap()
        try:
            result.census = whole = engine.take_census(compared, progress("census", "tasks"))
            result.census_seconds = lap()
            if rest:
                whole = merge_censuses(whole, engine.take_census(rest, progress("the rest", "tasks")))
            lap()
            result.text = engine.read_text(text, slices, progress("text", "slices"))
            result.text_seconds = lap()
            result.memory.sample()
        finally:
            engine.stop()
        return result, whole

    shared, whole = run(Miniray(), rest)
    driver_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    runs = [shared]
    if not options.no_compare:
        runs += [run(engine, [])[0] for engine in (ProcessPool(), Serial())]

    print(
        f"Python {platform.python_version()}: {len(files):,} files, {megabytes(size_bytes)}, {whole.total('lines'):,} "
        f"lines, {whole.total('functions'):,} functions, {len(whole.packages)} packages"
    )
    print_census(whole)
    print_text(shared.text)
    print_times(runs, batches, compared, every, options.num_cpus)
    print_memory(runs, text.nbytes, repeats, len(slices), driver_peak)
    if any(other.census != shared.census or other.text != shared.text for other in runs):
        print("\nThe results DIFFER.", file=sys.stderr)
        return 1
    return 0


def print_times(runs: list[Run], batches: list, compared: list, every: int, num_cpus: int) -> None:
    """Print how long each engine took."""
    section(f"Time in seconds, {num_cpus} workers")
    base = runs[-1]
    rows = []
    for run in runs:
        row = [run.name, f"{run.start_seconds:.2f}", f"{run.census_seconds:.2f}", f"{run.text_seconds:.2f}"]
        if len(runs) > 1:
            total, base_total = run.start_seconds + run.census_seconds, base.census_seconds
            row += [f"{base_total / total:.2f} x", f"{base.text_seconds / run.text_seconds:.2f} x"]
        rows.append(row)
    speedups = ["start + census", "text"] if len(runs) > 1 else []
    show(table(["", "start", "census", "text", *speedups], rows))
    tasks = len(compared) + merges_of(len(compared))
    part = "all" if every == 1 else f"every {every}{'nd' if every == 2 else 'rd' if every == 3 else 'th'}"
    print(f"census: {part} of {len(batches):,} batches, {tasks:,} tasks with the merges.", end=" ")
    print("The results of all are equal." if all_equal(runs) else "")


def all_equal(runs: list[Run]) -> bool:
    """Whether there is more than one result and all are equal."""
    return len(runs) > 1 and all(run.census == runs[0].census and run.text == runs[0].text for run in runs)


def print_memory(runs: list[Run], array_bytes: int, repeats: int, tasks: int, driver_peak: int) -> None:
    """Print what was copied and what was not, and the peak of memory."""
    section("Memory")
    rows = [
        (run.name, *map(megabytes, (run.memory.driver, run.memory.workers, run.memory.shared)))
        for run in runs
        if run.memory.driver
    ]
    if rows:
        show(table(("peak", "driver's own", "workers' own", "shared, counted once"), rows))
    print(f"Peak resident set of the driver when miniray was done: {megabytes(driver_peak)}.")
    print(
        f"The text is one array of {megabytes(array_bytes)}{f' (the files {repeats} times)' if repeats > 1 else ''}. "
        f"{tasks} tasks got a view of all of it\nand read a slice each: {megabytes(array_bytes * tasks)} handed over "
        f"for one copy of {megabytes(array_bytes)}, the put."
    )


if __name__ == "__main__":
    sys.exit(main())
