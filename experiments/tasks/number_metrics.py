"""Figures of predicted numbers over an evaluation, by torchmetrics, in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.regression import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from experiments.tasks.gathered import Gathered

SHOWN = 1000  # images whose numbers are recorded, evenly spaced


class NumberMetrics:
    """compute() returns mae, rmse and r2 over all images of all processes, in the units of the
    data; of several numbers the means over them, and mae/<name>, rmse/<name>, r2/<name> of each.

    rmse = std sqrt(mean (y - z)^2), r2 = 1 - sum (y - z)^2 / sum (z - mean z)^2, which is left out
    where there are fewer than two images, or all have one target.

    Shapes: outputs y and targets (B, D), both standardised: y * std + mean are in the data's units.
    Numerics: float64 of standardised values; the squares of large numbers would hide their
        differences.
    """

    def __init__(
        self,
        names: Sequence[str],
        mean: Tensor,
        std: Tensor,
        device: torch.device | str = "cpu",
    ) -> None:
        self.names, self.mean, self.std = list(names), mean.cpu(), std.cpu()
        self.gathered = Gathered(len(names), torch.float32).to(device)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch of this process."""
        self.gathered.update(outputs, targets)

    def compute(self) -> dict[str, float]:
        """The figures; on all processes."""
        by_target = self.by_target()
        figures: dict[str, float] = {}
        for key in ("mae", "rmse", "r2"):
            each = {name: values[key] for name, values in by_target.items() if key in values}
            if each:
                figures[key] = sum(each.values()) / len(each)
            if len(self.names) > 1:
                figures |= {f"{key}/{name}": value for name, value in each.items()}
        return figures

    def by_target(self) -> dict[str, dict[str, float]]:
        """{name: its mae, rmse and r2}."""
        outputs, targets = self.gathered.all()
        y, z = outputs.double(), targets.double()
        found = {}
        for column, name in enumerate(self.names):
            pair, std = (y[:, column].contiguous(), z[:, column].contiguous()), self.std[column]
            mse = mean_squared_error(*pair)
            values = {"mae": mean_absolute_error(*pair) * std, "rmse": mse.sqrt() * std}
            if len(z) > 1 and bool((pair[1] != pair[1][0]).any()):
                values["r2"] = r2_score(*pair)
            found[name] = {key: float(value) for key, value in values.items()}
        return found

    def examples(self) -> dict[str, dict[str, list[float]]]:
        """{name: true and predicted numbers} of at most 1,000 images, evenly spaced."""
        outputs, targets = self.gathered.all()
        at = torch.linspace(0, len(targets) - 1, min(len(targets), SHOWN)).round().long()
        t, y = ((z[at].double() * self.std + self.mean).T for z in (targets, outputs))
        columns: list[Any] = list(zip(self.names, t, y, strict=True))
        return {
            name: {"true": true.tolist(), "predicted": predicted.tolist()}
            for name, true, predicted in columns
        }
