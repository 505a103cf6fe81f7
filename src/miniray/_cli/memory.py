# _cli/memory.py - `miniray memory`: which objects exist, how large they are, who keeps them, where they were made.
"""The command ``memory``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from miniray import diagnostics
from miniray._cli.text import LINE_WIDTH, age_text, count_text, shorten, size_text, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

_HOLDER_WIDTH = 30
_ID_DIGITS = 12  # the last ones of 32: what comes before is the same for all objects of a session
_TABLE_LINES = 50
_HOLDER_WORDS = {
    "ref": "ObjectRefs, arrays",
    "view": "pinned views",
    "task": "tasks",
    "object": "other objects",
    "none": "nobody",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "memory",
        help="who holds which object, largest first",
        description="Lists the objects of a session with their holders. Set RAY_record_ref_creation_sites=1 for the "
        "program to see the lines that made them.",
    )
    parser.add_argument("--session", metavar="NAME", help="only this one (see `miniray status`); default: all of yours")
    parser.add_argument("--sort-by", choices=["size", "pid", "callsite"], default="size")
    parser.add_argument("--group-by", choices=["callsite", "pid"], help="sums instead of single objects")
    parser.add_argument(
        "--limit",
        type=number,
        metavar="N",
        help=f"at most N objects or sums of a session; 0 for all; default: {_TABLE_LINES} in a table, all in JSON",
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.set_defaults(run=run)


def number(text: str) -> int:
    """Return a number that is not negative."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def run(options: argparse.Namespace) -> int:
    """Print the report of each session."""
    reports = _reports(options.session, options.sort_by)
    limit = options.limit
    if options.format == "json":
        facts = [_json_facts(report, options.group_by, limit or None) for report in reports]
        print(json.dumps({"sessions": facts}, indent=2))
    elif reports:
        limit = _TABLE_LINES if limit is None else limit or None
        print("\n\n".join(report_text(report, options.group_by, limit) for report in reports))
    if not reports:
        print("miniray: no session of yours runs on this machine", file=sys.stderr)
        return 1
    return 0


def _reports(session: str | None, sort_by: diagnostics.SortKey) -> list[diagnostics.MemoryReport]:
    """Return the report of one session, or of all that run."""
    if session is not None:
        return [diagnostics.memory(session, sort_by=sort_by)]
    reports = []
    for row in diagnostics.sessions():
        if row.driver_is_alive:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                reports.append(diagnostics.memory(row.name, sort_by=sort_by))
    return reports


def report_text(
    report: diagnostics.MemoryReport, group_by: diagnostics.GroupKey | None = None, limit: int | None = None
) -> str:
    """Return a report for people, with at most ``limit`` lines of objects or groups."""
    session = report.session
    head = [
        f"Session {session.name}: driver {session.driver_pid}, up {age_text(session.uptime_seconds)}",
        f"Store: {size_text(session.used_bytes)} of {size_text(session.capacity_bytes)} used by "
        f"{count_text(report.total.objects, 'object')}",
        f"  by state  {_totals_text(report.by_state)}",
        f"  by place  {_totals_text(report.by_location)}",
        f"  held by   {_totals_text({_HOLDER_WORDS[kind]: total for kind, total in report.by_holder.items()})}",
        "",
    ]
    lines: Sequence[object] = report.rows if group_by is None else report.grouped(group_by)
    body = _object_table(report, limit) if group_by is None else _group_table(report, group_by, limit)
    tail = []
    if limit is not None and len(lines) > limit:
        tail.append(f"... and {len(lines) - limit:,} more (--limit 0 shows all)")
    if group_by == "callsite" and not session.records_call_sites:
        tail.append("Start the program with RAY_record_ref_creation_sites=1 to record the lines that make objects.")
    return "\n".join([*(shorten(line, LINE_WIDTH) for line in head), body, *tail])


def _object_table(report: diagnostics.MemoryReport, limit: int | None) -> str:
    header = [f"last {_ID_DIGITS} of id", "size", "state", "place", "held by"]
    if report.session.records_call_sites:
        header.append("made at")
    cells = []
    for row in report.rows[:limit]:
        state = "function" if row.is_function else row.state
        cell = [row.object_id[-_ID_DIGITS:], size_text(row.size_bytes), state, row.location, holders_text(row)]
        if report.session.records_call_sites:
            cell[-1] = shorten(cell[-1], _HOLDER_WIDTH)
            cell.append(site_text(row.call_site))
        cells.append(cell)
    return table(header, cells, right=" r")


def _group_table(report: diagnostics.MemoryReport, group_by: diagnostics.GroupKey, limit: int | None) -> str:
    known = {str(process.pid): f"{process.kind} {process.pid}" for process in report.session.processes}
    unknown = "not recorded" if group_by == "callsite" else "no process"
    cells = []
    for group in report.grouped(group_by)[:limit]:
        key = unknown if group.key is None else known.get(group.key, group.key)
        cells.append([size_text(group.total.size_bytes), f"{group.total.objects:,}", key])
    return table(["size", "objects", "made at" if group_by == "callsite" else "held by"], cells, right="rr")


def holders_text(row: diagnostics.ObjectRow) -> str:
    """Return who keeps an object, processes first: ``"driver, worker 18 (view), 2 tasks"``."""
    kinds: dict[tuple[str, int], list[str]] = {}
    for holder in row.holders:
        kinds.setdefault((holder.process, holder.pid), []).append(holder.kind)
    parts = []
    for (process, pid), kind in kinds.items():
        name = process if process == "driver" else f"{process} {pid}"
        parts.append(f"{name} (view)" if "view" in kind else name)
    if len(parts) > 2:
        parts = [f"{len(parts):,} processes"]
    if row.task_count:
        parts.append(count_text(row.task_count, "task"))
    if row.container_count:
        parts.append(count_text(row.container_count, "object"))
    return ", ".join(parts) or "nobody"


def site_text(site: str | None) -> str:
    """Return a call site without its folder."""
    file, space, function = (site or "").partition(" ")
    return file.rpartition("/")[2] + space + function


def _totals_text(totals: Mapping[str, diagnostics.Total]) -> str:
    return ", ".join(f"{key}: {size_text(t.size_bytes)} in {t.objects:,}" for key, t in totals.items()) or "nothing"


def _json_facts(
    report: diagnostics.MemoryReport, group_by: diagnostics.GroupKey | None, limit: int | None
) -> dict[str, Any]:
    """Return a report as JSON takes it: ``objects``, or ``groups`` in their place."""
    facts = {field.name: getattr(report, field.name) for field in dataclasses.fields(report) if field.name != "rows"}
    facts["session"] = dataclasses.asdict(report.session)
    facts["total"] = dataclasses.asdict(report.total)
    for name in ("by_state", "by_location", "by_holder"):
        facts[name] = {key: dataclasses.asdict(total) for key, total in facts[name].items()}
    if group_by is None:
        facts["objects"] = [dataclasses.asdict(row) for row in report.rows[:limit]]
    else:
        facts["groups"] = [dataclasses.asdict(group) for group in report.grouped(group_by)[:limit]]
    return facts
