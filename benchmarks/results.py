"""The JSON of one run: what was measured, on which machine, with which versions. Tables and plots come from it."""

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.catalog import find
from benchmarks.runner import Row

_ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Results:
    """One run.

    Args:
        rows: Cases, and points of curves.
        engines: Names of the engines that were asked.
        versions: Of those that could be measured.
        rounds: Samples of each.
        workers: Worker processes of each engine.
        machine: What the figures depend on.
        is_quick: Whether the counts were tiny: not for publication.
    """

    rows: list[Row]
    engines: list[str]
    versions: dict[str, str]
    rounds: int
    workers: int
    machine: dict[str, str | int] = field(default_factory=dict)
    is_quick: bool = False

    @property
    def cases(self) -> list[Row]:
        """The rows of the table."""
        return [row for row in self.rows if "@" not in row.case.name]

    def points(self, curve: str) -> list[tuple[int, Row]]:
        """Return the points of a curve: how much, and its row."""
        named = [(row.case.name.partition("@"), row) for row in self.rows]
        return [(int(x), row) for (name, at, x), row in named if at and name == curve]

    def save(self, path: Path) -> None:
        """Write it."""
        content = {
            "machine": self.machine,
            "versions": self.versions,
            "engines": self.engines,
            "rounds": self.rounds,
            "workers": self.workers,
            "is_quick": self.is_quick,
            "rows": {row.case.name: _row_content(row) for row in self.rows},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read what ``save`` wrote; rows whose case is no more are left out."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [(find(name), values) for name, values in content.pop("rows").items()]
    rows = [
        Row(case, values["samples"], values["gaps"], values["seconds"]) for case, values in found if case is not None
    ]
    return Results(rows=rows, **content)


def _row_content(row: Row) -> dict[str, Any]:
    return {
        "title": row.case.title,
        "unit": row.case.unit,
        "higher_is_better": row.case.higher_is_better,
        "medians": {engine: row.median(engine) for engine in row.samples},
        "quartiles": {engine: row.quartiles(engine) for engine in row.samples},
        "samples": row.samples,
        "gaps": row.gaps,
        "seconds": {engine: round(seconds, 1) for engine, seconds in row.seconds.items()},
    }


def machine() -> dict[str, str | int]:
    """Return what the figures depend on, and when they were taken of what."""
    facts: dict[str, str | int] = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": _commit(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "model": sys.platform,
    }
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8") as file:
        facts["model"] = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    return facts


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
