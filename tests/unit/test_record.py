"""Records behave like frozen dataclasses."""

from __future__ import annotations

import pickle

import pytest

from miniray._record import Record


class Point(Record):
    x: int
    y: int = 2

    @property
    def total(self) -> int:
        return self.x + self.y


class Other(Record):
    x: int
    y: int = 2


def test_fields_come_by_position_by_name_and_by_default() -> None:
    assert vars(Point(1)) == {"x": 1, "y": 2}
    assert vars(Point(y=3, x=4)) == {"x": 4, "y": 3}
    assert list(vars(Point(y=3, x=4))) == ["x", "y"]
    assert (Point(5, 6).total, repr(Point(5))) == (11, "Point(x=5, y=2)")


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing: x"),
        ((1, 2, 3), {}, "too many by position: 3"),
        ((1,), {"x": 2}, "twice: x"),
        ((1,), {"z": 2}, "unknown: z"),
        ((), {"y": 1, "z": 2}, "missing: x; unknown: z"),
    ],
)
def test_wrong_arguments_are_named(args: tuple[int, ...], kwargs: dict[str, int], problem: str) -> None:
    with pytest.raises(TypeError, match=f"Point\\(\\) takes the fields x, y; {problem}"):
        Point(*args, **kwargs)


def test_equal_fields_of_one_class_are_equal_and_hash_alike() -> None:
    assert Point(1) == Point(1, 2)
    assert {Point(1): "found"}[Point(x=1)] == "found"
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point([]))  # type: ignore[arg-type]


def test_fields_never_change() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'x'"):
        del point.x
    assert point.x == 1


def test_records_travel() -> None:
    again = pickle.loads(pickle.dumps(Point(1, 5)))
    assert again == Point(1, 5)
    assert hash(again) == hash(Point(1, 5))
