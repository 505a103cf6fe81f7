"""How much there is of everything in a session, before and after; and what became of a call."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import RayError

COUNTED = ("actors", "tasks", "objects", "used_bytes")


def counts(names: Iterable[str] = COUNTED) -> dict[str, int]:
    """Return how much there is, garbage apart."""
    gc.collect()
    statistics = core._statistics()
    return {name: statistics[name] for name in names}


def expect_counts(before: dict[str, int]) -> None:
    """Wait until there is no more of anything than before."""
    wait_until(
        lambda: all(count <= before[name] for name, count in counts(before).items()),
        f"{counts(before)} comes back to {before}",
    )
    assert core._validate() is None


def outcome(ray: Any, ref: Any) -> Any:
    """Give the value of a call, or the type of its error; a call that hangs ends in the watchdog of the suite."""
    try:
        return ray.get(ref)
    except RayError as error:
        return type(error)
