"""Pictures of a run: learning curves and confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure  # used without pyplot: no window, no global state, Agg only
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.files import atomic_path

Rows = list[dict[str, Any]]
COLOURS = {"train": "tab:blue", "validation": "tab:orange"}
MAX_COUNTS = 20  # classes up to which a confusion matrix shows its counts
MAX_NAMES = 50  # classes up to which it shows their names


# ------------------------------------------------------------------------------------------- curves
def read_rows(path: str | Path) -> Rows:
    """Rows of a metrics.jsonl; a line cut off by a kill is skipped, a missing file has no rows."""
    rows = []
    if Path(path).exists():
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows


def plot_curves(metrics_path: str | Path, png_path: str | Path) -> None:
    """Draw loss and accuracy over epochs, train and validation, from metrics.jsonl.

    Several training rows of one epoch are spread over it by their step.
    """
    rows = read_rows(metrics_path)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in COLOURS.items():
            x, y = _curve(rows, split, key)
            marker = "o" if len(x) <= 30 else None
            axes.plot(x, y, color=colour, marker=marker, markersize=3.5, label=split)
        axes.set(xlabel="epoch", ylabel=key)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    _save(figure, png_path)


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


# --------------------------------------------------------------------------------- confusion matrix
def plot_confusion_matrix(matrix: Any, class_names: Sequence[str], png_path: str | Path) -> None:
    """Draw counts (row: target, column: prediction), coloured by their share of the row.

    Up to 20 classes the counts stand in the cells; up to 50 the classes are named on the axes.

    Shapes: matrix (C, C), a tensor, array or nested list.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(4.0, 0.55 * len(counts)), 12.0)
    figure = Figure(figsize=(size + 1.5, size), layout="constrained")
    axes = figure.subplots()
    # The square root lets confusions of a few percent be seen beside a full diagonal.
    picture = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    figure.colorbar(picture, ax=axes, format=PercentFormatter(1.0), label="share of the class")
    axes.set(xlabel="predicted", ylabel="target")
    if len(counts) <= MAX_NAMES:
        _name_classes(axes, class_names)
    if len(counts) <= MAX_COUNTS:
        for i, j in np.ndindex(*counts.shape):
            colour = "white" if share[i, j] > 0.3 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, png_path)


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    names = [
        name if len(name) <= 24 else name[:23] + "\N{HORIZONTAL ELLIPSIS}" for name in class_names
    ]
    ticks = range(len(names))
    fontsize = 9 if len(names) <= MAX_COUNTS else 7
    upright = max(map(len, names), default=0) > 3
    axes.set_xticks(ticks, names, rotation=90 if upright else 0, fontsize=fontsize)
    axes.set_yticks(ticks, names, fontsize=fontsize)


def _save(figure: Figure, png_path: str | Path) -> None:
    with atomic_path(png_path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
