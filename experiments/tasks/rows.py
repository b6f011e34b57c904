"""Groups `task` and `metrics`: what configs and reports must know of each task, loading none.

A row names the class that does the work (experiments.tasks.base.Task) by its import path. Tasks of
a script of your own register themselves with `register_task`, as models do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from experiments.config.checks import require, require_choice
from experiments.config.losses import LOSSES, REGRESSION_LOSSES
from experiments.config.map_losses import MAP_LOSSES

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A number by which a task is judged: its key in metrics.jsonl, and how people read it."""

    name: str
    heading: str = ""  # in tables; empty: the name
    percent: bool = False
    maximise: bool = True

    def show(self, value: float) -> str:
        """The value as the terminal shows it."""
        return f"{100 * value:6.2f} %" if self.percent else f"{value:.4f}"


LOSS = Figure("loss", maximise=False)


@dataclass
class TaskConfig:
    """Options of a task; one with more of them extends this class."""

    name: str = "classification"


@dataclass
class NoMetrics:
    """A task whose metrics have no options."""


@dataclass
class MetricsConfig:
    """Which of the costly metrics of classes to compute; accuracy, recall and F1 always are."""

    auc_max_classes: int = 100  # the AUCs keep every logit; with more classes they are left out
    confusion_max_classes: int = 1000  # so is the confusion matrix, of classes x classes counts

    def __post_init__(self) -> None:
        for key in ("auc_max_classes", "confusion_max_classes"):
            value = getattr(self, key)
            require(value >= 0, f"metrics.{key}", value, "must be 0 (never) or more")


@dataclass
class SegmentationConfig(TaskConfig):
    """How images larger than those of training are segmented, in validation and test."""

    name: str = "segmentation"
    window: int | None = None  # side of the parts that go through the network; null: whole images
    overlap: float = 0.25  # part of a window that its neighbours share

    def __post_init__(self) -> None:
        window, overlap = self.window, self.overlap
        require(window is None or window > 0, "task.window", window, "must be positive or null")
        require(0 <= overlap < 1, "task.overlap", overlap, "must lie in [0, 1)")


@dataclass
class MapMetricsConfig:
    """Which figures of masks there are, and over which classes they are averaged."""

    background: bool = True  # class 0 is one of the classes
    per_class: bool = True  # also iou/<class> of every class
    hausdorff: bool = False  # hausdorff95, which takes far longer than all others


@dataclass
class LabelMetricsConfig:
    """Which figures of labels there are."""

    threshold: float = 0.5  # the probability from which a label is predicted
    per_label: bool = True  # also ap/<label> and f1/<label> of every label

    def __post_init__(self) -> None:
        value = self.threshold
        require(0 < value < 1, "metrics.threshold", value, "must lie in (0, 1)")


@dataclass(frozen=True)
class TaskRow:
    """What is known of a task without loading it.

    task: "module:Class" of a Task, or the class itself. figures: what validation reports and
    trainer.monitor may name, beside the loss; the first is its default. reported: those in the
    table of a report (none named: the first). running: the one that training shows, if any. unit:
    what a sample is called. losses: the choices of group `loss`, the default first; without any the
    group is empty, and the task has a loss of its own. models: what its models answer (a task of
    models.entry); None for whatever they do.
    """

    name: str
    task: str | type
    figures: tuple[Figure, ...]
    reported: tuple[str, ...] = ()
    running: str | None = None
    unit: str = "sample"
    losses: Mapping[str, type] = field(default_factory=dict)
    models: str | None = None
    options: type = TaskConfig
    metrics: type = NoMetrics

    def __post_init__(self) -> None:
        names = [figure.name for figure in self.figures]
        for name in (*self.reported, *([] if self.running is None else [self.running])):
            require_choice(f"a figure of task {self.name!r}", name, names)

    @property
    def monitors(self) -> tuple[Figure, ...]:
        """What may select the best weights; the first does unless trainer.monitor names another."""
        return (*self.figures, LOSS)

    @property
    def columns(self) -> tuple[Figure, ...]:
        """What the table of a report shows."""
        return tuple(self.figure(name) for name in self.reported) or self.monitors[:1]

    def figure(self, name: str) -> Figure:
        """The figure called name.

        Raises: ConfigError for one that the task does not report -> those it does.
        """
        require_choice("trainer.monitor", name, [figure.name for figure in self.monitors])
        return next(figure for figure in self.monitors if figure.name == name)


TASKS: dict[str, TaskRow] = {
    "classification": TaskRow(
        name="classification",
        task="experiments.tasks.classification:Classification",
        figures=(
            Figure("accuracy", "acc.", percent=True),
            Figure("top5_accuracy", "top-5 acc.", percent=True),
            Figure("recall_macro"),
            Figure("recall_micro"),
            Figure("f1_macro"),
            Figure("f1_micro"),
            Figure("auc_ovr"),
            Figure("auc_ovo"),
        ),
        running="accuracy",
        unit="image",
        losses={name: LOSSES[name] for name in ("cross_entropy", "focal", "bce")},
        models="classification",
        metrics=MetricsConfig,
    ),
    "segmentation": TaskRow(
        name="segmentation",
        task="experiments.tasks.segmentation:Segmentation",
        figures=(
            Figure("iou", "IoU", percent=True),
            Figure("dice", "Dice", percent=True),
            Figure("iou_per_image", percent=True),
            Figure("dice_per_image", percent=True),
            Figure("pixel_accuracy", percent=True),
            Figure("hausdorff95", maximise=False),
        ),
        running="iou_per_image",
        unit="image",
        losses=MAP_LOSSES,
        models="segmentation",
        options=SegmentationConfig,
        metrics=MapMetricsConfig,
    ),
    "multilabel": TaskRow(
        name="multilabel",
        task="experiments.tasks.multilabel:Multilabel",
        figures=(
            Figure("map", "mAP", percent=True),
            Figure("f1_macro", "F1"),
            Figure("f1_micro"),
            Figure("exact_match", percent=True),
        ),
        reported=("map", "f1_macro"),
        running="exact_match",
        unit="image",
        losses={"bce": LOSSES["bce"]},
        models="classification",
        metrics=LabelMetricsConfig,
    ),
    "regression": TaskRow(
        name="regression",
        task="experiments.tasks.regression:Regression",
        figures=(
            Figure("mae", "MAE", maximise=False),
            Figure("rmse", "RMSE", maximise=False),
            Figure("r2", "R2"),
        ),
        reported=("mae", "r2"),
        running="mae",
        unit="image",
        losses=REGRESSION_LOSSES,
        models="classification",
    ),
}


def register_task(name: str, **row: Any) -> Callable[[type[T]], type[T]]:
    """Return a decorator that adds a Task under name; row as TaskRow: figures, running, losses, ...

    Raises: ValueError if the name is taken.
    """
    if name in TASKS:
        raise ValueError(f"task {name!r} is registered already; choose another name")

    def add(task: type[T]) -> type[T]:
        TASKS[name] = TaskRow(name=name, task=task, **row)
        return task

    return add


def task_row(name: str) -> TaskRow:
    """The row of a task.

    Raises: ConfigError for an unknown name -> the nearest one.
    """
    require_choice("task.name", name, list(TASKS))
    return TASKS[name]
