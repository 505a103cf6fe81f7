# _runtime/fault_points.py - fault points of the Python code; cpp/platform/fault_point.hpp has the table of names.
#
# Invariants  P1 the functions behind these exist in test builds alone; elsewhere nothing is read and nothing happens.
"""Named places where a test build stops, kills or refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["enter_role", "fault_point"]


def _nothing(_: str) -> None:
    pass


fault_point: Callable[[str], None] = getattr(core, "_fault_point", _nothing)
"""Pass the point of that name; may raise OSError in the place of the system call behind it."""

enter_role: Callable[[str], None] = getattr(core, "_fault_role", _nothing)
"""Say that this process is a driver, a supervisor or a worker now."""
