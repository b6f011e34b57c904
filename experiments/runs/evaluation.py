"""One split through a trained network: its figures, those of each class, and what is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from experiments.config.schema import Config
from experiments.data import EvaluationLoader
from experiments.data.recipe import Batch
from experiments.tasks.base import Details, Metrics, Task
from experiments.training.evaluator import Evaluator
from models.complexity import count_parameters
from models.description import Preprocessing, pair_of

SHOWN = 20  # classes up to which the terminal shows all of them, and else the worst


@dataclass(frozen=True)
class Evaluation:
    """values: the loss and the figures; record: what test.json holds beside them; found: what the
    task's details have found."""

    values: dict[str, float]
    record: dict[str, Any]
    details: Details
    found: dict[str, Any]
    images: int


class Both:
    """Metrics, and details of the same batches."""

    def __init__(self, metrics: Metrics, details: Details) -> None:
        self.metrics, self.details = metrics, details

    def update(self, outputs: Any, targets: Any) -> None:
        self.metrics.update(outputs, targets)
        self.details.update(outputs, targets)

    def compute(self) -> Mapping[str, Any]:
        return self.metrics.compute()


def evaluate_split(
    config: Config,
    accelerator: Accelerator,
    task: Task,
    model: nn.Module,
    dataset: Any,
    console: Console,
) -> Evaluation:
    """Evaluate as a run tests itself: the same batches, precision and figures, on all processes.

    model: the bare one, which task has been attached to; or one around it.
    Raises: what the loader raises.
    """
    evaluator = Evaluator(accelerator, task, config.trainer.channels_last)
    module = model.to(accelerator.device).to(memory_format=evaluator.memory_format)
    both = Both(task.metrics(accelerator.device), task.details(accelerator.device))
    loader = EvaluationLoader(
        dataset,
        task.recipe(training=False),
        batch_size=config.trainer.evaluation_batch_size,
        workers=config.data.workers,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    with closing(loader):
        batches = _shown(loader, console, config.trainer.progress)
        values, _ = evaluator.evaluate(module, batches, both)
    found = both.details.compute()
    return Evaluation(values, task.record(both.metrics), both.details, found, len(dataset))


def _shown(loader: EvaluationLoader, console: Console, progress: bool) -> Iterable[Batch]:
    """The batches, behind a bar on a terminal."""
    silent = console.quiet or not (progress and console.is_terminal)
    return track(loader, "evaluating", len(loader), console=console, transient=True, disable=silent)


def published(
    name: str, task: Task, model: nn.Module, values: Mapping[str, float], rule: Preprocessing | None
) -> dict[str, Any]:
    """The keys of published evaluations: figures in percent, parameters in millions.

    Of volumes, which nothing resizes, there is no crop and no interpolation.
    """
    resized = rule if rule is not None and rule.window is None else None
    return {
        "model": name,
        **task.published(values),
        "param_count": round(count_parameters(model) / 1e6, 2),
        "img_size": task.input_shape[-1] if resized is None else resized.size,
        "crop_pct": None if resized is None else _crop_ratio(resized),
        "interpolation": None if resized is None else resized.interpolation,
    }


def _crop_ratio(rule: Preprocessing) -> float:
    """Of the height, which is that of the width but for rounding."""
    return round(pair_of(rule.size)[0] / pair_of(rule.resize)[0], 4)


def print_evaluation(console: Console, title: str, task: Task, evaluation: Evaluation) -> None:
    """A table of the figures, and one of the classes: of many, those with the lowest figure."""
    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    figures = evaluation.found["figures"]
    rows = evaluation.found["classes"]
    for name, value in task.summary({**evaluation.values, **figures}):
        if not (rows and "/" in name):  # the other table has figures of classes
            table.add_row(name, value)
    console.print(table)
    if not rows:
        return
    columns = list(rows[0])
    first = next(key for key, value in rows[0].items() if key != "class")
    lowest = sorted(rows, key=lambda row: (row[first] is None, row[first]))[:SHOWN]
    some = f"the {SHOWN} of {len(rows)} classes with the lowest {first}"
    listed = Table(title=some if len(rows) > SHOWN else None)
    for key in columns:
        listed.add_column(key, justify="left" if key == "class" else "right")
    for row in lowest if len(rows) > SHOWN else rows:
        listed.add_row(*(_cell(row[key]) for key in columns))
    console.print(listed)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
