"""The command line without a session: texts, tables, exit codes."""

import argparse
import json

import pytest

from miniray import diagnostics
from miniray._cli import clean, main, memory, status
from miniray._cli.text import LINE_WIDTH, age_text, amount_text, count_text, shorten, size_text, table
from miniray._runtime import observation, runtime
from miniray.diagnostics import Holder, MemoryReport, ObjectRow, ProcessRow, QueuedDemand, SessionRow, Total

GIB = 1 << 30


def make_session(**changes) -> SessionRow:
    facts = {
        "name": "0123456789ab",
        "driver_pid": 4711,
        "driver_is_alive": True,
        "uptime_seconds": 200.0,
        "used_bytes": 3 * GIB,
        "capacity_bytes": 4 * GIB,
        "capacity_was_given": True,
        "resident_bytes": 3 * GIB,
        "control_resident_bytes": 7 << 20,
        "objects": 2,
        "object_capacity": 1_000_000,
        "tasks": 7,
        "task_capacity": 1_000_000,
        "queued": 4,
        "running": 2,
        "finished": 12345,
        "resources": {"CPU": (2.0, 0.0), "GPU": (0.0, 0.0), "memory": (2.0 * GIB, 1.5 * GIB), "half": (1.0, 0.5)},
        "queued_demands": (QueuedDemand(3, {"CPU": 1.0}, True), QueuedDemand(1, {"CPU": 16.0, "memory": GIB}, False)),
        "processes": (ProcessRow(4711, "driver", "", 0), ProcessRow(12, "worker", "running", 3)),
        "records_call_sites": True,
        "layout_version": 2,
    }
    return SessionRow(**{**facts, **changes})


def make_row(**changes) -> ObjectRow:
    facts = {
        "object_id": "00112233445566770000000100000001",
        "state": "sealed",
        "location": "heap",
        "size_bytes": 1500,
        "references": 1,
        "pins": 0,
        "holders": (Holder(4711, "driver", "ref"),),
        "task_count": 0,
        "container_count": 0,
        "call_site": "/home/me/program.py:12 main",
        "flags": 0,
    }
    return ObjectRow(**{**facts, **changes})


def make_report(*rows: ObjectRow, session: SessionRow | None = None) -> MemoryReport:
    total = Total(len(rows), sum(row.size_bytes for row in rows))
    return MemoryReport(session or make_session(), rows, total, {"sealed": total}, {"heap": total}, {"ref": total})


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (999 * 1024, "999.0 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 50, "5,120.0 TiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (3601, "1 h"), (90000, "1 d 1 h")],
)
def test_ages_have_two_units_at_most(seconds, text):
    assert age_text(seconds) == text


def test_amounts_are_whole_where_they_are_whole():
    assert [amount_text(amount) for amount in (0, 2.0, 0.5, 0.0001, 12345)] == ["0", "2", "0.5", "0.0001", "12,345"]


def test_nouns_follow_their_number():
    assert [count_text(number, "task") for number in (0, 1, 2000)] == ["0 tasks", "1 task", "2,000 tasks"]


def test_long_texts_lose_their_end_or_their_beginning():
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcdefg..."


def test_last_column_of_a_table_gets_what_is_left():
    lines = table(["size", "name"], [["1", "x" * 200], ["1,000", "y"]], right="r").splitlines()
    assert [len(line) for line in lines] == [11, LINE_WIDTH, 8]
    assert lines[1].startswith("    1  xxx")
    assert lines[1].endswith("x...")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "driver"),
        ({"holders": (), "references": 0}, "nobody"),
        ({"holders": (), "task_count": 2, "container_count": 1}, "2 tasks, 1 object"),
        ({"holders": (Holder(12, "worker", "ref"), Holder(12, "worker", "view"))}, "worker 12 (view)"),
        (
            {"holders": tuple(Holder(pid, "worker", "ref") for pid in range(1, 4)), "task_count": 1},
            "3 processes, 1 task",
        ),
    ],
)
def test_holders_of_an_object_are_told_in_words(changes, text):
    assert memory.holders_text(make_row(**changes)) == text


def test_holder_kinds_name_everything_that_keeps_an_object():
    assert make_row(holders=()).holder_kinds == ("none",)
    row = make_row(holders=(Holder(1, "driver", "view"), Holder(1, "driver", "ref")), task_count=1, container_count=9)
    assert row.holder_kinds == ("ref", "view", "task", "object")


def test_report_fits_and_shows_size_holder_and_line():
    rows = [make_row(), make_row(flags=2, size_bytes=10, call_site="x" * 60, task_count=10**6, container_count=10**6)]
    text = memory.report_text(make_report(*rows))
    assert max(map(len, text.splitlines())) <= LINE_WIDTH
    (line,) = (line for line in text.splitlines() if "program.py:12 main" in line)
    assert line.split()[:5] == ["000100000001", "1.5", "KiB", "sealed", "heap"]
    assert "function" in text.splitlines()[-1]


def test_report_without_recorded_lines_has_no_column_for_them_and_says_how_to_get_one():
    session = make_session(records_call_sites=False)
    assert "made at" not in memory.report_text(make_report(make_row(call_site=None), session=session))
    grouped = memory.report_text(make_report(make_row(call_site=None), session=session), "callsite")
    assert "not recorded" in grouped
    assert "RAY_record_ref_creation_sites=1" in grouped


def test_limited_report_says_how_many_it_left_out():
    text = memory.report_text(make_report(*[make_row()] * 5), None, 2)
    assert text.endswith("... and 3 more (--limit 0 shows all)")
    assert text.count("000100000001") == 2


def test_groups_sum_by_line_and_by_process():
    worker = Holder(12, "worker", "ref")
    rows = [make_row(), make_row(holders=(worker, worker)), make_row(holders=(), call_site=None, size_bytes=9)]
    report = make_report(*rows)
    assert [(g.key, g.total.objects, g.total.size_bytes) for g in report.grouped("callsite")] == [
        ("/home/me/program.py:12 main", 2, 3000),
        (None, 1, 9),
    ]
    assert [(g.key, g.total.objects) for g in report.grouped("pid")] == [("12", 1), ("4711", 1), (None, 1)]
    assert "worker 12" in memory.report_text(report, "pid")


def test_status_shows_use_and_demands_that_can_never_be_met():
    text = status.session_text(make_session())
    assert max(map(len, text.splitlines())) <= LINE_WIDTH
    assert "3.0 GiB of 4.0 GiB used; size by init(object_store_memory=...)" in text
    assert "CPU 2 of 2 used, memory 512.0 MiB of 2.0 GiB used, half 0.5 of 1 used" in text
    assert "1 running" in text
    assert "1 task for CPU 16, memory 1.0 GiB: can never run" in text
    assert "3 tasks for CPU 1\n" in text + "\n"


def test_status_tells_where_the_size_of_the_store_comes_from(monkeypatch):
    monkeypatch.setattr(status.machine, "memory_limit_bytes", lambda: 10 * GIB)
    text = status.session_text(make_session(capacity_was_given=False, capacity_bytes=3 * GIB))
    assert "30% of 10.0 GiB of memory" in text
    text = status.session_text(make_session(capacity_was_given=False, capacity_bytes=GIB))
    assert "95% of what /dev/shm had free" in text
    monkeypatch.setattr(status.machine, "memory_limit_bytes", lambda: 10**15)
    text = status.session_text(make_session(capacity_was_given=False, capacity_bytes=200_000_000_000))
    assert "the largest default size" in text


@pytest.fixture
def no_sessions(monkeypatch, tmp_path):
    monkeypatch.setattr(observation, "_SHARED_MEMORY", tmp_path)


@pytest.mark.usefixtures("no_sessions")
def test_commands_without_a_session_say_so(capsys):
    assert main(["status"]) == 0
    assert "No session" in capsys.readouterr().out
    assert main(["memory"]) == 1
    assert "no session" in capsys.readouterr().err
    assert main(["memory", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"sessions": []}
    with pytest.raises(LookupError, match="no session"):
        diagnostics.memory()


def test_sessions_of_dead_programs_are_named_with_the_command_that_removes_them(capsys, monkeypatch):
    monkeypatch.setattr(diagnostics.observation, "observe_sessions", lambda: [make_session(driver_is_alive=False)])
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "0123456789ab" in out
    assert "miniray clean" in out
    with pytest.raises(LookupError):
        diagnostics.memory()


def test_one_of_several_sessions_must_be_named(monkeypatch):
    monkeypatch.setattr(diagnostics.observation, "observe_sessions", lambda: [make_session(name=name) for name in "ab"])
    with pytest.raises(LookupError, match="a, b"):
        diagnostics.memory()


def test_clean_prints_what_it_removed(capsys, monkeypatch):
    removed = [runtime.Leftover("0123456789ab", 5 << 20)]
    monkeypatch.setattr(runtime, "remove_stale_sessions", lambda: removed)
    assert clean.run(argparse.Namespace()) == 0
    assert capsys.readouterr().out == "removed 0123456789ab: 5.0 MiB\n"
    removed.clear()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "Nothing to remove.\n"


def test_unreadable_session_is_an_error_of_its_own(capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("it belongs to another user")

    monkeypatch.setattr(diagnostics, "memory", refuse)
    assert main(["memory", "--session", "x"]) == 3
    assert capsys.readouterr().err == "miniray: it belongs to another user\n"


@pytest.mark.parametrize("words", [[], ["nonsense"], ["memory", "--limit", "-1"], ["memory", "--sort-by", "name"]])
def test_wrong_usage_ends_with_two(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: miniray" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [{"sort_by": "name"}, {"limit": -1}])
def test_wrong_arguments_of_memory_are_told(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        diagnostics.memory(**arguments)
