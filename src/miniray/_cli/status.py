# _cli/status.py - `miniray status`: which sessions run, what they use, what they wait for.
"""The command ``status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniray import diagnostics
from miniray._cli.text import LINE_WIDTH, age_text, amount_text, count_text, shorten, size_text
from miniray._runtime import machine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="sessions: resources, store, workers, waiting tasks",
        description="Shows your sessions: resources used and asked for, store, workers, demands that can never be met.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print each session."""
    del options
    rows = diagnostics.sessions()
    live = [row for row in rows if row.driver_is_alive]
    if live:
        print("\n\n".join(session_text(row) for row in live))
    else:
        print("No session of miniray runs on this machine (or none of yours).")
    dead = [row.name for row in rows if not row.driver_is_alive]
    if dead:
        print(f"\nOf dead programs: {', '.join(dead)}. `miniray clean` removes what they left.")
    return 0


def session_text(row: diagnostics.SessionRow) -> str:
    """Return a session for people."""
    workers = ", ".join(f"{count} {state}" for state, count in sorted(row.workers.items()))
    lines = [
        f"Session {row.name}: driver {row.driver_pid}, up {age_text(row.uptime_seconds)}",
        f"  store      {size_text(row.used_bytes)} of {size_text(row.capacity_bytes)} used; {_origin_text(row)}",
        f"  memory     {size_text(row.resident_bytes)} for objects, {size_text(row.control_resident_bytes)} for tables",
        f"  objects    {row.objects:,} of {row.object_capacity:,}",
        f"  tasks      {row.running:,} running, {row.queued:,} queued, "
        f"{row.tasks:,} of {row.task_capacity:,} unfinished, {row.finished:,} finished",
        f"  workers    {workers or 'none yet'}",
        f"  resources  {_resources_text(row.resources)}",
    ]
    for demand in sorted(row.queued_demands, key=lambda demand: (demand.can_ever_run, -demand.task_count)):
        asked = ", ".join(f"{name} {_amount(name, amount)}" for name, amount in demand.resources.items()) or "nothing"
        line = f"  waiting    {count_text(demand.task_count, 'task')} for {asked}"
        if not demand.can_ever_run:
            line += ": can never run, this session has less"
        lines.append(shorten(line, LINE_WIDTH))
    return "\n".join(lines)


def _origin_text(row: diagnostics.SessionRow) -> str:
    """Return where the size of the store comes from."""
    if row.capacity_was_given:
        return "size by init(object_store_memory=...)"
    memory = machine.memory_limit_bytes()
    share = memory * machine.OBJECT_STORE_FRACTION
    if abs(row.capacity_bytes - share) < share / 1000:
        return f"{machine.OBJECT_STORE_FRACTION:.0%} of {size_text(memory)} of memory"
    if abs(row.capacity_bytes - machine.OBJECT_STORE_CAP_BYTES) < 1 << 20:
        return "the largest default size"
    return f"{machine.SHARED_MEMORY_FRACTION:.0%} of what /dev/shm had free"


def _resources_text(resources: Mapping[str, tuple[float, float]]) -> str:
    texts = []
    for name, (total, available) in resources.items():
        if total or available:
            texts.append(f"{name} {_amount(name, total - available)} of {_amount(name, total)} used")
    return shorten(", ".join(texts) or "none", LINE_WIDTH - 13)


def _amount(resource: str, amount: float) -> str:
    return size_text(amount) if resource == "memory" else amount_text(amount)
