# _runtime/pickle_trace.py - which part of a value cannot be pickled.
#
# Invariants  N1 bounded: at most MAX_LOOKS parts are tried and MAX_DEPTH levels entered, whatever the value.
"""Finding the part of a value that refuses to be pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LOOKS = 200
MAX_DEPTH = 6


def explain(value: object) -> str:
    """Return lines that lead from a value to the parts of it that cannot be pickled."""
    lines = ["Checking serializability, from the outside in:"]
    _Trace(lines).look("value", value, 1)
    return "\n".join(lines)


class _Trace:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._left = MAX_LOOKS
        self._seen: set[int] = set()

    def look(self, name: str, value: object, depth: int) -> bool:
        """Report a part if it cannot be pickled; return whether it can."""
        self._left -= 1
        error = _pickling_error(value)
        if error is None:
            return True
        self._lines.append(f"{'  ' * depth}{name}: {type(value).__qualname__}: {error}")
        if depth < MAX_DEPTH and id(value) not in self._seen:
            self._seen.add(id(value))
            for part_name, part in _parts(value):
                if self._left <= 0:
                    break
                self.look(part_name, part, depth + 1)
        return False


def _pickling_error(value: object) -> str | None:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return str(error)
    return None


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    import inspect  # it takes long to import

    if inspect.isfunction(value):
        found = inspect.getclosurevars(value)
        yield from found.nonlocals.items()
        yield from found.globals.items()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r}]", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for position, item in enumerate(value):
            yield f"[{position}]", item
    else:
        yield from getattr(value, "__dict__", {}).items()
