"""Every image has a number, or several: squared and absolute errors, R2, predicted over true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config.losses import HuberConfig
from experiments.config.schema import Config
from experiments.data.containers import Datasets, offered_targets
from experiments.data.info import describe_images
from experiments.data.labels import shown
from experiments.data.masks import MASK, target_kind
from experiments.data.notes import MANY, say
from experiments.data.recipe import Recipe
from experiments.errors import ConfigError, DataError
from experiments.tasks.answers import NumberAnswers
from experiments.tasks.base import Picture
from experiments.tasks.images import ReadTask, image_recipe, require_free_outputs
from experiments.tasks.losses import at_least_float32
from experiments.tasks.number_metrics import NumberMetrics
from experiments.tasks.scatter import plot_scatter

_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss}


class Regression(ReadTask):
    """Images (B, C, H, W) and numbers z = (t - mean) / std (B, D), of targets t in the units of the
    data and the mean and deviation of those of training; outputs y (B, D), whose predictions are
    y * std + mean.

    loss = mean over b, d of (y - z)^2 (mse), of |y - z| (l1), or of Huber's function of y - z,
    which is quadratic up to loss.delta. Figures are in the units of the data. A target is a number,
    or a vector of D of them.

    Raises: DataError for data of another task -> which one; targets that are constant or not
        finite.
    """

    answers = NumberAnswers

    def __init__(self, config: Config, datasets: Datasets) -> None:
        super().__init__(config, datasets)
        train = datasets.train
        if target_kind(train) == MASK:
            raise DataError(
                "these data have a mask for each image, and the task needs numbers: type "
                "task=segmentation with a network for it (python segmentation.py)"
            )
        if names := list(getattr(train, "classes", ())):
            raise DataError(
                f"these data have classes ({', '.join(map(str, names[:3]))}, ...), and the task "
                "needs numbers: type task=classification; or give numbers, float(label), and no "
                "attribute `classes`; some datasets have numbers, too: data.target=ink"
            )
        self.info = describe_images(train, config.data)
        targets = all_numbers(train)
        self.num_outputs = targets.shape[1]
        self.mean, self.std = statistics(targets)
        given = [str(name) for name in getattr(train, "target_names", ())]
        default = ["target"] if self.num_outputs == 1 else map(str, range(self.num_outputs))
        self.target_names = given if len(given) == self.num_outputs else list(default)
        self.reader = ReadNumbers(tuple(self.mean.tolist()), tuple(self.std.tolist()))
        self._validation_images = len(datasets.validation)
        self.input_shape = self.info.shape

    def recipe(self, training: bool) -> Recipe:
        augment = self.config.augment if training else None
        return image_recipe(self.info, augment, self.reader, not_finite)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "target_names": tuple(self.target_names),
            "target_mean": tuple(self.mean.tolist()),
            "target_std": tuple(self.std.tolist()),
        }

    def check_monitor(self) -> None:
        if self.config.trainer.monitor == "r2" and self._validation_images < 2:
            raise ConfigError(
                "trainer.monitor=r2: of one validation image there is none; type "
                "trainer.monitor=mae"
            )

    def check_model(self, model: nn.Module, inputs: Tensor) -> None:
        require_free_outputs(model, self.config)
        self.check_shapes(model(inputs), (len(inputs), self.num_outputs), "numbers")

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        y, cfg = at_least_float32(outputs), self.config.loss
        z = targets.to(y.dtype)
        if isinstance(cfg, HuberConfig):
            return F.huber_loss(y, z, delta=cfg.delta)
        return _LOSSES[cfg.name](y, z)

    def metrics(self, device: torch.device) -> NumberMetrics:
        return NumberMetrics(self.target_names, self.mean, self.std, device)

    def running(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of absolute errors, in the units of the data."""
        std = self.std.to(outputs.device, torch.float32)
        return ((outputs.float() - targets).abs() * std).mean(1).sum()

    def record(self, metrics: Any) -> dict[str, Any]:
        return {"by_target": metrics.by_target(), "examples": metrics.examples()}

    def pictures(self, test: Mapping[str, Any]) -> dict[str, Picture]:
        if not test.get("examples"):
            return {}
        return {"predicted": lambda p: plot_scatter(test["examples"], test["by_target"], p)}

    def summary(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """Figures first, then the targets by name."""
        return sorted(super().summary(values), key=lambda row: "/" in row[0])


@dataclass(frozen=True)
class ReadNumbers:
    """Targets as z = (t - mean) / std, float32: a year has more digits than that, its z has not."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def one(self, target: Any) -> Tensor:
        """Shape: (D,). Raises: DataError for what are not so many finite numbers."""
        values = numbers_of(target)
        if len(values) != len(self.mean):
            raise DataError(
                f"has {len(values)} numbers as its target, and the first training image has "
                f"{len(self.mean)}: give as many for all"
            )
        return torch.from_numpy((values - self.mean) / self.std).float()

    def many(self, targets: Tensor) -> Tensor:
        """Shape: (B,) or (B, D) -> (B, D)."""
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (self.mean, self.std))
        return ((targets.double().reshape(len(targets), -1) - mean) / std).float()


def numbers_of(target: Any) -> np.ndarray:
    """A target as finite numbers. Shape: (D,) float64. Raises: DataError for anything else."""
    number = isinstance(target, (int, float, np.number, np.bool_))
    array = isinstance(target, (Tensor, np.ndarray)) and target.ndim <= 1
    listed = isinstance(target, (list, tuple)) and bool(len(target))
    way = "; type task=classification if these are classes" if isinstance(target, str) else ""
    try:
        if number or array or listed:
            values = np.atleast_1d(np.asarray(target, dtype=np.float64)).copy()
            if values.ndim == 1 and values.size:
                if not np.isfinite(values).all():
                    raise DataError(
                        f"has the target {shown(target)}, which is not finite: leave the image out"
                    )
                return values
    except (TypeError, ValueError):
        pass
    raise DataError(
        f"has the target {shown(target)}: the task needs a number, or a vector of numbers{way}"
    )


def all_numbers(train: Any) -> np.ndarray:
    """The targets of all training images; read where they are not offered. Shape: (N, D)."""
    offered = offered_targets(train)
    if offered is None:
        if len(train) > MANY:
            say(
                f"reading all {len(train)} training images for the mean of their targets; an "
                "attribute `targets` of the dataset saves this"
            )
        offered = (train[index][1] for index in range(len(train)))
    rows: list[np.ndarray] = []
    for target in offered:
        try:
            rows.append(numbers_of(target))
        except DataError as error:
            raise DataError(f"training image {len(rows)} {error}") from error
        if len(rows[-1]) != len(rows[0]):
            raise DataError(
                f"training image {len(rows) - 1} has {len(rows[-1])} numbers as its target, and "
                f"the first one {len(rows[0])}: give as many for all"
            )
    return np.stack(rows)


def statistics(targets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each number. Shapes: (N, D) -> (D,) float64, the same on any machine.

    Raises: DataError for a number that never changes.
    """
    columns = [sorted(column) for column in targets.T.tolist()]
    mean = torch.tensor([fsum(column) / len(column) for column in columns], dtype=torch.float64)
    squares = [
        fsum((value - centre) ** 2 for value in column) / len(column)
        for column, centre in zip(columns, mean.tolist(), strict=True)
    ]
    std = torch.tensor(squares, dtype=torch.float64).sqrt()
    constant = [i for i, column in enumerate(columns) if column[0] == column[-1]]
    if constant:
        which = f"number {constant[0]} of the target" if len(columns) > 1 else "target"
        raise DataError(
            f"the {which} is {columns[constant[0]][0]:g} for all {len(targets)} training images: "
            "nothing can be learnt from it"
        )
    return mean, std


def not_finite(targets: Tensor) -> tuple[int, str] | None:
    """The first target of images in memory that is not finite, and the rule."""
    wrong = (~targets.isfinite().all(1)).nonzero() if targets.ndim == 2 else targets.new_zeros(0)
    if not len(wrong):
        return None
    return int(wrong[0]), "has a target that is not finite: leave the image out"
