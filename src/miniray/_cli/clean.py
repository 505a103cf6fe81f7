# _cli/clean.py - `miniray clean`: removes what dead programs left, as the next init() would.
"""The command ``clean``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniray._cli.text import size_text
from miniray._runtime import runtime

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "clean",
        help="remove what dead programs left",
        description="Removes shared memory of your sessions whose processes have all ended. Living sessions stay.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Remove, and print what was removed."""
    del options
    removed = runtime.remove_stale_sessions()
    for leftover in removed:
        print(f"removed {leftover.name}: {size_text(leftover.size_bytes)}")
    if not removed:
        print("Nothing to remove.")
    return 0
