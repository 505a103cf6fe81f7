"""The corpus as one large array of bytes, and what its letters and lines look like.

`statistics_of_text` reads a slice of the array where it is, a chunk at a time: with shared views a task's own memory
stays small however large the array is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from census.analysis import SourceFile

LEAST_BYTES = 100_000_000
"""A smaller corpus is repeated until the array has so many."""

LONGEST_COUNTED = 1000
"""Lines of so many bytes or more share the last entry of `TextStatistics.line_lengths`."""

_CHUNK_BYTES = 1 << 20
_NEWLINE = 10


@dataclass
class TextStatistics:
    """How often each byte and each length of line occurs."""

    bytes_seen: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    line_lengths: np.ndarray = field(default_factory=lambda: np.zeros(LONGEST_COUNTED + 1, np.int64))
    longest_line: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextStatistics) and bool(
            np.array_equal(self.bytes_seen, other.bytes_seen)
            and np.array_equal(self.line_lengths, other.line_lengths)
            and self.longest_line == other.longest_line
        )


def read_corpus(files: Sequence[SourceFile]) -> tuple[np.ndarray, int]:
    """Return the text of all files as one array of bytes, and how often it is repeated in there."""
    size_bytes = sum(file.size_bytes for file in files)
    repeats = -(-LEAST_BYTES // size_bytes)
    text = np.empty(size_bytes * repeats, np.uint8)
    start = 0
    for file in files:
        with open(file.path, "rb") as opened:
            start += opened.readinto(memoryview(text)[start : start + file.size_bytes])
    size_bytes = start  # a file may have shrunk meanwhile
    for repeat in range(1, repeats):
        text[repeat * size_bytes : (repeat + 1) * size_bytes] = text[:size_bytes]
    return text[: size_bytes * repeats], repeats


def cut_at_lines(text: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Return up to `parts` slices (start, stop) of about equal size that end at line ends."""
    bounds = [0]
    for part in range(1, parts):
        position = max(part * len(text) // parts, bounds[-1])
        while position < len(text):
            ends = np.flatnonzero(text[position : position + _CHUNK_BYTES] == _NEWLINE)
            if len(ends):
                position += int(ends[0]) + 1
                break
            position += _CHUNK_BYTES
        bounds.append(min(position, len(text)))
    bounds.append(len(text))
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if start < stop]


def statistics_of_text(text: np.ndarray, start: int, stop: int) -> TextStatistics:
    """Return the statistics of `text[start:stop]`, which ends at a line end or at the end of the text."""
    result = TextStatistics()
    open_line = 0  # bytes since the last newline
    for chunk_start in range(start, stop, _CHUNK_BYTES):
        chunk = text[chunk_start : min(chunk_start + _CHUNK_BYTES, stop)]
        result.bytes_seen += np.bincount(chunk, minlength=256)
        ends = np.flatnonzero(chunk == _NEWLINE)
        if not len(ends):
            open_line += len(chunk)
            continue
        lengths = np.diff(ends, prepend=-1) - 1
        lengths[0] += open_line
        open_line = len(chunk) - int(ends[-1]) - 1
        _count_lines(result, lengths)
    if open_line:
        _count_lines(result, np.array([open_line]))
    return result


def _count_lines(result: TextStatistics, lengths: np.ndarray) -> None:
    result.line_lengths += np.bincount(np.minimum(lengths, LONGEST_COUNTED), minlength=LONGEST_COUNTED + 1)
    result.longest_line = max(result.longest_line, int(lengths.max()))


def merge_statistics(*parts: TextStatistics) -> TextStatistics:
    """Return the statistics of all parts together."""
    return TextStatistics(
        sum(part.bytes_seen for part in parts),
        sum(part.line_lengths for part in parts),
        max(part.longest_line for part in parts),
    )
