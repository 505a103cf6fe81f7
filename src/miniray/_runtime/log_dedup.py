# _runtime/log_dedup.py - the same line of several workers is printed once, and counted.
#
# Invariants  D1 lines are the same when they differ only in words with digits. The first is printed at once; those of
#                other workers are counted, and after the window one of them is printed, with the number. Lines that one
#                worker repeats are all printed.
#             D2 no line is lost: what is counted is printed when its window ends, or the session.
#             D3 it knows no streams and no clock but the one it is given.
# Source      Ray 2.60.0, python/ray/_private/ray_logging/__init__.py, for the rules, the words and the settings.
"""Deduplication of what workers print."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from miniray._record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DedupSettings", "LogDeduplicator"]

_NUMBERS = re.compile(r"(\d+|0x[0-9a-fA-F]+)")
_NEVER = "__ray_testing_never_deduplicate__"
_MOST_PATTERNS = 10_000
_HINT = " (Lines are deduplicated by default. Set RAY_DEDUP_LOGS=0 to print them all.)"
Line = tuple[str, str, str]
"""What is before a line (the worker's name and number), the line, and what is behind it."""


class DedupSettings(Record):
    """How lines are deduplicated; each default is Ray's.

    Attributes:
        enabled: Whether they are.
        window_s: How long lines are counted before the number is printed.
        allow: Lines that are always printed; None: there are none.
        skip: Lines that are never printed; ``allow`` wins.
    """

    enabled: bool = True
    window_s: float = 5.0
    allow: re.Pattern[str] | None = None
    skip: re.Pattern[str] | None = None

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> DedupSettings:
        """Return what RAY_DEDUP_LOGS, _AGG_WINDOW_S, _ALLOW_REGEX and _SKIP_REGEX say.

        Raises:
            ValueError: One of them makes no sense; the text names it.
        """
        window, allow, skip = (
            variables.get(f"RAY_DEDUP_LOGS_{name}") for name in ("AGG_WINDOW_S", "ALLOW_REGEX", "SKIP_REGEX")
        )
        try:
            window_s = float(window) if window else 5.0
        except ValueError:
            raise ValueError(f"RAY_DEDUP_LOGS_AGG_WINDOW_S={window!r} is no number of seconds") from None
        return cls(
            enabled=variables.get("RAY_DEDUP_LOGS", "1").lower() in ("1", "true"),
            window_s=window_s,
            allow=_pattern("RAY_DEDUP_LOGS_ALLOW_REGEX", _NEVER if allow is None else allow),
            skip=_pattern("RAY_DEDUP_LOGS_SKIP_REGEX", skip),
        )


def _pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise ValueError(f"{name}={text!r} is no regular expression: {error}") from None


class _Pattern:
    __slots__ = ("count", "line", "prefix", "since", "sources")

    def __init__(self, since: float, source: int, prefix: str, line: str) -> None:
        self.since = since
        self.sources = {source}
        self.prefix = prefix
        self.line = line
        self.count = 0  # not printed


class LogDeduplicator:
    """What was printed lately to one stream.

    Args:
        settings: How to do it.
        clock: Seconds.
    """

    _hint_given = False

    def __init__(self, settings: DedupSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin; see the class."""
        self._settings = settings
        self._clock = clock
        self._recent: dict[str, _Pattern] = {}  # the oldest window first

    def add(self, source: int, prefix: str, line: str) -> list[Line]:
        """Take a line in; return what is to be printed now.

        Args:
            source: The worker.
            prefix: What to print before its lines.
            line: The line.
        """
        settings = self._settings
        if not settings.enabled or (settings.allow is not None and settings.allow.search(line)):
            return [(prefix, line, "")]
        if settings.skip is not None and settings.skip.search(line):
            return []
        key = " ".join(word for word in line.split() if not _NUMBERS.search(word))
        if not key:
            return [(prefix, line, "")]
        due = self.take_due()
        found = self._recent.get(key)
        if found is None:
            self._recent[key] = _Pattern(self._clock(), source, prefix, line)
            while len(self._recent) > _MOST_PATTERNS:
                due += self._told(self._recent.pop(next(iter(self._recent))))
            return [(prefix, line, ""), *due]
        found.sources.add(source)
        if len(found.sources) == 1:
            return [(prefix, line, ""), *due]
        found.prefix, found.line = prefix, line
        found.count += 1
        return due

    def take_due(self) -> list[Line]:
        """Return what is to be printed because its window is over."""
        due: list[Line] = []
        now = self._clock()
        while self._recent:
            key, found = next(iter(self._recent.items()))
            if now - found.since < self._settings.window_s:
                break
            del self._recent[key]
            due += self._told(found)
            if found.count > 1:  # more will come
                found.since, found.count = now, 0
                self._recent[key] = found
        return due

    def flush(self) -> list[Line]:
        """Return all that was not printed, and forget everything."""
        lines = [line for found in self._recent.values() for line in self._told(found)]
        self._recent.clear()
        return lines

    def wait_s(self) -> float | None:
        """Return how long until something is to be printed that was counted; None: there is nothing."""
        for found in self._recent.values():
            if found.count:
                return max(0.0, found.since + self._settings.window_s - self._clock())
        return None

    @classmethod
    def _told(cls, found: _Pattern) -> list[Line]:
        if found.count == 0:
            return []
        if found.count == 1:
            return [(found.prefix, found.line, "")]
        hint = "" if LogDeduplicator._hint_given else _HINT
        LogDeduplicator._hint_given = True
        return [(found.prefix, found.line, f" [repeated {found.count}x across cluster]{hint}")]
