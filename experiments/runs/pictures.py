"""The pictures of a run; one that cannot be drawn is named, and ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from experiments.errors import in_one_line
from experiments.reporting.plots import plot_curves
from experiments.runs.directory import RunDirectory
from experiments.tasks.base import Picture, Predict, Task
from experiments.tasks.rows import LOSS


def draw_pictures(
    task: Task,
    directory: RunDirectory,
    test: dict[str, Any],
    say: Callable[[str], object],
    predict: Predict | None = None,
) -> list[Path]:
    """Draw the curves of the loss, the first figure and the running one, and the task's own
    pictures; return their paths. predict: of test items, where there was a test.

    The results are written already, and whatever a library raises does not undo them.
    """
    row = task.row
    running = [] if row.running is None else [row.figure(row.running)]
    shown = list(dict.fromkeys([LOSS, row.monitors[0], *running]))
    config, ended = task.config, directory.read_manifest().get("ended") or {}
    title = f"{config.model['name']} on {config.data.name}, seed {config.seed}"
    chosen = ended.get("best_epoch")
    curves: Picture = partial(
        plot_curves, directory.metrics, shown=shown, title=title, chosen=chosen
    )
    own: dict[Path, Picture] = {}
    try:
        found = task.pictures(test)
        found |= {} if predict is None else task.pictures_of(test, predict)
        own = {directory.picture(name): draw for name, draw in found.items()}
    except Exception as error:
        say(f"no pictures of the test: {in_one_line(error)}")
    return draw_each({directory.curves: curves, **own}, say)


def draw_each(pictures: Mapping[Path, Picture], say: Callable[[str], object]) -> list[Path]:
    """Draw pictures into their files; return the paths of those that could be drawn."""
    drawn = []
    for path, draw in pictures.items():
        try:
            draw(path)
            drawn.append(path)
        except Exception as error:
            say(f"{path.name} could not be drawn: {in_one_line(error)}")
    return drawn
