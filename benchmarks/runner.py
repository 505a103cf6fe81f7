"""Measures: a process per engine, one engine at a time, in turns, so that noise of the machine meets all alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.cases import CASES, Case

_ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Row:
    """Samples of one case, by engine; engines that have none, with the reason."""

    case: Case
    samples: dict[str, list[float]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)

    def median(self, engine: str) -> float | None:
        """Return the median of an engine's samples."""
        samples = self.samples.get(engine)
        return median(samples) if samples else None

    def times_better(self, engine: str, other: str) -> float | None:
        """Return how many times better one engine is than another."""
        ours, theirs = self.median(engine), self.median(other)
        if not ours or not theirs:
            return None
        return ours / theirs if self.case.higher_is_better else theirs / ours


class Host:
    """The process of one engine."""

    def __init__(self, engine: str, workers: int, python: str) -> None:
        """Start it; it answers when its workers do."""
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.host", engine, str(workers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment,
        )  # fmt: skip
        self.gap: str | None = self._answer().get("gap")

    def sample(self, case: str) -> dict[str, float | str]:
        """Take one sample."""
        assert self._process.stdin is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"gap": f"its process ended with status {self._process.wait()}"}
        return json.loads(line)

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(
    cases: Iterable[str],
    engines: Iterable[str],
    *,
    rounds: int,
    workers: int,
    pythons: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[Row]:
    """Take ``rounds`` samples of each case and engine, in turns.

    Args:
        cases: Names of cases.
        engines: Names of engines.
        rounds: Samples of each.
        workers: Worker processes of each engine.
        pythons: Interpreters of engines that need another than this one.
        progress: Called with a line before each step.
    """
    hosts: dict[str, Host] = {}
    rows = [Row(CASES[case]) for case in cases]
    try:
        for engine in engines:
            progress(f"starting {engine}")
            hosts[engine] = Host(engine, workers, pythons.get(engine, sys.executable))
        for row in rows:
            for number in range(rounds):
                for engine, host in hosts.items():
                    if engine in row.gaps:
                        continue
                    progress(f"{row.case.name}: round {number + 1} of {rounds}, {engine}")
                    answer = {"gap": host.gap} if host.gap else host.sample(row.case.name)
                    if "gap" in answer:
                        row.gaps[engine] = str(answer["gap"])
                    else:
                        row.samples.setdefault(engine, []).append(float(answer["sample"]))
    finally:
        for host in hosts.values():
            host.stop()
    return rows
