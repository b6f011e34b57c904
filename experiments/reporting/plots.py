"""Learning curves of a run, of whatever figures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # used without pyplot: no window, no global state, Agg only
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.files import atomic_path, read_rows
from experiments.reporting.text import show_as_it_is
from experiments.tasks import rows as task_rows

Rows = list[dict[str, Any]]
COLOURS = {"train": "tab:blue", "validation": "tab:orange"}


# ------------------------------------------------------------------------------------------- curves
def plot_curves(
    metrics_path: str | Path,
    png_path: str | Path,
    shown: Sequence[task_rows.Figure],
    title: str = "",
    chosen: int | None = None,
) -> None:
    """Draw figures over epochs, train and validation, from metrics.jsonl: a panel for each.

    Several training rows of one epoch are spread over it by their step. chosen: the epoch whose
    weights were, which is marked. A PDF of the same name stands beside the picture.
    """
    rows = read_rows(metrics_path)
    figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, what in zip(panels, shown, strict=True):
        for split, colour in COLOURS.items():
            x, y = _curve(rows, split, what.name)
            if not x:
                continue
            marker = "o" if len(x) <= 30 else None
            axes.plot(x, y, color=colour, marker=marker, markersize=3.5, label=split)
        if chosen and axes.lines:
            axes.axvline(chosen, color="0.35", linestyle=":", label=f"chosen: epoch {chosen}")
        axes.set(xlabel="epoch", ylabel=what.name)
        show_as_it_is(axes.yaxis.label)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if axes.lines:
            axes.legend()
        if what.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    if title:
        show_as_it_is(figure.suptitle(title))
    save_figure(figure, png_path)
    save_figure(figure, Path(png_path).with_suffix(".pdf"))


def _curve(rows: Rows, split: str, key: str) -> tuple[list[float], list[float]]:
    """Epochs (fractional within one) and values of key in the rows of split that have it."""
    rows = [row for row in rows if row.get("split") == split and row.get(key) is not None]
    last_step = {row.get("epoch", 0): row.get("step", 0) for row in rows}
    x, y = [], []
    for row in rows:
        epoch, step = row.get("epoch", 0), row.get("step", 0)
        start = last_step.get(epoch - 1, 0)
        length = last_step[epoch] - start
        x.append(epoch - 1 + (step - start) / length if length > 0 else float(epoch))
        y.append(float(row[key]))
    return x, y


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write the picture, PNG or PDF by its name, whole or not at all."""
    form = Path(path).suffix.removeprefix(".")
    undated: dict[str, Any] = {"metadata": {"CreationDate": None}} if form == "pdf" else {}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box says as much
        figure.savefig(temporary, format=form, dpi=120, **undated)
