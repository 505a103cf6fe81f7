"""What the program prints: plain tables that fit 100 columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from census.analysis import Census, RankedFunction
    from census.text import TextStatistics

WIDTH = 100
ROWS = 10


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], align: str = "<") -> list[str]:
    """Return the lines of a table; `align` has one of "<" and ">" for each of the first columns, the rest are ">"."""
    cells = [list(heads), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [
        "  ".join(
            f"{cell:{sign}{width}}" for cell, width, sign in zip(row, widths, align.ljust(len(heads), ">"), strict=True)
        ).rstrip()
        for row in cells
    ]
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def beside(*blocks: list[str], gap: int = 5) -> list[str]:
    """Return the blocks side by side."""
    height = max(len(block) for block in blocks)
    widths = [max(map(len, block)) for block in blocks]
    padded = [block + [""] * (height - len(block)) for block in blocks]
    return [
        (" " * gap).join(line.ljust(width) for line, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*padded, strict=True)
    ]


def print_census(census: Census) -> None:
    """Print what was found in the files."""
    total = Counter()
    for counts in census.packages.values():
        total.update(counts)
    by_lines = sorted(census.packages.items(), key=lambda item: (-item[1]["lines"], item[0]))
    shown = [*by_lines[:ROWS], ("all packages", total)]
    section("Where the code is")
    show(
        table(
            ("package", "files", "lines", "functions", "annotated", "documented", "branches each"),
            [
                (
                    package,
                    counts["files"],
                    counts["lines"],
                    counts["functions"],
                    percent(counts["annotated"], counts["functions"]),
                    percent(counts["documented"], counts["functions"]),
                    f"{counts['branches'] / max(1, counts['functions']):.1f}",
                )
                for package, counts in shown
            ],
        )
    )
    section("What it uses")
    imports = Counter({name: count for name, count in census.importing_files.items() if name != "."})
    show(
        beside(
            table(("import", "of files"), [(k, percent(v, total["files"])) for k, v in most_common(imports, 12)]),
            table(("built-in", "calls"), most_common(census.builtin_calls, 12)),
            table(("construct", "times"), most_common(census.constructs, 12)),
            table(("rarely", "times"), most_common(census.constructs)[:11:-1]),
        )
    )
    section("Longest functions, and those with most branches")
    show(table(("lines", "function", "where"), map(_function_row, census.longest[:5]), "><<"))
    print()
    show(table(("branches", "function", "where"), map(_function_row, census.most_branches[:5]), "><<"))
    if census.unreadable:
        kinds = Counter(reason.partition(":")[0] for _, reason in census.unreadable)
        reasons = ", ".join(f"{count} x {kind}" for kind, count in most_common(kinds))
        print(f"\nnot Python of this version: {reasons}, the first is {census.unreadable[0][0]}")


def _function_row(row: RankedFunction) -> tuple[str, str, str]:
    name = row.name if len(row.name) <= 36 else row.name[:33] + "..."
    label = row.label if len(row.label) <= 44 else "..." + row.label[-41:]
    return f"{row.score:>8,}", name, f"{label}:{row.line}"


def print_text(statistics: TextStatistics) -> None:
    """Print what the text is made of."""
    count, lengths = statistics.bytes_seen, statistics.line_lengths
    total = max(1, int(count.sum()))
    groups = {
        "letters": sum(int(count[ord(a) : ord(z) + 1].sum()) for a, z in ("az", "AZ")),
        "spaces": int(count[ord(" ")]),
        "digits": int(count[ord("0") : ord("9") + 1].sum()),
        "line ends": int(count[10] + count[13]),
        "tabs": int(count[9]),
        "not ASCII": int(count[128:].sum()),
    }
    groups["punctuation"] = total - sum(groups.values())
    reached = np.cumsum(lengths) / max(1, int(lengths.sum()))
    section("What the text is made of")
    print(", ".join(f"{name} {percent(n, total)}" for name, n in most_common(Counter(groups))))
    print(
        f"lines: half have up to {np.searchsorted(reached, 0.5)} bytes, nine in ten up to "
        f"{np.searchsorted(reached, 0.9)}, {percent(int(lengths[80:].sum()), int(lengths.sum()))} more than 79; "
        f"the longest has {statistics.longest_line:,}"
    )


def section(title: str) -> None:
    """Print the head of a section."""
    print(f"\n== {title} {'=' * (WIDTH - len(title) - 4)}")


def show(lines: Iterable[str]) -> None:
    """Print lines."""
    print("\n".join(lines))


def percent(part: int, whole: int) -> str:
    """Return a share, with one digit after the point where it is small."""
    share = 100 * part / max(1, whole)
    return f"{share:.0f}%" if share >= 10 or part == 0 else f"{share:.1f}%" if share >= 0.1 else f"{share:.1g}%"


def megabytes(size: float) -> str:
    """Return a size in MB (a million bytes)."""
    return f"{size / 1e6:,.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"


def most_common(counter: Counter[str], count: int | None = None) -> list[tuple[str, int]]:
    """Return the most frequent entries; equal ones in the order of the alphabet, so that every run prints the same."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:count]
