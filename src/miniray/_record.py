# _record.py - immutable records: what @dataclass(frozen=True) does, without what it costs at import.
#
# Why         dataclasses imports inspect, and writes and compiles the methods of each class: 0.3 to 1.5 ms for one,
#             paid by every program that imports miniray and by every supervisor. docs/design/start-up.md has figures.
# Invariants  R1 a field is an annotation of the class itself; a value beside it is the default. Records have no bases
#                but Record.
#             R2 fields never change; equality and hash are those of type and fields, in the order of the class.
#             R3 the values are the instance's __dict__ and nothing else, so vars(record) is what asdict() would give.
#             R4 type checkers treat a record as a frozen dataclass.
"""``Record``, the base of small immutable classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        """Do nothing: it is for type checkers."""
        return lambda cls: cls


__all__ = ["Record"]


@dataclass_transform(frozen_default=True)
class Record:
    """Base of a class whose annotations are its fields; takes them by position or by name."""

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Find the fields of a record class."""
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}

    if not TYPE_CHECKING:  # it knows the parameters from the fields

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            """Take the values of the fields."""
            cls = type(self)
            values = {**cls._defaults, **dict(zip(cls._fields, args)), **kwargs}  # noqa: B905 - looked at below
            taken = cls._fields[: len(args)]
            if len(values) != len(cls._fields) or len(args) > len(taken) or not kwargs.keys().isdisjoint(taken):
                raise TypeError(self._complaint(len(args), kwargs))
            ordered = self.__dict__
            try:
                for name in cls._fields:
                    ordered[name] = values[name]
            except KeyError:
                raise TypeError(self._complaint(len(args), kwargs)) from None

    @classmethod
    def _complaint(cls, count: int, kwargs: dict[str, Any]) -> str:
        taken = cls._fields[:count]
        given = {*taken, *kwargs, *cls._defaults}
        wrong = {
            "too many by position": [str(count)] if count > len(taken) else [],
            "missing": [name for name in cls._fields if name not in given],
            "unknown": [name for name in kwargs if name not in cls._fields],
            "twice": [name for name in kwargs if name in taken],
        }
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names)
        return f"{cls.__name__}() takes the fields {', '.join(cls._fields)}; {told}"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field {name!r} of {type(self).__name__}: it never changes")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete field {name!r} of {type(self).__name__}: it never changes")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *map(vars(self).__getitem__, self._fields)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={vars(self)[name]!r}" for name in self._fields)
        return f"{type(self).__qualname__}({fields})"
