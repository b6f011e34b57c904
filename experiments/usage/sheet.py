"""A contact sheet: images with what the network has answered below each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.reporting.plots import save_figure
from experiments.reporting.text import as_it_is, plain
from experiments.usage.prediction import Drawn

COLUMNS = 6
LONGEST = 24  # characters of a file's name


def draw_sheet(answers: Sequence[Drawn], png_path: Path) -> None:
    """Draw the images in rows of six, each with its file's name and its answer."""
    rows = -(-len(answers) // COLUMNS)
    figure = Figure(figsize=(1.9 * COLUMNS, 2.2 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, answer in zip(panels, answers, strict=False):
        axes.imshow(np.asarray(answer.picture))
        name = plain(answer.name)
        shown = name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
        text = f"{shown}\n{plain(answer.caption)}"
        axes.set_title(text, fontsize=7, **as_it_is([text]))
    save_figure(figure, png_path)
