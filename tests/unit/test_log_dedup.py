"""The same line of several workers is printed once, and counted."""

from __future__ import annotations

import re

import pytest

from miniray._runtime.log_dedup import DedupSettings, LogDeduplicator


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def dedup(clock):
    return LogDeduplicator(DedupSettings(), clock)


def texts(lines):
    return [re.sub(r" \(Lines are.*", "", line + note) for _, line, note in lines]


def test_first_is_printed_at_once_and_those_of_others_are_counted(dedup, clock):
    assert dedup.add(1, "(a)", "step 1 done") == [("(a)", "step 1 done", "")]
    assert dedup.add(2, "(b)", "step 2 done") == []
    assert dedup.add(3, "(c)", "step 3 done") == []
    clock.now = 4.9
    assert dedup.take_due() == []
    clock.now = 5.0
    ((prefix, line, note),) = dedup.take_due()
    assert (prefix, line) == ("(c)", "step 3 done")
    assert note.startswith(" [repeated 2x across cluster]")


def test_one_worker_may_repeat_itself(dedup):
    assert [texts(dedup.add(1, "", "again")) for _ in range(3)] == [["again"]] * 3


def test_single_repetition_is_printed_as_it_is(dedup, clock):
    dedup.add(1, "", "line")
    dedup.add(2, "", "line")
    clock.now = 5.0
    assert texts(dedup.take_due()) == ["line"]
    assert dedup.flush() == []


def test_counting_goes_on_after_the_window(dedup, clock):
    for source in (1, 2, 3):
        dedup.add(source, "", "line")
    clock.now = 5.0
    assert texts(dedup.take_due()) == ["line [repeated 2x across cluster]"]
    assert dedup.add(4, "", "line") == []
    clock.now = 10.0
    assert texts(dedup.take_due()) == ["line"]


def test_nothing_is_lost_at_the_end(dedup):
    for source in range(4):
        dedup.add(source, "", "one")
        dedup.add(source, "", "two")
    assert sorted(texts(dedup.flush())) == ["one [repeated 3x across cluster]", "two [repeated 3x across cluster]"]
    assert dedup.flush() == []


def test_wait_is_until_something_counted_is_due(dedup, clock):
    dedup.add(1, "", "line")
    assert dedup.wait_s() is None  # nothing is held back
    clock.now = 2.0
    dedup.add(2, "", "line")
    assert dedup.wait_s() == 3.0
    clock.now = 9.0
    assert dedup.wait_s() == 0.0


def test_lines_of_numbers_alone_are_all_printed(dedup):
    assert [texts(dedup.add(source, "", "12 0x3f")) for source in (1, 2)] == [["12 0x3f"]] * 2


def test_many_different_lines_push_the_oldest_out_with_its_count(dedup):
    dedup.add(1, "", "the first")
    dedup.add(2, "", "the first")
    dedup.add(3, "", "the first")
    printed = [text for number in range(10_000) for text in texts(dedup.add(1, "", "x" * (number + 1)))]
    assert "the first [repeated 2x across cluster]" in printed


def test_settings_come_from_the_environment(clock):
    settings = DedupSettings.of_environment(
        {
            "RAY_DEDUP_LOGS_AGG_WINDOW_S": "2",
            "RAY_DEDUP_LOGS_ALLOW_REGEX": "important",
            "RAY_DEDUP_LOGS_SKIP_REGEX": "secret|important",
        }
    )
    dedup = LogDeduplicator(settings, clock)
    assert [texts(dedup.add(source, "", "important line")) for source in (1, 2)] == [["important line"]] * 2
    assert dedup.add(1, "", "a secret") == []
    dedup.add(1, "", "line")
    dedup.add(2, "", "line")
    clock.now = 2.0
    assert texts(dedup.take_due()) == ["line"]


@pytest.mark.parametrize("value", ["0", "false"])
def test_deduplication_is_turned_off(value):
    dedup = LogDeduplicator(DedupSettings.of_environment({"RAY_DEDUP_LOGS": value}))
    assert [texts(dedup.add(source, "", "line")) for source in (1, 2)] == [["line"]] * 2


@pytest.mark.parametrize(
    "variables",
    [
        {"RAY_DEDUP_LOGS_AGG_WINDOW_S": "soon"},
        {"RAY_DEDUP_LOGS_ALLOW_REGEX": "("},
        {"RAY_DEDUP_LOGS_SKIP_REGEX": "["},
    ],
)
def test_bad_settings_are_told_by_name(variables):
    (name,) = variables
    with pytest.raises(ValueError, match=name):
        DedupSettings.of_environment(variables)
