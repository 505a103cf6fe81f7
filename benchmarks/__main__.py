"""Command line of the benchmarks: ``python -m benchmarks --help``."""

import argparse
import fnmatch
import json
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES
from benchmarks.engines import ENGINES
from benchmarks.runner import measure

_ROOT = Path(__file__).resolve().parents[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases to run, with * and ?; repeatable")
    parser.add_argument("--engines", metavar="NAMES", help=f"comma-separated; all: {','.join(ENGINES)}")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each case and engine (default 7)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each engine (default 2)")
    parser.add_argument("--long", action="store_true", help="the long cases too")
    parser.add_argument("--ray-python", metavar="PATH", help="interpreter with Ray (default: .venv-ray, if there)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--check", action="store_true", help="fail when a promise is missed")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    return parser.parse_args()


def _chosen_cases(patterns: list[str] | None, with_long: bool) -> list[str]:
    if not patterns:
        return [name for name, case in CASES.items() if with_long or not case.is_long]
    chosen = [name for name in CASES if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        sys.exit(f"no case matches {' '.join(patterns)}; there are: {' '.join(CASES)}")
    return chosen


def _chosen_engines(names: str | None) -> list[str]:
    chosen = names.split(",") if names else list(ENGINES)
    for name in chosen:
        if name not in ENGINES:
            sys.exit(f"no engine '{name}'; there are: {','.join(ENGINES)}")
    return chosen


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    if arguments.list:
        for case in CASES.values():
            print(f"{case.name:14} {case.title} ({case.unit}){', with --long' if case.is_long else ''}")
        return 0
    cases, engines = _chosen_cases(arguments.only, arguments.long), _chosen_engines(arguments.engines)
    ray_python = Path(arguments.ray_python or _ROOT / ".venv-ray" / "bin" / "python")
    pythons = {"ray": str(ray_python)} if ray_python.exists() else {}
    shows_progress = sys.stderr.isatty()

    def progress(line: str) -> None:
        if shows_progress:
            sys.stderr.write(f"\r\x1b[K{line}")

    rows = measure(
        cases, engines, rounds=arguments.rounds, workers=arguments.workers, pythons=pythons, progress=progress
    )
    progress("")
    lines = report.table(rows, engines)
    facts = report.machine()
    print(report.plain(lines))
    circumstances = ", ".join(f"{name} {value}" for name, value in facts.items())
    print(f"\nmedians of {arguments.rounds} samples, in turns; {arguments.workers} workers; {circumstances}")
    for gap in report.gaps(rows):
        print(gap)
    kept = report.promises(rows)
    if kept:
        print("\npromises")
        for promise in kept:
            print(promise)
    if arguments.json:
        samples = {row.case.name: {"unit": row.case.unit, "samples": row.samples, "gaps": row.gaps} for row in rows}
        content = {"machine": facts, "workers": arguments.workers, "rows": samples}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(lines) + "\n", encoding="utf-8")
    return int(arguments.check and not all(promise.is_kept for promise in kept))


if __name__ == "__main__":
    sys.exit(main())
