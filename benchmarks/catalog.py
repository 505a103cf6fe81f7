"""Finds what can be measured by its name: cases of the table, and points of the curves."""

import fnmatch
from collections.abc import Iterable, Sequence

from benchmarks.cases import CASES
from benchmarks.cases.case import Case
from benchmarks.curves import CURVES


def find(name: str) -> Case | None:
    """Return a case, or the point of a curve, ``curve@x``."""
    curve, at, x = name.partition("@")
    if at:
        return CURVES[curve].case(int(x)) if curve in CURVES else None
    return CASES.get(name)


def choose(patterns: Sequence[str] | None, *, with_long: bool, with_curves: bool) -> list[Case]:
    """Return what a run measures: what matches, or all but the long cases and the curves.

    Args:
        patterns: Names with ``*`` and ``?``, of cases, of curves (``queued``) or points (``queued@1000``).
        with_long: Whether the long cases are part of all.
        with_curves: Whether the curves are.
    """
    if not patterns:
        cases = [case for case in CASES.values() if with_long or not case.is_long]
        return cases + _points() if with_curves else cases
    return [case for case in [*CASES.values(), *_points()] if _matches(case.name, patterns)]


def names() -> list[str]:
    """Return all names that can be chosen."""
    return [*CASES, *CURVES]


def _points() -> list[Case]:
    return [point for curve in CURVES.values() for point in curve.cases()]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    curve = name.partition("@")[0]
    return any(fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(curve, pattern) for pattern in patterns)
