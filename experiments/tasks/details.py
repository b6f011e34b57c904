"""What a finished run is asked beside the figures of training: each class, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassCalibrationError, MulticlassPrecision
from torchmetrics.utilities.data import dim_zero_cat

from experiments.reporting.plots import save_figure
from experiments.tasks.base import Details, Picture
from experiments.tasks.map_metrics import MapCounts
from experiments.tasks.metrics import CountedByClass, F1ByClass, RecallByClass, integer_counts
from experiments.tasks.rows import MapMetricsConfig

BINS = 15  # of confidence, as in Guo et al. 2017


class PrecisionByClass(CountedByClass, MulticlassPrecision):
    """Precision by the counts of each class."""


class Calibration(MulticlassCalibrationError):  # noqa: N818 - it is no exception
    """The calibration error of the likeliest class, and the bins that it is made of.

    With n_b images in bin b of confidence, of which the share acc_b is right at a mean confidence
    conf_b:  ECE = sum_b n_b / N |acc_b - conf_b|.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, n_bins=BINS, norm="l1", validate_args=False)
        self.reset()

    def reset(self) -> None:
        super().reset()
        # Never empty lists: gathering needs the shape and dtype on ranks without samples, too.
        self.confidences.append(torch.empty(0, device=self.device))
        self.accuracies.append(torch.empty(0, device=self.device))

    def compute(self) -> tuple[float, list[dict[str, Any]]]:  # type: ignore[override]
        confidence, right = (
            dim_zero_cat(state).cpu().double() for state in (self.confidences, self.accuracies)
        )
        place = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1).double(), right=True)
        bins = []
        for number in range(BINS):
            chosen = (place - 1).clamp(0, BINS - 1) == number
            count = int(chosen.sum())
            means = (float(v[chosen].mean()) if count else None for v in (confidence, right))
            row = dict(zip(("confidence", "accuracy"), means, strict=True))
            bins.append({"low": number / BINS, "high": (number + 1) / BINS, "images": count, **row})
        return float(super().compute()), bins


class ClassDetails(Details):
    """Precision, recall and F1 of every class, and whether probabilities are what they say.

    Shapes: logits (B, C); targets (B,) int.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        labels: Any = {"num_classes": len(names), "average": "none", "validate_args": False}
        counted: dict[str, Any] = {
            "f1": F1ByClass(**labels),
            "precision": PrecisionByClass(**labels),
            "recall": RecallByClass(**labels),
        }
        self.names = names
        self.counted = MetricCollection(counted, compute_groups=False).to(device)
        self.calibration = Calibration(len(names)).to(device)

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        targets = targets.argmax(1) if targets.ndim == 2 else targets
        if len(targets) == 0:
            return
        logits, targets = outputs.detach().float(), targets.long()
        with integer_counts():
            self.counted.update(preds=logits.argmax(dim=1), target=targets)
            self.calibration.update(logits.softmax(dim=1), targets)

    def compute(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            values = {name: metric.compute().tolist() for name, metric in self.counted.items()}
            recall: Any = self.counted["recall"]
            support = (recall.tp + recall.fn).tolist()
            ece, bins = self.calibration.compute()
        classes = [
            {"class": name, **{key: column[i] for key, column in values.items()},
             "images": support[i]}
            for i, name in enumerate(self.names)
        ]  # fmt: skip
        return {"figures": {"calibration_error": ece}, "classes": classes, "reliability": bins}

    def pictures(self, found: Mapping[str, Any]) -> dict[str, Picture]:
        return {"reliability": partial(plot_reliability, found)}


class MapDetails(Details):
    """IoU, Dice, precision and recall of every class, of counts over the set.

    Shapes: maps (B, K, *S); masks (B, *S) int64.
    """

    def __init__(
        self,
        names: Sequence[str],
        cfg: MapMetricsConfig,
        ignore_index: int | None,
        device: torch.device,
    ) -> None:
        self.names = names
        self.counts = MapCounts(len(names), replace(cfg, hausdorff=False), ignore_index).to(device)

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if len(targets):
            self.counts.update(outputs.detach(), targets)

    def compute(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            counts, _ = self.counts.compute()
        classes = []
        for name, column in zip(self.names, counts.T.tolist(), strict=True):
            found, guessed, true = column
            parts = {
                "iou": (found, true + guessed - found),
                "dice": (2 * found, true + guessed),
                "precision": (found, guessed),
                "recall": (found, true),
            }
            rates = {key: a / b if b else None for key, (a, b) in parts.items()}
            classes.append({"class": name, **rates, "pixels": true})
        return {"figures": {}, "classes": classes}


def plot_reliability(found: Mapping[str, Any], png_path: Path) -> None:
    """Draw, for each bin of confidence, how many answers are right, and below how many there are.

    Of probabilities that are what they say all bars end on the diagonal.
    """
    bins = [row for row in found["reliability"] if row["images"]]
    figure = Figure(figsize=(4.5, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middle = [(row["low"] + row["high"]) / 2 for row in bins]
    bars: dict[str, Any] = {"width": 0.9 / BINS, "color": "tab:blue"}
    upper.bar(middle, [row["accuracy"] for row in bins], label="right", **bars)
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="calibrated")
    confidences = [row["confidence"] for row in bins]
    accuracies = [row["accuracy"] for row in bins]
    upper.plot(confidences, accuracies, "o", color="tab:orange", markersize=4, label="mean")
    error = found["figures"]["calibration_error"]
    upper.set(ylabel="share of right answers", ylim=(0, 1), xlim=(0, 1))
    upper.set_title(f"calibration error (ECE) {100 * error:.2f} %", fontsize=10)
    upper.legend(loc="upper left", fontsize=8)
    lower.bar(middle, [row["images"] for row in bins], **bars)
    lower.set(xlabel="confidence: probability of the class that is answered", ylabel="images")
    for axis in (upper.xaxis, upper.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    save_figure(figure, png_path)
