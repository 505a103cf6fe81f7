"""The table: a median with its spread per engine, and how far miniray is from floor and peers; plain and Markdown."""

from collections.abc import Sequence

from benchmarks.runner import Row

Lines = list[list[str]]

OURS, FLOOR = "miniray", "floor"
_SHOWN_SPREAD_PERCENT = 5


def number(value: float) -> str:
    """Return three digits of it, or all before the point."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def peers(engines: Sequence[str]) -> list[str]:
    """Return the engines that miniray is compared with."""
    return [engine for engine in engines if engine not in (OURS, FLOOR)]


def nearest_peer(row: Row, engines: Sequence[str]) -> tuple[str, float] | None:
    """Return the best peer of a row, and how many times better miniray is."""
    found = [(row.times_better(OURS, peer), peer) for peer in peers(engines)]
    nearest = min(((times, peer) for times, peer in found if times is not None), default=None)
    return None if nearest is None else (nearest[1], nearest[0])


def cell(row: Row, engine: str) -> str:
    """Return the median, and half the distance of the quartiles where that is worth showing."""
    middle, quartiles = row.median(engine), row.quartiles(engine)
    if middle is None or quartiles is None:
        return "-"
    percent = (quartiles[1] - quartiles[0]) / 2 / abs(middle) * 100 if middle else 0
    return number(middle) + (f" ±{percent:.0f}%" if percent >= _SHOWN_SPREAD_PERCENT else "")


def table(rows: Sequence[Row], engines: Sequence[str]) -> Lines:
    """Return the lines of the table, header first."""
    compared = [engine for engine in (FLOOR, "ray") if engine in engines]
    titles = {FLOOR: "share of the floor", "ray": "times ray"}
    with_nearest = OURS in engines and bool(peers(engines))
    header = ["", "unit", *engines, *(titles[engine] for engine in compared)]
    lines = [[*header, "times the best peer"] if with_nearest else header]
    for row in rows:
        line = [row.case.title, row.case.unit, *(cell(row, engine) for engine in engines)]
        for other in compared:
            better = row.times_better(OURS, other)
            line.append("-" if better is None else number(better))
        if with_nearest:
            nearest = nearest_peer(row, engines)
            line.append("-" if nearest is None else number(nearest[1]))
        lines.append(line)
    return lines


def plain(lines: Lines) -> str:
    """Return it in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(it.rjust(width) for it, width in zip(line[1:], widths[1:], strict=True))]
        text.append("  ".join(cells))
    return "\n".join(text)


def markdown(lines: Lines, *, text_columns: int = 2) -> str:
    """Return it as Markdown; the columns after the first few are numbers."""
    rule = "|---" * text_columns + "|---:" * (len(lines[0]) - text_columns) + "|"
    text = ["| " + " | ".join(lines[0]) + " |", rule]
    text += ["| " + " | ".join(line) + " |" for line in lines[1:]]
    return "\n".join(text)


def gaps(rows: Sequence[Row]) -> list[str]:
    """Return a line per engine and reason why it could not be measured, with the cases."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for engine, reason in row.gaps.items():
            if reason != "not offered" and not reason.startswith("not measured beyond"):
                found.setdefault((engine, reason), []).append(row.case.name)
    lines = []
    for (engine, reason), names in sorted(found.items()):
        which = "" if len(names) == len(rows) else f" ({', '.join(names)})"
        lines.append(f"{engine}: not measured, {reason}{which}")
    return lines
