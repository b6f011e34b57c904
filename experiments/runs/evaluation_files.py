"""What is written of an evaluation: its figures as JSON, and pictures beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.errors import ConfigError, shortage
from experiments.files import read_mapping, write_json
from experiments.runs.evaluation import Evaluation
from experiments.runs.pictures import draw_each
from experiments.tasks.base import Task


def write_evaluation(
    folder: Path,
    about: Mapping[str, Any],
    keys: Mapping[str, Any],
    task: Task,
    evaluation: Evaluation,
    console: Console,
) -> Path:
    """Write the result and its pictures; return the file of figures.

    about: what was evaluated on what; keys: those of published evaluations.
    Raises: ConfigError: they cannot be written there.
    """
    found = evaluation.found
    figures = {"metrics": evaluation.values, **evaluation.record}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _free_name(folder, about)
        write_json(path, {**keys, **about, "images": evaluation.images, **figures, **found})
        console.print(f"results: {path}")
    except OSError as error:
        raise shortage(error) or ConfigError(
            f"{folder} cannot be written: {error.strerror}; choose another place with --out DIR"
        ) from error
    pictures = {**task.pictures(figures), **evaluation.details.pictures(found)}
    places = {path.with_name(f"{path.stem}_{name}.png"): draw for name, draw in pictures.items()}
    for picture in draw_each(places, console.print):
        console.print(f"picture: {picture}")
    return path


def _free_name(folder: Path, about: Mapping[str, Any]) -> Path:
    """The file of this evaluation: what was asked in the same words before gives way to it."""
    words = [about["data"], about["split"]]
    words += [about["precision"]] if about["precision"] != "no" else []
    stem = "-".join([*words, "tta"] if about["tta"] else words)
    number = 1
    while True:
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.json"
        try:
            earlier = read_mapping(path)
        except FileNotFoundError:
            return path
        except (OSError, ValueError):
            earlier = {}
        if all(earlier.get(key) == about[key] for key in ("run", "overrides")):
            return path
        number += 1
