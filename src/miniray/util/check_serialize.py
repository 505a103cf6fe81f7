# util/check_serialize.py - what in a value cannot be pickled, as a tree for people and as facts for programs.
#
# Invariants  C1 a value that pickles is not looked into.
#             C2 of the parts of a value, the first that does not pickle is followed; `depth` levels at most.
# Source      Ray 2.60.0, python/ray/util/check_serialize.py, for what counts as a part and for the first lines.
"""``inspect_serializability``."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, TextIO

from miniray._runtime import closures

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FailureTuple", "inspect_serializability"]


class FailureTuple:
    """A part of a value that cannot be pickled.

    Attributes:
        obj: The part.
        path: Names that lead to it, from the outside in.
        parent: What holds it; None for the whole value.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        """Keep the facts; see the class."""
        self.obj = obj
        self.path = path
        self.parent = parent

    def __repr__(self) -> str:
        names = [str(name) for name in self.path]
        last = names[-1] if names else "unknown"
        return f"FailTuple({last} [path={' -> '.join(names)}, obj={self.obj}, parent={self.parent}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Find out whether a value can be sent to tasks, and which part of it cannot; print how that was found.

    Args:
        base_obj: The value: mostly a function or class with what it captures.
        name: What to call it.
        depth: How many levels to enter.
        print_file: Where to print; None: standard output.

    Returns:
        Whether it pickles, and the parts that do not.
    """
    title = f"Checking Serializability of {base_obj}"
    rule = "=" * min(len(title), 80)
    inspection = _Inspection(sys.stdout if print_file is None else print_file)
    for line in (rule, title, rule):
        inspection.print(line)
    if inspection.look(base_obj, name, depth, None, (), is_whole=True):
        return True, inspection.failures
    shown = "\n\t".join(map(repr, inspection.failures))
    inspection.print(rule)
    inspection.print(f"Variable: \n\n\t{shown}\n\nwas found to be non-serializable. There may be others like it.")
    inspection.print("Make such values inside the function or class, or give their class a __reduce__.")
    inspection.print(rule)
    return False, inspection.failures


class _Inspection:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._level = 0
        self.failures: set[FailureTuple] = set()

    def print(self, line: str) -> None:
        print("    " * self._level + line, file=self._file)

    def look(
        self, value: Any, name: str | None, depth: int, parent: Any, path: tuple[str, ...], *, is_whole: bool = False
    ) -> bool:
        """Return whether a part pickles; if not, note the innermost part that is to blame."""
        if not is_whole:
            self.print(f"Serializing '{name}' {value}...")
        try:
            closures.dumps(value)
        except Exception as error:
            self.print(f"!!! FAIL serialization: {error}")
        else:
            return True
        if name is not None:
            path = (*path, name)
        if depth > 0:
            self._look_inside(value, depth, path)
        if not self.failures:
            self.failures.add(FailureTuple(value, path, parent))
        return False

    def _look_inside(self, value: Any, depth: int, path: tuple[str, ...]) -> None:
        for title, parts in _parts(value):
            self.print(title)
            self._level += 1
            all_good = all(self.look(part, name, depth - 1, value, path) for name, part in parts)
            self._level -= 1
            if not all_good:
                return
        self.print(
            f"WARNING: Did not find non-serializable object in {value!r}. It may only be so together with others."
        )


def _parts(value: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield groups of the parts of a value, each with a title."""
    if inspect.isfunction(value):
        captured = inspect.getclosurevars(value)
        for kind, variables in (("global", captured.globals), ("nonlocal", captured.nonlocals)):
            if variables:
                title = (
                    f"Detected {len(variables)} {kind} variables of '{value.__qualname__}'. Checking serializability..."
                )
                yield title, list(variables.items())
        return
    members = [
        (name, member)
        for name, member in inspect.getmembers(value)
        if not (name.startswith("__") and name.endswith("__")) and not inspect.isbuiltin(member)
    ]
    members.sort(key=lambda named: not inspect.isfunction(named[1]))  # functions first
    if members:
        yield f"Checking the {len(members)} members of {type(value).__qualname__}...", members
