"""Pictures of the newest rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axis import Axis
from matplotlib.figure import Figure  # without pyplot: no window, no global state
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from experiments.benchmarks.bench_scaling import AXES
from experiments.benchmarks.layers import LAYERS
from experiments.benchmarks.record import Row
from experiments.files import atomic_path

TRAINING = "training step [s]"
LABELS = {
    "degree": "degree of the polynomials",
    "grid": "grid size",
    "channels": "channels in and out",
    "batch": "images in a batch",
    "size": "side of the image [pixels]",
    "threads": "threads",
}
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
_LIMIT = "time of a training step / its bare convolutions"


def draw_all(rows: Sequence[Row], directory: Path) -> list[Path]:
    """Draw what the rows allow: bench_layer.png and bench_<axis>.png; return the paths."""
    drawn = []
    layers = [r for r in rows if r.bench == "bench_layer" and r.metric == TRAINING]
    if any(r.baseline == "limit" for r in layers):
        drawn.append(draw_layers(layers, directory / "bench_layer.png"))
    for axis in AXES:
        chosen = [r for r in rows if r.axis == axis and r.provider == "layer"]
        if len({r.value for r in chosen}) > 1:
            drawn.append(draw_axis(axis, chosen, directory / f"bench_{axis}.png"))
    return drawn


def draw_layers(rows: Sequence[Row], path: Path) -> Path:
    """Bars: every layer's time as a multiple of its limit, per allocator and backend."""
    rows = [r for r in rows if r.baseline == "limit" and r.provider != "limit"]
    series = list(dict.fromkeys((r.provider, r.allocator) for r in rows))
    cases = [name for name in LAYERS if any(r.case == name for r in rows)]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for i, (provider, allocator) in enumerate(series):
        found = {r.case: r for r in rows if (r.provider, r.allocator) == (provider, allocator)}
        at = [j + (i - (len(series) - 1) / 2) * width for j, c in enumerate(cases) if c in found]
        chosen = [found[c] for c in cases if c in found]
        ratios = [r.ratio or 0.0 for r in chosen]
        errors = _errors(chosen)
        label = f"{_words(provider)}, allocator {allocator}"
        bars = axes.bar(at, ratios, width, yerr=errors, label=label, error_kw={"linewidth": 0.8})
        axes.bar_label(bars, fmt="%.2f", fontsize=6, padding=2, bbox=LABEL_BOX)
    for j, case in enumerate(cases):
        text = "target" if j == 0 else "_"  # an underscore keeps it out of the legend
        axes.hlines(LAYERS[case].target, j - 0.45, j + 0.45, colors="black", label=text)
    axes.axhline(1.0, color="grey", linestyle=":", label="limit: the bare convolution")
    axes.set_yscale("log")
    _number_axis(axes.yaxis, [1, 1.25, 1.5, 2, 3, 5, 10, 20])
    axes.set_xticks(range(len(cases)), cases)
    axes.set(ylabel=_LIMIT, title=_title(rows))
    axes.legend(fontsize=8)
    return _save(figure, path)


def draw_axis(axis: str, rows: Sequence[Row], path: Path) -> Path:
    """Two panels over the values of an axis: seconds of a step, and the multiple of the limit."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for case in dict.fromkeys(r.case for r in rows):
        line = sorted((r for r in rows if r.case == case), key=lambda r: r.value or 0.0)
        values = [r.value or 0.0 for r in line]
        left.plot(values, [r.median * 1e3 for r in line], marker="o", label=case)
        ratios = [r.ratio or 0.0 for r in line]
        right.errorbar(values, ratios, yerr=_errors(line), marker="o", capsize=2, label=case)
    ticks = sorted({r.value or 0.0 for r in rows})
    for axes in (left, right):
        if axis not in ("degree", "threads"):
            axes.set_xscale("log", base=2)
        _number_axis(axes.xaxis, ticks)
        axes.set_xlabel(LABELS[axis])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.yaxis.set_minor_locator(NullLocator())
    left.set_ylabel("training step [ms]")
    right.axhline(1.0, color="grey", linestyle=":")
    right.set_ylim(bottom=0)
    right.set_ylabel(_LIMIT)
    figure.suptitle(_title(rows), fontsize=10)
    return _save(figure, path)


def _errors(rows: Sequence[Row]) -> list[list[float]]:
    """Distances from the median ratio to its quartiles."""
    below = [(r.ratio or 0.0) - (r.ratio_q1 or r.ratio or 0.0) for r in rows]
    above = [(r.ratio_q3 or r.ratio or 0.0) - (r.ratio or 0.0) for r in rows]
    return [below, above]


def _number_axis(axis: Axis, ticks: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _words(provider: str) -> str:
    return {"layer": "backend auto"}.get(provider, provider)


def _title(rows: Sequence[Row]) -> str:
    last = rows[-1]
    threads = "" if last.axis == "threads" else f"{last.threads} threads, "
    return f"{last.cpu}, {threads}{last.dtype}, torch {last.torch}"


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
