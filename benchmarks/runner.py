"""Measures: a process per engine, one engine at a time, in turns, so that noise of the machine meets all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks.cases.case import Case
from benchmarks.hosts import Host, Settings

_LONG_SAMPLES_SECONDS = 8.0  # an engine whose samples of a case took so long is not asked again


@dataclass
class Row:
    """Samples of one case, by engine; engines that have none, with the reason; how long all of it took."""

    case: Case
    samples: dict[str, list[float]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def median(self, engine: str) -> float | None:
        """Return the median of an engine's samples."""
        samples = self.samples.get(engine)
        return median(samples) if samples else None

    def quartiles(self, engine: str) -> tuple[float, float] | None:
        """Return between which values the middle half of the samples is."""
        samples = self.samples.get(engine)
        if not samples:
            return None
        if len(samples) == 1:
            return samples[0], samples[0]
        low, _, high = quantiles(samples, n=4, method="inclusive")
        return low, high

    def times_better(self, engine: str, other: str) -> float | None:
        """Return how many times better one engine is than another."""
        ours, theirs = self.median(engine), self.median(other)
        if ours is None or theirs is None or min(ours, theirs) <= 0:  # a difference that is lost in noise
            return None
        return ours / theirs if self.case.higher_is_better else theirs / ours


class Measurement:
    """One run: its hosts, and the rows that it fills."""

    def __init__(
        self, engines: Sequence[str], settings: Settings, rounds: int, progress: Callable[[str], None]
    ) -> None:
        """Nothing is started before ``measure``.

        Args:
            engines: Names of engines.
            settings: Of the hosts.
            rounds: Samples of each case and engine.
            progress: Called with a line before each step.
        """
        self.versions: dict[str, str] = {}
        self._engines = engines
        self._settings = settings
        self._rounds = rounds
        self._progress = progress
        self._hosts: dict[str, Host] = {}

    def measure(self, cases: Sequence[Case]) -> list[Row]:
        """Take the samples of each case and engine, in turns."""
        rows = [Row(case) for case in cases]
        try:
            for engine in self._engines:
                self._start(engine)
            for row in rows:
                self._fill(row)
        finally:
            for host in self._hosts.values():
                host.stop()
        return rows

    def _start(self, engine: str) -> None:
        self._progress(f"starting {engine}")
        host = self._hosts[engine] = Host(engine, self._settings)
        if host.version is not None:
            self.versions[engine] = host.version

    def _fill(self, row: Row) -> None:
        row.gaps |= {engine: row.case.skips[engine] for engine in self._engines if engine in row.case.skips}
        row.seconds = dict.fromkeys(self._engines, 0.0)
        for number in range(self._rounds):
            for engine in self._engines:
                if engine in row.gaps or (number and row.seconds[engine] > _LONG_SAMPLES_SECONDS):
                    continue
                self._progress(f"{row.case.name}: round {number + 1} of {self._rounds}, {engine}")
                started = time.monotonic()
                answer = self._sample(row.case, engine)
                row.seconds[engine] += time.monotonic() - started
                if "gap" in answer:
                    row.gaps[engine] = str(answer["gap"])
                    row.samples.pop(engine, None)  # a figure of a case that fails now and then would say too much
                else:
                    row.samples.setdefault(engine, []).append(float(answer["sample"]))

    def _sample(self, case: Case, engine: str) -> dict[str, Any]:
        host = self._hosts[engine]
        if host.gap:
            return {"gap": host.gap}
        if not case.in_own_session:
            answer = host.sample(case.name)
            if host.is_broken:
                host.stop()
                self._start(engine)
            return answer
        own = Host(engine, self._settings, case.workers)
        try:
            return {"gap": own.gap} if own.gap else own.sample(case.name)
        finally:
            own.stop()
