"""Every fault at every pass of the fixed program: ``make faults`` (FAULTS_ARGS="--most 8 --only spill. --seconds 60").

First the passes of every point in every role are counted, then each gets a run for each action: kill, stop and continue, stop and
kill, and each error of its system call. Of a point that is passed more than ``--most`` times the first, the last and the powers of
two are tried. Prints each run that did not end right, and the counts.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers import fault_runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=16, help="passes of a point that are all tried")
    parser.add_argument("--only", default="", help="text in `point:nth@role=action`")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no more runs after that time")
    parser.add_argument("--stride", type=int, default=1, help="try each n-th run")
    options = parser.parse_args()
    begin = time.monotonic()
    failures, happened = [], collections.Counter()
    passes = fault_runs.run(None).passes
    without_names = fault_runs.run(None, anonymous=True).passes
    extra = {key: count for key, count in without_names.items() if not passes[key]}
    runs = [(fault, False) for fault in fault_runs.all_faults(passes, options.most)]
    runs += [(fault, True) for fault in fault_runs.all_faults(extra, options.most)]
    runs = [item for item in runs if options.only in str(item[0])][:: options.stride]

    def one(item: tuple[fault_runs.Fault, bool]) -> None:
        if time.monotonic() - begin > options.seconds:
            happened["left out"] += 1
            return
        fault, anonymous = item
        done = fault_runs.run(fault, anonymous)
        happened["happened" if done.fired else "not reached"] += 1
        happened[done.said.partition(":")[0] or "killed"] += 1
        if done.faults:
            failures.append(fault)
            print(f"{fault}: {'; '.join(done.faults)}\n{done.errors[-3000:]}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, runs))
    passed = sum(1 for count in (passes | extra).values() if count)
    print(
        f"{len(fault_runs.points())} points, {passed} of point and role, {sum((passes | extra).values())} passes; "
        f"{len(runs)} runs ({dict(happened)}) in {time.monotonic() - begin:.0f} s; {len(failures)} failures"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
