"""Writes tables and plots of README.md and docs/benchmarks.md: ``python -m benchmarks.render FILE.json``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import regions, results, table
from benchmarks.cases import SUBJECTS
from benchmarks.curves import CURVES, Curve
from benchmarks.promises import lines as promise_lines
from benchmarks.promises import promises, verdict
from benchmarks.results import Results

_ROOT = Path(__file__).resolve().parents[1]
_PLOTS = "plots"
_TASKS = (
    "round_trip", "round_trip_asleep", "batch_1000", "args_10", "clients_batch", "nested", "chain", "wait_1000",
    "work_100_us", "work_1_ms", "actor_round_trip", "actor_batch", "many_to_many", "actor_creation", "task_memory",
    "worker_memory", "import", "start_up",
)  # fmt: skip
_OBJECTS = (
    "put_small", "get_small", "put_1_gb", "put_first", "put_in_place", "put_in_place_cold", "get_1_gb",
    "get_10000_refs", "out_of_core", "object_memory",
)  # fmt: skip
_JOBS = ("job_matrix", "job_text", "job_group_by", "job_agent")
_CRASHES = ("crash_error", "crash_retry", "actor_restart")


def circumstances(run: Results) -> str:
    """Return where, when and of what the figures were taken, as a sentence."""
    machine = run.machine
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items() if not value.startswith("Python"))
    return (
        f"Medians of {run.rounds} samples taken in turns, in one run on {machine['date']} at {machine['commit']}: "
        f"{run.workers} workers on {machine['processors']} processors ({machine['model']}), {machine['system']}, "
        f"Python {machine['python']}; {versions}. ± is half the distance of the quartiles, where it is 5% or more."
    )


def selection(run: Results, names: Sequence[str]) -> str:
    """Return the table of some rows, with the engines that have any of them."""
    rows = [row for name in names for row in run.cases if row.case.name == name]
    engines = [engine for engine in run.engines if any(row.samples.get(engine) for row in rows)]
    return table.markdown(table.table(rows, engines)) if rows else "Not measured in this run."


def _against_ray(run: Results) -> str:
    found = {row.case.name: row.times_better(table.OURS, "ray") for row in run.cases}
    one, batch = found.get("round_trip"), found.get("batch_1000")
    if one is None or batch is None:
        return ""
    return f"So a round trip is {table.number(one)} times faster than Ray's and a batch {table.number(batch)} times."


def _all_rows(run: Results) -> str:
    parts = [circumstances(run), f"![miniray beside its peers]({_PLOTS}/overview.svg)"]
    for subject, cases in SUBJECTS.items():
        parts += [f"### {subject}", selection(run, [case.name for case in cases])]
    gaps = table.gaps(run.cases)
    if gaps:
        parts.append("\n".join(f"- {gap}" for gap in gaps))
    return "\n\n".join(parts)


def _all_promises(run: Results) -> str:
    return "```\n" + "\n".join(promise_lines(promises(run))) + "\n```"


def _points(run: Results, curve: Curve) -> str:
    points = run.points(curve.name)
    engines = [engine for engine in run.engines if any(row.samples.get(engine) for _, row in points)]
    lines = [[f"{curve.unit} at", *(f"{x:,}" for x, _ in points)]]
    lines += [[engine, *(table.cell(row, engine) for _, row in points)] for engine in engines]
    return table.markdown(lines, text_columns=1)


def _all_curves(run: Results) -> str:
    parts = [circumstances(run)]
    for curve in CURVES.values():
        if run.points(curve.name):
            title = f"{curve.title}, against {curve.x_label}"
            parts += [f"### {title[0].upper()}{title[1:]}", f"{curve.theory} {verdict(run, curve.name)}".strip()]
            parts += [f"![{title}]({_PLOTS}/{curve.name}.svg)", _points(run, curve)]
    return "\n\n".join(parts)


def render(run: Results, root: Path) -> list[Path]:
    """Write all regions below a folder, the curves only of a run that has any; return the files."""
    written = {
        root / "README.md": {
            "tasks": f"{circumstances(run)}\n\n{selection(run, _TASKS)}\n\n{_against_ray(run)}",
            "objects": selection(run, _OBJECTS),
            "jobs": selection(run, _JOBS),
            "crashes": selection(run, _CRASHES),
        },
        root / "docs" / "benchmarks.md": {
            "rows": _all_rows(run),
            **({"curves": _all_curves(run)} if any(map(run.points, CURVES)) else {}),
            "promises": _all_promises(run),
        },
    }
    for path, bodies in written.items():
        text = path.read_text(encoding="utf-8")
        for name, body in bodies.items():
            text = regions.replace(text, name, body)
        path.write_text(text, encoding="utf-8")
    return list(written)


def main() -> int:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("file", type=Path, help="what python -m benchmarks --json wrote")
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder with README.md and docs (default: this one)")
    parser.add_argument("--without-plots", action="store_true", help="text only; matplotlib is not needed")
    arguments = parser.parse_args()
    run = results.load(arguments.file)
    if run.is_quick:
        sys.exit(f"{arguments.file} is of a run with --quick: its figures mean nothing")
    files = render(run, arguments.root)
    if not arguments.without_plots:
        from benchmarks import plots  # needs matplotlib, which the rest does not

        files += plots.draw_all(run, arguments.root / "docs" / _PLOTS)
    print("\n".join(str(file) for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
