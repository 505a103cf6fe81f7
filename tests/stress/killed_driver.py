"""The demo's driver is killed at random moments: how long until no process, segment or file of it is left?

    python tests/stress/killed_driver.py --moments 100 --seed 1

Every process of a demo is known by a word in its environment, whoever its parent is by then. Which segments are its own is
read from the driver while it is stopped, just before it is killed. Exits with 1 when something is left for too long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

DEMO = Path(__file__).resolve().parents[2] / "examples" / "source_census.py"
LOST_SECONDS = 30  # then it will not go any more
_MARK = "MINIRAY_KILLED_DRIVER"


def marked(word: str) -> list[int]:
    """Return the processes whose environment holds a word, zombies left out: they have none."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if f"{_MARK}={word}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(int(entry))
            except OSError:
                continue
    return found


def segments_of(pid: int) -> set[str]:
    """Return the names in /dev/shm that a process has open or mapped."""
    names = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        names.add(line.split(maxsplit=5)[-1])
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.add(os.readlink(entry))
        except OSError:
            continue
    return {name for name in names if name.startswith("/dev/shm/miniray_") and os.path.exists(name)}


def what_is_left(word: str, segments: set[str], folder: str) -> list[str]:
    """Return processes, segments and files."""
    return [
        *(f"process {pid}" for pid in marked(word)),
        *filter(os.path.exists, sorted(segments)),
        *(str(path) for path in Path(folder).rglob("*")),
    ]


def start(word: str, folder: str, files: int) -> subprocess.Popen[bytes]:
    """Start the demo."""
    return subprocess.Popen(
        [sys.executable, DEMO, "--no-compare", "--num-cpus", "2", "--limit", str(files)],
        env={**os.environ, _MARK: word, "TMPDIR": folder, "XDG_RUNTIME_DIR": folder},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stop(driver: subprocess.Popen[bytes]) -> bool:
    """Stop the driver; False when it has ended."""
    driver.send_signal(signal.SIGSTOP)
    return os.WIFSTOPPED(os.waitpid(driver.pid, os.WUNTRACED)[1])


def length_of_demo(files: int) -> float:
    """Return how many seconds the demo takes when nobody kills it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        status = start("whole", folder, files).wait()
        assert status == 0, f"the demo ended with {status}"
        return time.monotonic() - started


def kill_once(word: str, moment: float, files: int) -> dict[str, float | int]:
    """Kill the driver that many seconds after its start; return what was there and when it was gone."""
    with tempfile.TemporaryDirectory() as folder:
        driver = start(word, folder, files)
        ends = os.pidfd_open(driver.pid)
        try:
            waiter = select.poll()
            waiter.register(ends, select.POLLIN)
            if waiter.poll(moment * 1000) or not stop(driver):
                driver.wait()
                return {"ended_before": 1}
        finally:
            os.close(ends)
        segments, processes = segments_of(driver.pid), len(marked(word)) - 1
        os.kill(driver.pid, signal.SIGKILL)
        killed = time.monotonic()
        driver.wait()
        while left := what_is_left(word, segments, folder):
            if time.monotonic() > killed + LOST_SECONDS:
                for pid in marked(word):
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"killed after {moment:.3f} s, {LOST_SECONDS} s later there is still: {left}")
            time.sleep(0.005)  # a look reads as much as all of /proc
        return {"seconds": time.monotonic() - killed, "segments": len(segments), "processes": processes}


def kills(moments: int, seed: str, files: int) -> Iterator[dict[str, float | int]]:
    """Kill that many demos at moments that follow from the seed, as shares of the demo's length."""
    draws = random.Random(seed)
    length = length_of_demo(files)
    found = 0
    while found < moments:
        moment = draws.uniform(0, length)
        kill = {"moment": moment, **kill_once(f"{seed}-{os.getpid()}-{found}", moment, files)}
        if "seconds" in kill:
            found += 1
            yield kill
        else:
            length = moment  # it took less time than the first one


def main() -> int:
    """Run with the options of the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", default=str(random.randrange(1 << 30)))
    parser.add_argument("--files", type=int, default=300, help="size of the demo")
    parser.add_argument("--limit", type=float, default=LOST_SECONDS, help="seconds within which all must be gone")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    found = []
    for kill in kills(options.moments, options.seed, options.files):
        found.append(kill)
        if kill["seconds"] > options.limit:
            print(f"too late: {kill}", flush=True)
    times = [kill["seconds"] for kill in found]
    figures = {
        "kills": len(times),
        "with_segments": sum(kill["segments"] > 0 for kill in found),
        "with_processes": sum(kill["processes"] > 0 for kill in found),
        "median_ms": round(median(times) * 1e3, 1),
        "longest_ms": round(max(times) * 1e3, 1),
    }
    print(f"{'nothing is left' if max(times) <= options.limit else 'TOO LATE'}: {json.dumps(figures)}")
    return int(max(times) > options.limit)


if __name__ == "__main__":
    sys.exit(main())
