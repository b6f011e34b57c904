"""The picture of precision over recall, a curve for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.reporting.plots import save_figure
from experiments.reporting.text import as_it_is, plain

LONGEST = 24  # characters of a name


def plot_precision_recall(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    figures: Mapping[str, Mapping[str, float]],
    png_path: str | Path,
) -> None:
    """Draw each label's curve, named with its average precision (AP) and the share of images that
    have it, which is what guessing reaches."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    names = []
    for label, curve in curves.items():
        axes.plot(curve["recall"], curve["precision"], linewidth=1.2)
        shown = figures[label]
        names.append(f"{plain(label)[:LONGEST]}: AP {shown['ap']:.3f} (share {shown['share']:.3f})")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    legend = axes.legend(axes.lines, names, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for text in legend.get_texts():
        text.set(**as_it_is([]))
    save_figure(figure, png_path)
