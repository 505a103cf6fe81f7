# _cli/text.py - sizes, ages and tables for people.
"""Numbers and tables as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_WIDTH = 100
"""Columns that no line of output exceeds."""

_GAP = "  "


def size_text(size_bytes: float) -> str:
    """Return a size with three digits or so: ``"0 B"``, ``"1.5 KiB"``, ``"12.0 GiB"``."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size_bytes /= 1024
        if size_bytes < 999.95 or unit == "TiB":
            break
    return f"{size_bytes:,.1f} {unit}"


def age_text(seconds: float) -> str:
    """Return a time span by its largest unit and the next one: ``"5 s"``, ``"3 min 20 s"``, ``"2 d 4 h"``."""
    rest = int(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next((place for place, (_, length) in enumerate(units) if rest >= length), len(units) - 1)
    parts = []
    for unit, length in units[first : first + 2]:
        parts.append(f"{rest // length} {unit}")
        rest %= length
    return parts[0] if parts[-1].startswith("0 ") else " ".join(parts)


def amount_text(amount: float) -> str:
    """Return an amount of a resource: whole where it is whole."""
    return f"{amount:,.4f}".rstrip("0").rstrip(".")


def count_text(count: int, what: str) -> str:
    """Return a number with its noun: ``"1 object"``, ``"1,200 objects"``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def shorten(text: str, width: int, *, keep_end: bool = False) -> str:
    """Return a text of at most that width, cut at its end or, with ``keep_end``, at its beginning."""
    if len(text) <= width:
        return text
    return "..." + text[len(text) - width + 3 :] if keep_end else text[: width - 3] + "..."


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "", last_keeps_end: bool = False
) -> str:
    """Return a table whose lines fit; the last column gets what the others leave.

    Args:
        header: Names of the columns.
        rows: Cells.
        right: Letters ``r`` for the columns whose cells stand right, anything else for the others.
        last_keeps_end: Whether the last column loses its beginning where it is too long, not its end.
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    widths[-1] = min(widths[-1], LINE_WIDTH - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1))
    lines = []
    for row in (header, *rows):
        cells = [*row[:-1], shorten(row[-1], widths[-1], keep_end=last_keeps_end)]
        padded = [
            cell.rjust(width) if right[column : column + 1] == "r" else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)
