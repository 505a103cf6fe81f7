# _cli/__init__.py - the commands, their options and exit codes.
#
# Invariants  X1 no command but `clean` changes anything, and `clean` touches no living session.
#             X2 tables fit in 100 columns; standard output carries the answer, standard error why there is none.
#             X3 exit codes: 0 done; 1 nothing to look at; 2 wrong usage; 3 it exists, but cannot be read.
"""The command line of miniray."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from miniray._cli import clean, memory, status
from miniray._miniray_core import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXIT_CODES = """\
exit codes:
  0  done
  1  memory: no session runs, or none of that name
  2  wrong usage
  3  a session exists, but cannot be read: it is another user's, or of another version of miniray
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: Words after the program's name; None for those of this process.

    Raises:
        SystemExit: Help was asked for, or the usage is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `miniray memory | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left for the end to flush
        return 0
    except FileNotFoundError:
        return _fail("there is no such session, or it has just ended; `miniray status` lists those that run", 1)
    except (OSError, RuntimeError) as error:
        return _fail(str(error), 3)
    return code


def _fail(why: str, code: int) -> int:
    print(f"miniray: {why}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="miniray",
        description="Look at miniray's sessions on this machine. Looking does not slow them down.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"miniray {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    for command in (memory, status, clean):
        command.add_parser(commands)
    return parser
