"""What a run learns, as an object: all that depends on the kind of target, and on nothing else.

The trainer, a run and its reports know this protocol and no task. What must be known of a task
without loading it (its figures, losses and options) stands in its row, in experiments.tasks.rows.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from experiments.config.schema import Config
from experiments.data.admit import targets_to_check
from experiments.data.containers import Datasets, ImageDataset, locate
from experiments.data.recipe import Recipe
from experiments.errors import ConfigError, DataError
from experiments.tasks.answers import Answers
from experiments.tasks.penalties import Penalties
from experiments.tasks.rows import TaskRow, task_row
from models.description import Description

Picture = Callable[[Path], None]  # draws itself into a PNG file
# Test items by index -> of each (inputs, outputs, targets), as a batch of one on the CPU.
Predict = Callable[[Sequence[int]], list[tuple[Tensor, Any, Any]]]


class Metrics(Protocol):
    """Gathers the batches of one evaluation. torchmetrics.MetricCollection is one.

    In a run of several processes compute() is called on all of them, and returns the same on each.
    """

    def update(self, outputs: Any, targets: Any) -> None: ...

    def compute(self) -> Mapping[str, Any]:
        """The figures of the task's row, and more if it likes, as numbers."""
        ...


class Details:
    """Gathers, in the same pass as the metrics, what a finished run is asked beside its figures.

    This one gathers nothing. In a run of several processes compute() is called on all of them.
    """

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in one batch of this process."""

    def compute(self) -> dict[str, Any]:
        """Plain values for JSON, among them `figures` {name: fraction} and `classes`, a table of
        rows {column: value}, the column `class` first."""
        return {"figures": {}, "classes": []}

    def pictures(self, found: Mapping[str, Any]) -> dict[str, Picture]:
        """Pictures of what compute() has returned: {file name: picture}."""
        return {}


class Task(ABC):
    """What a batch's loss is, what its evaluation reports, and what the data must look like.

    Built from the config and the datasets, before there is a model. Then `num_outputs` and
    `input_shape` say what the model must be made for, `attach` takes the bare model, and `close`
    ends it. A subclass sets those two and implements `recipe`, `criterion` and `metrics`; it may
    refine the rest.

    Attributes:
        input_shape: (channels, *size) of one input; its length less one is the spatial rank.
        num_outputs: what the model returns for one input, in numbers.
        answers: how the outputs of a trained model are read, where there are no data.
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    answers: type[Answers] = Answers

    def __init__(self, config: Config, datasets: Datasets) -> None:
        self.config, self.row = config, task_row(config.task.name)
        self._penalties: Penalties | None = None

    # ------------------------------------------------------------------------------------- the data
    @abstractmethod
    def recipe(self, training: bool) -> Recipe:
        """What the loaders do with samples: as they are to be evaluated, or changed at random."""

    def check_target(self, target: Any) -> str | None:
        """What is wrong with one target, in words that follow its image's name; None if it fits.

        The rule by which the loaders judge batches (Recipe.check), asked before training.
        """
        return None

    def classes_of(self, dataset: ImageDataset) -> np.ndarray:
        """The class of each sample, for data.balance. Raises: ConfigError where it has none."""
        raise ConfigError(
            f"data.balance=true: task={self.row.name} has no class for each {self.row.unit}, of "
            "which as many of each could be drawn; type data.balance=false"
        )

    def check_data(self, datasets: Datasets) -> None:
        """Refuse data that do not fit the task, before there is a model.

        Raises: DataError for the first target, of any split, that check_target refuses.
        """
        for dataset in datasets:
            for index, target in targets_to_check(dataset):
                wrong = self.check_target(target)
                if wrong is not None:
                    raise DataError(f"{locate(dataset, index)} {wrong}")

    @property
    def ndim(self) -> int:
        """The spatial rank: 1 for signals, 2 for images, 3 for volumes."""
        return len(self.input_shape) - 1

    def passed_shapes(self) -> dict[str, tuple[int, ...]]:
        """{option that decides it: (channels, *size)} of what passes the model at once: first what
        does in an evaluation, last what does in training."""
        return {"data.image_size": self.input_shape}

    def computed_shape(self, model: nn.Module) -> tuple[int, ...]:
        """(channels, *size) of what the model computes for one input of an evaluation, or for one
        window of it; it may be padded."""
        return self.input_shape

    def describe(self) -> dict[str, Any]:
        """What a model of this task must be told by: fields of models.description.Description."""
        return {
            "task": self.row.name,
            "num_classes": self.num_outputs,
            "input_channels": self.input_shape[0],
            "input_shape": tuple(self.input_shape),
        }

    def adopt(self, description: Description) -> None:
        """Show inputs as a trained network was shown them, whatever these data are like; without
        preprocessing in its description as the config says.

        Raises: ConfigError: the network has not the outputs that these data need.
        """
        if self.num_outputs != description.num_classes:
            raise ConfigError(
                f"{description.model} was trained for {description.num_classes} outputs, and these "
                f"data need {self.num_outputs}: give data with the classes that it knows"
            )

    def check_model(self, model: nn.Module, inputs: Tensor) -> None:
        """Run the model as a training step does, on inputs of zeros, before there is a run.

        Raises: ConfigError for outputs that are none of this task; what the model raises.
        """
        model(inputs)

    def check_shapes(self, outputs: Any, expected: tuple[int, ...], what: str) -> None:
        """Refuse outputs, each of several, of another shape. Raises: ConfigError."""
        for output in outputs if isinstance(outputs, (tuple, list)) else [outputs]:
            given = tuple(output.shape)
            if given != expected:
                raise ConfigError(
                    f"model {self.config.model['name']} returns outputs of {given}, where "
                    f"task={self.row.name} needs {what} of {expected}; choose another model"
                )

    # ------------------------------------------------------------------------------------- the loss
    @abstractmethod
    def criterion(self, outputs: Tensor, targets: Any) -> Tensor:
        """The mean loss of a batch, a scalar."""

    def attach(self, model: nn.Module) -> None:
        """Take the bare model, before it is compiled or wrapped: penalties act on its layers."""
        self._penalties = Penalties(model, self.config.penalty)

    def training_loss(
        self, model: Callable[[Tensor], Any], inputs: Tensor, targets: Any
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Return (loss, outputs, logs) of one micro-batch; model may be the wrapped model.

        loss = criterion + penalties. logs holds the detached loss, and with penalties each of its
        terms (factor included). Accumulation over A micro-batches divides each loss by A, so that
        every penalty acts once per optimizer step.
        """
        assert self._penalties is not None, "attach(model) comes first"
        criterion, outputs = self._criterion(model(inputs), targets)
        terms = self._penalties.terms()
        loss = criterion + sum(terms.values()) if terms else criterion
        logs = {"loss": loss.detach()}
        if terms:
            logs["criterion"] = criterion.detach()
            logs.update({name: term.detach() for name, term in terms.items()})
        return loss, outputs.detach(), logs

    def evaluation_loss(
        self, model: Callable[[Tensor], Any], inputs: Tensor, targets: Any
    ) -> tuple[Tensor, Any]:
        """Return (criterion, outputs) of one batch, without penalties."""
        outputs = model(inputs)
        if self._penalties is not None:
            self._penalties.forget()
        return self._criterion(outputs, targets)

    def _criterion(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """The mean criterion of all outputs of a model (deep supervision, Matryoshka widths), and
        the last, which is the full model's."""
        if not isinstance(outputs, (tuple, list)):
            outputs = [outputs]
        losses = [self.criterion(output, targets) for output in outputs]
        criterion = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return criterion, outputs[-1]

    def close(self) -> None:
        """Remove the hooks of the penalties."""
        if self._penalties is not None:
            self._penalties.close()

    # ---------------------------------------------------------------------------------- the figures
    @abstractmethod
    def metrics(self, device: torch.device) -> Metrics:
        """Gathers one evaluation; its figures are those of the task's row."""

    def running(self, outputs: Tensor, targets: Any) -> Tensor:
        """The row's running figure summed over the samples of a batch: a scalar on its device.

        Only called where the row names one.
        """
        raise NotImplementedError(f"task {self.row.name!r} names a running figure; return its sum")

    def check_monitor(self) -> None:  # noqa: B027 - most tasks have all their figures always
        """Refuse a trainer.monitor that cannot exist for these data. Raises: ConfigError."""

    def details(self, device: torch.device) -> Details:
        """Gathers what an evaluation of a finished run tells beside its figures."""
        return Details()

    def published(self, values: Mapping[str, float]) -> dict[str, float | None]:
        """The figures under the names, and in the units, that published evaluations use."""
        figures = [figure for figure in self.row.columns if figure.name in values]
        return {
            figure.name: round(values[figure.name] * (100 if figure.percent else 1), 4)
            for figure in figures
        }

    # -------------------------------------------------------------------------------------- the end
    def record(self, metrics: Metrics) -> dict[str, Any]:
        """What test.json holds beside the figures, as plain values. Called on all processes."""
        return {}

    def pictures(self, test: Mapping[str, Any]) -> dict[str, Picture]:
        """Pictures of a test result, drawn from the content of test.json: {file name: picture}."""
        return {}

    def pictures_of(self, test: Mapping[str, Any], predict: Predict) -> dict[str, Picture]:
        """Pictures of test items that the content of test.json names, with the model's outputs."""
        return {}

    def summary(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """The rows of the table that ends a run."""
        return [(name, f"{value:.4f}") for name, value in values.items()]


def create_task(config: Config, datasets: Datasets) -> Task:
    """The task that the config names, for these data.

    Raises: ConfigError or DataError for what cannot be learnt from them.
    """
    task = task_class(task_row(config.task.name))(config, datasets)
    task.check_data(datasets)
    task.recipe(training=config.trainer.overfit_batches == 0)  # tells impossible augmentations
    task.check_monitor()
    return task


def task_class(row: TaskRow) -> type[Task]:
    """The class of a row, imported if its path is given."""
    if isinstance(row.task, type):
        return row.task
    module, _, name = row.task.partition(":")
    found: type[Task] = getattr(importlib.import_module(module), name)
    return found
