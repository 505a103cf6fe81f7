"""Tables and JSON of what was measured, and the promises with what came out."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.runner import Row


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row], engines: Sequence[str]) -> list[list[str]]:
    """Return the lines of the table, header first: a median per engine, and how far miniray is from floor and peers."""
    peers = [engine for engine in engines if engine not in ("miniray", "floor")]
    header = ["", "unit", *engines, *([] if "floor" not in engines else ["share of the floor"])]
    header += [f"times {peer}" for peer in peers]
    lines = [header]
    for row in rows:
        values = [row.median(engine) for engine in engines]
        line = [row.case.title, row.case.unit, *("-" if value is None else number(value) for value in values)]
        for other in [*([] if "floor" not in engines else ["floor"]), *peers]:
            better = row.times_better("miniray", other)
            line.append("-" if better is None else number(better))
        lines.append(line)
    return lines


def plain(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        text.append(
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
        )
    return "\n".join(text)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    text = ["| " + " | ".join(lines[0]) + " |", "|---|---" + "|---:" * (len(lines[0]) - 2) + "|"]
    text += ["| " + " | ".join(line) + " |" for line in lines[1:]]
    return "\n".join(text)


def gaps(rows: Sequence[Row]) -> list[str]:
    """Return a line per engine that could not be measured, with the reason."""
    found = {(engine, reason) for row in rows for engine, reason in row.gaps.items() if reason != "not offered"}
    return [f"{engine}: not measured, {reason}" for engine, reason in sorted(found)]


def machine() -> dict[str, str | int]:
    """Return what the figures depend on."""
    facts: dict[str, str | int] = {
        "processors": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "miniray": importlib.metadata.version("miniray"),
    }
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts["model"] = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        facts["model"] = sys.platform
    return facts


@dataclass(frozen=True)
class Promise:
    """One line of the promises: what, the measured value, the limit."""

    text: str
    value: float
    limit: float
    at_most: bool

    @property
    def is_kept(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        verdict = "ok    " if self.is_kept else "MISSED"
        bound = "at most" if self.at_most else "at least"
        return f"{verdict}  {self.text}: {number(self.value)} ({bound} {number(self.limit)})"


def promises(rows: Sequence[Row]) -> list[Promise]:
    """Return the promises that these rows can check."""
    by_name = {row.case.name: row for row in rows}
    found: list[Promise] = []

    def check(text: str, value: float | None, limit: float, *, at_most: bool) -> None:
        if value is not None:
            found.append(Promise(text, value, limit, at_most))

    if (row := by_name.get("round_trip")) is not None:
        share = row.times_better("floor", "miniray")
        check("round trip, times the floor's", share, 4, at_most=True)
        check("round trip, times faster than Ray", row.times_better("miniray", "ray"), 100, at_most=False)
    if (row := by_name.get("batch_1000")) is not None:
        check("batches of 1,000, share of the floor's", row.times_better("miniray", "floor"), 0.35, at_most=False)
        check("batches of 1,000, times faster than Ray", row.times_better("miniray", "ray"), 100, at_most=False)
    if (row := by_name.get("put_800_mb")) is not None:
        share = row.times_better("miniray", "floor")
        check("put of 800 MB, memory reused, share of the floor's copy", share, 0.85, at_most=False)
    if (row := by_name.get("put_first")) is not None:
        share = row.times_better("miniray", "floor")
        check("first put of 800 MB, times the floor's copy into fresh memory", share, 1.2, at_most=False)
    if (row := by_name.get("out_of_core")) is not None:
        check("out of core, share of the disk's own", row.times_better("miniray", "floor"), 0.5, at_most=False)
    if (row := by_name.get("puts_and_drops")) is not None:
        check("small objects put and dropped a second", row.median("miniray"), 100_000, at_most=False)
    for name, text, limit in (
        ("put_in_place", "put of 1 GB written in the store, us", 50),
        ("get_small", "get of a small object, us", 1),
        ("get_1_gb", "get of a 1 GB array, us", 20),
        ("get_10000_refs", "get of an object of 10,000 refs, ms", 10),
        ("crash_error", "SIGKILL of a worker of 100 MB to the error, ms", 10),
        ("crash_retry", "SIGKILL of a worker of 100 MB to the retried result, ms", 20),
    ):
        if (row := by_name.get(name)) is not None:
            check(text, row.median("miniray"), limit, at_most=True)
    if (row := by_name.get("import")) is not None:
        check("import, ms beyond Python's and cloudpickle's", row.median("miniray"), 100, at_most=True)
    if (row := by_name.get("start_up")) is not None:
        check("init(num_cpus=2) to the first result, ms", row.median("miniray"), 150, at_most=True)
    return found
