"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.reporting.plots import save_figure
from experiments.reporting.text import as_it_is, plain

MAX_COUNTS = 20  # classes up to which the counts are shown
MAX_NAMES = 50  # classes up to which their names are


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
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, format=PercentFormatter(1.0), label="share of the class")
    axes.set(xlabel="predicted", ylabel="target")
    if len(counts) <= MAX_NAMES:
        _name_classes(axes, class_names)
    if len(counts) <= MAX_COUNTS:
        for i, j in np.ndindex(*counts.shape):
            colour = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8)
    save_figure(figure, png_path)


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    names = [
        name if len(name) <= 24 else name[:23] + "\N{HORIZONTAL ELLIPSIS}"
        for name in map(plain, class_names)
    ]
    ticks = range(len(names))
    fontsize = 9 if len(names) <= MAX_COUNTS else 7
    upright = max(map(len, names), default=0) > 3
    shown: dict[str, Any] = {"fontsize": fontsize, **as_it_is(names)}
    axes.set_xticks(ticks, names, rotation=90 if upright else 0, **shown)
    axes.set_yticks(ticks, names, **shown)
