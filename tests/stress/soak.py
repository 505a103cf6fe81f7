"""A long random run against a model: every value that is read is compared, processes are killed and stopped under way.

    python tests/stress/soak.py --minutes 15 --seed 1
    python tests/stress/soak.py --kills 20000 --minutes 60

A few driver threads (operations.py) put, get, call and drop, in orders that follow from the seed alone; values follow from
their specs (model.py), runs of tasks are written down (ledger.py). One more process (chaos.py) kills and stops workers and the
supervisor. The store is small, so that objects go to the spill file and are read there all the time. At the end all that is
left is read, then dropped, and what is there must be exactly what was there at the beginning. The last line is the report.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stress import ledger, tasks
from stress.chaos import COUNTED, ChaosProcess
from stress.model import MEGABYTE
from stress.operations import OPERATIONS, PLAN_STEPS, Caller, drop_views
from stress.report import LOST_SECONDS, Counts, must_be_valid, own_resources, resident_megabytes, state, wait_for

import miniray as ray
from miniray import _miniray_core as core

SLOW_SECONDS = 15  # a step that takes longer is told about
STUCK_SECONDS = 1800  # without a look at the steps


SUPERVISOR, WORKER = 2, 3  # process_table.hpp ProcessKind


def pids_of(kind: int) -> list[int]:
    """Return the processes of that kind in this session."""
    return sorted(pid for pid, found, _, _ in core._processes() if found == kind)


def renew_workers(count: int) -> None:
    """End all workers, so that nothing is left in them, and wait for new ones."""
    old = pids_of(WORKER)
    for pid in old:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: len(pids_of(SUPERVISOR)) == 1 and len(pids_of(WORKER)) == count and not set(old) & set(pids_of(WORKER)),
        core._processes,
    )


def warm_up(options: argparse.Namespace, folder: str) -> tuple[dict[str, int], dict[str, int]]:
    """Make what stays: exported functions, helper threads. Then tell what is there."""
    path = f"{folder}/warm-up"
    ledger.create(path)
    caller = Caller("warm-up", 0, 1, path, MEGABYTE, Counts())
    for operation in OPERATIONS:
        if operation.do is not drop_views:
            for _ in range(8):  # each kind of actor, and whatever else an operation chooses at random
                operation.do(caller)
                ray.get([ref for ref, *_ in caller.plain + caller.outer])
    caller.settle()
    ray.empty(2 * MEGABYTE, "u1")
    del caller
    ledger.close(path)
    os.unlink(path)
    renew_workers(options.workers)
    ray.get([tasks.tree.remote(1, i) for i in range(4)])
    wait_for(lambda: state()["tasks"] == 0, state)
    renew_workers(options.workers)
    return state(), own_resources()


class Run:
    """One run: threads that call, the thread that kills, and what failed.

    Args:
        options: Of the command line.
        session: Name of the session.
        folder: For the ledger.
    """

    def __init__(self, options: argparse.Namespace, session: str, folder: str) -> None:
        self.options = options
        self.counts = Counts()
        self.failures: list[str] = []
        self.started = time.monotonic()
        self.ledger_path = f"{folder}/ledger"
        ledger.create(self.ledger_path)
        store_bytes = options.store_megabytes * MEGABYTE
        self.callers = [
            Caller(options.seed, i, options.threads, self.ledger_path, store_bytes, self.counts)
            for i in range(options.threads)
        ]
        self.threads = [threading.Thread(target=self._call, args=(caller,)) for caller in self.callers]
        self.chaos = None if options.no_kills else ChaosProcess(session, f"{options.seed}/chaos", options.rate, folder)

    def _is_over(self) -> bool:
        late = time.monotonic() - self.started > self.options.minutes * 60
        if self.options.kills:
            return (self.chaos is not None and self.chaos.counts["kills"] >= self.options.kills) or late
        return late

    def _call(self, caller: Caller) -> None:
        try:
            while not self.failures and (caller.step_number < PLAN_STEPS or not self._is_over()):
                caller.step()
            caller.settle()
        except BaseException:
            self.failures.append(f"{caller.doing}, step {caller.step_number}: {traceback.format_exc()}")

    def _take_counts(self) -> None:
        if self.chaos is not None:
            self.counts.update({name: self.chaos.counts[name] - self.counts[name] for name in COUNTED})

    def _watch(self) -> None:
        told = looked = self.started
        while any(thread.is_alive() for thread in self.threads):
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            must_be_valid(self.counts)
            self.counts.longest("spilled_bytes", core._statistics()["spilled_bytes"])
            paused, looked = time.monotonic() - looked > SLOW_SECONDS, time.monotonic()
            for caller, thread in zip(self.callers, self.threads, strict=True):
                if paused:  # all of us were stopped, or the machine
                    caller.began_at = looked
                waited = time.monotonic() - caller.began_at
                if thread.is_alive() and waited > SLOW_SECONDS:
                    where = f"{caller.doing}, step {caller.step_number}, takes {waited:.0f} s"
                    if waited > LOST_SECONDS:
                        raise AssertionError(f"{where}: {core._statistics()} {core._processes()}")
                    print(where, flush=True)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self._take_counts()
                print(f"{told - self.started:.0f} s: {json.dumps(self.counts)}", flush=True)
            time.sleep(0.5)

    def work(self) -> None:
        """Run until it is over; ends the process when something was wrong."""
        for thread in self.threads:
            thread.start()
        try:
            self._watch()
        except BaseException:
            self.failures.append(traceback.format_exc())
        self.counts["seconds"] = round(time.monotonic() - self.started)
        if self.chaos is not None:
            self.chaos.stop()
            self._take_counts()
            self.chaos.counts.close()
        if self.counts["kills"] < (self.options.kills or 0):
            self.failures.append(
                f"{self.counts['kills']} of {self.options.kills} kills in {self.options.minutes} minutes"
            )
        if self.failures:
            seed = self.options.seed
            print(*self.failures, f"seed {seed}, after {dict(self.counts)}", sep="\n", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(1)
        for thread in self.threads:
            thread.join()

    def plan(self) -> str:
        """Return a digest of the first PLAN_STEPS steps of each caller: the same for each run of a seed."""
        return " ".join(f"{caller.plan:08x}" for caller in self.callers)


def soak(options: argparse.Namespace, spill_folder: str, folder: str) -> Counts:
    """Start a session, run, and see that everything is as it was."""
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)  # a thread, which is counted
    context = ray.init(
        num_cpus=options.workers,
        object_store_memory=options.store_megabytes * MEGABYTE,
        object_spilling_directory=spill_folder,
        log_to_driver=True,
    )
    session = context["session_name"]
    before, resources = warm_up(options, folder)
    run = Run(options, session, folder)
    run.counts["own_megabytes_before"] = resident_megabytes()
    run.work()
    print(f"plan: {run.plan()}", flush=True)
    counts, path, tickets = run.counts, run.ledger_path, max(caller.next_ticket for caller in run.callers)
    del run
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
    wait_for(lambda: state()["tasks"] == 0, state)
    renew_workers(options.workers)
    wait_for(lambda: state() == before, lambda: f"everything comes back: {before} {state()}")
    counts["repeats"] = ledger.check_all(path, tickets)
    ledger.close(path)
    wait_for(lambda: own_resources() == resources, lambda: f"the driver is as it was: {resources} {own_resources()}")
    must_be_valid(counts)
    gc.collect()
    counts["own_megabytes_after"] = resident_megabytes()
    counts["locks_repaired"] = core._statistics()["repairs"]
    pids = [pid for pid, *_ in core._processes() if pid != os.getpid()]
    ray.shutdown()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), lambda: f"{pids} end")
    folders = ("/dev/shm", tempfile.gettempdir())
    left = [name for folder in folders for name in os.listdir(folder) if session in name] + os.listdir(spill_folder)
    assert not left, left
    return counts


def main() -> None:
    """Run with the options of the command line."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long; with --kills, the time for them")
    parser.add_argument("--kills", type=int, help="end after so many kills; fewer in the time are a failure")
    parser.add_argument("--rate", type=float, default=30, help="kills and stops a second, as a mean")
    parser.add_argument("--seed", default=str(random.randrange(1 << 30)))
    parser.add_argument("--threads", type=int, default=2, help="of the driver")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--store-megabytes", type=int, default=16)
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as spilled, tempfile.TemporaryDirectory(prefix="soak-") as folder:
        counts = soak(options, spilled, folder)
    faulthandler.cancel_dump_traceback_later()
    print(f"right: {json.dumps(counts)}", flush=True)


if __name__ == "__main__":
    main()
