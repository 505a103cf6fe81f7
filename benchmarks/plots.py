"""Draws the curves, and how far miniray is from its peers, as PNG and SVG. The only module that needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.curves import CURVES, Curve
from benchmarks.engines import ENGINES
from benchmarks.results import Results
from benchmarks.table import OURS, peers

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "miniray", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})

_MARKERS = dict(zip(ENGINES, "osv^D*x", strict=True))
_NO_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {}}
OVERVIEW = "overview"


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every curve that was measured, and the overview; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for curve in CURVES.values():
        if results.points(curve.name):
            files += _save(_draw_curve(results, curve), folder / curve.name)
    if _compared(results):
        files += _save(_draw_overview(results), folder / OVERVIEW)
    return files


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _draw_curve(results: Results, curve: Curve) -> Any:
    figure, axes = _figure(6, 4)
    for engine in results.engines:
        points = [(x, row) for x, row in results.points(curve.name) if row.samples.get(engine)]
        if not points:
            continue
        middles = [row.median(engine) for _, row in points]
        xs, weight = [x for x, _ in points], 2.0 if engine == OURS else 1.0
        axes.plot(xs, middles, marker=_MARKERS.get(engine, "."), linewidth=weight, markersize=4, label=engine)
        axes.fill_between(xs, *zip(*(row.quartiles(engine) for _, row in points), strict=True), alpha=0.2)
    axes.set_xscale("log")
    if curve.unit == "of ideal":
        axes.set_ylim(0, 1.05)
    else:
        axes.set_yscale("log")
    axes.set(xlabel=curve.x_label, ylabel=curve.unit, title=curve.title)
    axes.legend(fontsize=7)
    return figure


def _compared(results: Results) -> Sequence[Any]:
    return [row for row in results.cases if any(row.times_better(OURS, peer) for peer in peers(results.engines))]


def _draw_overview(results: Results) -> Any:
    rows = list(reversed(_compared(results)))
    figure, axes = _figure(8, 1 + 0.2 * len(rows))
    for peer in peers(results.engines):
        times = [row.times_better(OURS, peer) for row in rows]
        places = [place for place, value in enumerate(times) if value is not None]
        if places:
            axes.scatter([times[place] for place in places], places, marker=_MARKERS.get(peer, "."), s=16, label=peer)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.case.title for row in rows], fontsize=7)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set(xlabel="times better than ...", title="miniray beside its peers, right of the line: ahead")
    axes.legend(fontsize=7, loc="lower right")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    files = []
    for kind, metadata in _NO_DATE.items():
        files.append(stem.with_suffix(f".{kind}"))
        figure.savefig(files[-1], dpi=120, metadata=metadata)
    return files
