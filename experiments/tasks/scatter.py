"""The picture of predicted over true numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.reporting.plots import save_figure
from experiments.reporting.text import show_as_it_is

MOST = 6  # panels


def plot_scatter(
    examples: Mapping[str, Mapping[str, Sequence[float]]],
    figures: Mapping[str, Mapping[str, float]],
    png_path: str | Path,
) -> None:
    """Draw a point for each image, a panel for each of the first numbers; right ones lie on the
    line."""
    shown = list(examples.items())[:MOST]
    figure = Figure(figsize=(4.2 * len(shown), 4.2), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, pairs) in zip(panels, shown, strict=True):
        ends = [end(pairs["true"]) for end in (min, max)]
        axes.plot(ends, ends, color="black", linewidth=0.8)
        axes.scatter(pairs["true"], pairs["predicted"], s=8, alpha=0.5)
        words = ", ".join(f"{key} {value:.4g}" for key, value in figures[name].items())
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        axes.set_title(words, fontsize=9)
        axes.grid(alpha=0.3)
        show_as_it_is(axes.xaxis.label, axes.yaxis.label)
    save_figure(figure, png_path)
