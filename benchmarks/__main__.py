"""Command line of the benchmarks: ``python -m benchmarks --help``."""

import argparse
import sys
from pathlib import Path

import benchmarks
from benchmarks import catalog, results, table
from benchmarks.cases import SUBJECTS
from benchmarks.cases.case import Case
from benchmarks.curves import CURVES
from benchmarks.engines import ENGINES
from benchmarks.hosts import Settings
from benchmarks.promises import lines as promise_lines
from benchmarks.promises import promises
from benchmarks.runner import Measurement

_ROOT = Path(__file__).resolve().parents[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases or curves, with * and ?; repeatable")
    parser.add_argument("--engines", metavar="NAMES", help=f"comma-separated; all: {','.join(ENGINES)}")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each case and engine (default 7)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each engine (default 2)")
    parser.add_argument("--long", action="store_true", help="the long cases too")
    parser.add_argument("--curves", action="store_true", help="the curves too")
    parser.add_argument("--ray-python", metavar="PATH", help="interpreter with Ray (default: .venv-ray, if there)")
    parser.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="of one sample (default 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples: what benchmarks.render takes")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--check", action="store_true", help="fail when a promise is missed")
    parser.add_argument("--quick", action="store_true", help="tiny counts: shows that all runs, figures mean nothing")
    parser.add_argument(
        "--verbose", action="store_true", help="a line per sample, and what engines write to standard error"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and curves, and end")
    return parser.parse_args()


def _listing() -> str:
    lines = []
    for subject, cases in SUBJECTS.items():
        lines.append(f"{subject}:")
        lines += [f"  {it.name:20} {it.title} ({it.unit}){', with --long' if it.is_long else ''}" for it in cases]
    lines.append("Curves, with --curves:")
    lines += [f"  {curve.name:20} {curve.title} ({curve.unit}) against {curve.x_label}" for curve in CURVES.values()]
    return "\n".join(lines)


def _chosen_cases(arguments: argparse.Namespace) -> list[Case]:
    chosen = catalog.choose(arguments.only, with_long=arguments.long, with_curves=arguments.curves)
    if not chosen:
        sys.exit(f"no case matches {' '.join(arguments.only)}; there are: {' '.join(catalog.names())}")
    return chosen


def _chosen_engines(names: str | None) -> list[str]:
    chosen = names.split(",") if names else list(ENGINES)
    for name in chosen:
        if name not in ENGINES:
            sys.exit(f"no engine '{name}'; there are: {','.join(ENGINES)}")
    return chosen


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")


def _progress_lines(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measure(arguments: argparse.Namespace) -> results.Results:
    cases, engines = _chosen_cases(arguments), _chosen_engines(arguments.engines)
    ray_python = Path(arguments.ray_python or _ROOT / ".venv-ray" / "bin" / "python")
    settings = Settings(
        workers=arguments.workers,
        pythons={"ray": str(ray_python)} if ray_python.exists() else {},
        limit_seconds=arguments.limit,
        is_quick=arguments.quick,
        is_verbose=arguments.verbose,
    )
    progress = _progress_lines if arguments.verbose else _progress
    measurement = Measurement(engines, settings, arguments.rounds, progress)
    rows = measurement.measure(cases)
    progress("")
    return results.Results(
        rows, engines, measurement.versions, arguments.rounds, arguments.workers, results.machine(), arguments.quick
    )


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    if arguments.list:
        print(_listing())
        return 0
    measured = _measure(arguments)
    print(table.plain(table.table(measured.rows, measured.engines)))
    circumstances = ", ".join(f"{name} {value}" for name, value in {**measured.machine, **measured.versions}.items())
    print(f"\nmedians of {measured.rounds} samples, in turns; {measured.workers} workers; {circumstances}")
    for gap in table.gaps(measured.rows):
        print(gap)
    kept = promises(measured)
    if kept:
        print("\npromises")
        print("\n".join(promise_lines(kept)))
    if arguments.json:
        measured.save(arguments.json)
    if arguments.markdown:
        lines = table.table(measured.cases, measured.engines)
        arguments.markdown.write_text(table.markdown(lines) + "\n", encoding="utf-8")
    return int(arguments.check and not all(promise.is_kept for promise in kept))


if __name__ == "__main__":
    sys.exit(main())
