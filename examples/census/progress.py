"""What is to be seen while the program runs: a progress bar, and the peak of its memory."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_REDRAW_SECONDS = 0.1
_SAMPLE_SECONDS = 0.25
_BAR_WIDTH = 30


class Progress:
    """One line on stderr: a bar on a terminal, and in any case a last line with the time taken."""

    def __init__(self, title: str, unit: str, memory: MemoryPeak) -> None:
        self._title, self._unit, self._memory = title, unit, memory
        self._terminal = sys.stderr.isatty()
        self._start = time.perf_counter()
        self._next_redraw = 0.0

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` units are done."""
        self._memory.sample_now_and_then()
        now = time.perf_counter()
        if done == total:
            self._write(f"{total:,} {self._unit}, {now - self._start:.2f} s", end="\n")
        elif self._terminal and now >= self._next_redraw:
            self._next_redraw = now + _REDRAW_SECONDS
            filled = _BAR_WIDTH * done // total
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            self._write(f"[{bar}] {done:,} of {total:,} {self._unit}", end="")

    def _write(self, text: str, end: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = f"{self._title:<32}{text}"
        print(f"\r{line[:width]:<{width}}" if self._terminal else line, end=end, file=sys.stderr, flush=True)


@dataclass
class MemoryPeak:
    """The largest figures of any sample, in bytes.

    Each page is divided among the processes that map it (the kernel's proportional set size), so that shared pages
    count once. All 0 where there is no `/proc/<pid>/smaps_rollup`.
    """

    driver: int = 0  # memory of this process alone
    workers: int = 0  # the same of all processes below it, together
    shared: int = 0  # shared memory that any of them has touched
    _next_sample: float = 0.0

    def sample_now_and_then(self) -> None:
        """Take a sample unless the last one is fresh."""
        if time.monotonic() >= self._next_sample:
            self.sample()
            self._next_sample = time.monotonic() + _SAMPLE_SECONDS

    def sample(self) -> None:
        """Take a sample."""
        driver, *workers = [_memory_of(folder) for folder in _process_tree(Path("/proc/self"))]
        self.driver = max(self.driver, driver[0])
        self.workers = max(self.workers, sum(own for own, _ in workers))
        self.shared = max(self.shared, sum(shared for _, shared in [driver, *workers]))


def _memory_of(folder: Path) -> tuple[int, int]:
    """Return (own, shared) memory of a process in bytes; zeros when it is gone."""
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return kilobytes.get("Pss_Anon", 0) * 1024, kilobytes.get("Pss_Shmem", 0) * 1024


def _process_tree(folder: Path) -> list[Path]:
    """Return the `/proc` folders of a process and of all below it."""
    tree = [folder]
    for children in folder.glob("task/*/children"):
        try:
            pids = children.read_text().split()
        except OSError:
            continue
        for pid in pids:
            tree += _process_tree(Path("/proc", pid))
    return tree
