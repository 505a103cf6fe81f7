"""Tables, promises, regions and plots of rows whose figures are known."""

import pytest

from benchmarks import promises, regions, render, results, table
from benchmarks.cases import CASES
from benchmarks.cases.case import faster, shorter
from benchmarks.catalog import find
from benchmarks.curves import CURVES
from benchmarks.runner import Row

ENGINES = ["miniray", "ray", "loky", "floor"]


def row(name="round_trip", **samples):
    return Row(find(name), {engine: list(values) for engine, values in samples.items()})


def run_of(*rows):
    machine = {"date": "2000-01-01", "commit": "abc", "processors": 2, "model": "m", "system": "s", "python": "3"}
    return results.Results(list(rows), ENGINES, {"miniray": "1", "ray": "2"}, 3, 2, machine)


def curve(name, ours):
    return [row(f"{name}@{x}", miniray=[value]) for x, value in zip(CURVES[name].xs, ours, strict=True)]


def test_cell_has_the_median_and_a_spread_that_is_worth_it():
    assert table.cell(row(miniray=[1, 2, 3]), "miniray") == "2 ±25%"
    assert table.cell(row(miniray=[100, 100.1, 100.2]), "miniray") == "100"
    assert table.cell(row(miniray=[1234.4]), "miniray") == "1,234"
    assert table.cell(row(), "miniray") == "-"


def test_times_better_looks_at_which_way_is_better():
    less = Row(shorter("less", "", "us", None), {"miniray": [2], "ray": [10]})
    more = Row(faster("more", "", "1/s", None), {"miniray": [2], "ray": [10]})
    assert less.times_better("miniray", "ray") == 5
    assert more.times_better("miniray", "ray") == 0.2
    assert less.times_better("miniray", "loky") is None


def test_a_difference_lost_in_noise_is_not_compared():
    assert row("object_memory", miniray=[100], ray=[-5]).times_better("miniray", "ray") is None


def test_line_compares_with_floor_ray_and_the_nearest_peer():
    header, line = table.table([row(miniray=[2], ray=[100], loky=[20], floor=[1])], ENGINES)
    assert header[2:] == [*ENGINES, "share of the floor", "times ray", "times the best peer"]
    assert line == ["one task and its result, awake", "us", "2", "100", "20", "1", "0.5", "50", "10"]


def test_markdown_and_plain_have_a_line_each():
    lines = table.table([row(miniray=[2])], ["miniray"])
    assert table.markdown(lines).splitlines()[1] == "|---|---|---:|"
    assert len(table.plain(lines).splitlines()) == len(table.markdown(lines).splitlines()) - 1 == 2


def test_gaps_name_engine_reason_and_cases():
    gaps = {"ray": "ray is not installed", "loky": "not offered", "floor": "not measured beyond 10"}
    lines = table.gaps([Row(find("round_trip"), {}, gaps), row("nested", ray=[1])])
    assert lines == ["ray: not measured, ray is not installed (round_trip)"]


def test_promises_are_kept_or_missed():
    kept = promises.promises(run_of(row(miniray=[2], ray=[400], loky=[20], floor=[1])))
    assert [promise.is_kept for promise in kept] == [True, True, True]
    missed = promises.promises(run_of(row(miniray=[4], ray=[400], loky=[3], floor=[1])))
    assert [promise.is_kept for promise in missed] == [False, False, False]
    lines = promises.lines(missed)
    assert "MISSED  one task and its result, awake, times the floor's: 4 (at most 3)" in lines
    assert "nearest loky: 0.75" in lines[2]
    assert lines[-1].endswith("ahead of every peer: 0 of 1")


def test_promises_name_cases_that_exist():
    named = {name for name, *_ in [*promises._TIMES_BETTER, *promises._LIMITS]}
    assert named <= set(CASES)
    assert {name for name, *_ in promises._FLAT} <= set(CURVES)
    assert {*render._TASKS, *render._OBJECTS, *render._JOBS, *render._CRASHES} <= set(CASES)


def test_curve_that_rises_misses_its_promise():
    flat, rising = [9, 3, 2, 1, 1, 1.5, 1], [9, 3, 2, 1, 1, 1, 3]
    assert promises.verdict(run_of(*curve("queued", flat)), "queued").startswith("Met: from 1,000 on")
    assert promises.verdict(run_of(*curve("queued", rising)), "queued").startswith("**Not met**")
    assert promises.verdict(run_of(), "queued") == ""


def test_results_are_the_same_after_a_file(tmp_path):
    run = run_of(row(miniray=[1, 2, 3], ray=[100]), *curve("queued", [9, 3, 2, 1, 1, 1, 1]))
    run.save(tmp_path / "new" / "run.json")
    loaded = results.load(tmp_path / "new" / "run.json")
    assert loaded.machine == run.machine
    assert [it.samples for it in loaded.rows] == [it.samples for it in run.rows]
    assert [x for x, _ in loaded.points("queued")] == list(CURVES["queued"].xs)
    assert [it.case.name for it in loaded.cases] == ["round_trip"]


def test_region_is_replaced_and_the_rest_is_left():
    text = f"before\n{regions.begin('a')}\nold\n{regions.end('a')}\nafter\n"
    once = regions.replace(text, "a", "new \\1 text")
    assert once == f"before\n{regions.begin('a')}\n\nnew \\1 text\n\n{regions.end('a')}\nafter\n"
    assert regions.replace(once, "a", "new \\1 text") == once


@pytest.mark.parametrize("count", [0, 2])
def test_region_must_be_there_once(count):
    with pytest.raises(regions.RegionError, match=f"{count} regions 'a'"):
        regions.replace(f"{regions.begin('a')}\n{regions.end('a')}\n" * count, "a", "new")


def test_readme_and_docs_are_written_from_a_run(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).write_text((render._ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    run = run_of(row(miniray=[2], ray=[400]), *curve("queued", [9, 3, 2, 1, 1, 1, 1]))
    render.render(run, tmp_path)
    readme, docs = ((tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "docs/benchmarks.md"))
    line = "| one task and its result, awake | us | 2 | 400 |"
    assert line in readme
    assert line in docs
    assert "ray 2" in readme
    assert "Met: from 1,000 on" in docs
    assert "](plots/queued.svg)" in docs


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    pytest.importorskip("matplotlib")
    from benchmarks import plots  # keeps fonts open: before what looks for descriptors that a test leaves

    run = run_of(row(miniray=[2, 3], ray=[400, 500]), *curve("task_length", [0.1 * i for i in range(1, 10)]))
    return plots.draw_all(run, tmp_path_factory.mktemp("plots"))


def test_figures_of_a_quick_run_are_not_written(tmp_path, monkeypatch):
    run = run_of(row(miniray=[2]))
    run.is_quick = True
    run.save(tmp_path / "run.json")
    monkeypatch.setattr("sys.argv", ["render", str(tmp_path / "run.json"), "--root", str(tmp_path)])
    with pytest.raises(SystemExit, match="mean nothing"):
        render.main()


def test_curves_and_overview_are_drawn(drawn):
    names = sorted(file.name for file in drawn)
    assert names == ["overview.png", "overview.svg", "task_length.png", "task_length.svg"]
    assert all(file.stat().st_size > 1000 for file in drawn)
