"""Functions and classes that workers import by name, as those of a user's own module."""

from __future__ import annotations

from dataclasses import dataclass, field


def double(value):
    """Return twice the value."""
    return 2 * value


@dataclass
class Point:
    """A value of a class that both sides import."""

    x: float
    y: float
    tags: list[str] = field(default_factory=list)


class ImportedError(Exception):
    """An error of a class that both sides import, with an attribute."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def raise_imported_error(code: int) -> None:
    """Fail with the error of this module."""
    raise ImportedError(code)


class UnpickledWrongly:
    """Pickles well; unpickling it raises ValueError."""

    def __reduce__(self):
        return (int, ("not a number",))


class RefusesPickling:
    """Raises an error of its own when it is pickled."""

    def __reduce__(self):
        raise RuntimeError("no pickling today")
